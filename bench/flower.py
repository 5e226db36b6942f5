# SPDX-License-Identifier: Apache-2.0

"""What does a secure sum add to a round of Flower, and what does Flower's own SecAgg+ add?

Six sites, 10^5 float32 parameters in one array, training that only adds to them, all in this process over a
grid that takes every message apart into bytes and puts it together again (tests/engines/flower_grid.py):

fedavg        Flower's FedAvg alone
malicious     `SecureStrategy` around it, once set up
semi_honest   the same without certificates
secaggplus    `SecAggPlusWorkflow` and `secaggplus_mod` around Flower's older FedAvg, with its default ranges,
              all sites neighbours, and our threshold. It sets up in every round; its server is semi-honest

Processor time of the server and all sites together, the exchanges, and the bytes relayed, each a round.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

import numpy as np
from flower_grid import InProcessGrid
from flower_hospitals import nodes_of
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.server import LegacyContext, ServerConfig
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg as OlderFedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.serverapp.strategy import FedAvg
from harness import Figures, main
from studies import NAMES, site_files

from sordino.adapters.flower import SecureStrategy, plan_question, secure_mod
from sordino.protocol.policy import Policy, plan_policy

STEP = np.float32(0.5)
MODEL = np.random.default_rng(1).uniform(-1, 1, 10**5).astype(np.float32)


def stepping(mods: list[Any]) -> ClientApp:
    app = ClientApp(mods=mods)

    @app.train()
    def train(message: Message, _: Context) -> Message:
        arrays = ArrayRecord({"model": Array(message.content["arrays"]["model"].numpy() + STEP)})
        metrics = MetricRecord({"num-examples": 100})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


class Stepping(NumPyClient):
    """The same training, for the older strategies."""

    def fit(self, parameters: list[Any], config: Any) -> tuple[list[Any], int, dict[str, Any]]:  # noqa: ARG002
        return [parameters[0] + STEP], 100, {}


class Meter:
    """Reads, between rounds, what they took."""

    def __init__(self, grid: InProcessGrid) -> None:
        self._grid = grid
        self._read: list[tuple[float, int, int]] = []
        self._relayed = 0

    def read(self, *_: object) -> None:
        now = process_time()
        self._relayed += sum(map(len, self._grid.relayed))
        self._grid.relayed.clear()
        self._read.append((now, self._grid.exchanges, self._relayed))

    def figures(self) -> Figures:
        rounds = [
            [b - a for a, b in zip(before, after, strict=True)] for before, after in pairwise(self._read)
        ]
        seconds, exchanges, relayed = zip(*rounds, strict=True)
        return {
            "processor_seconds": statistics.median(seconds),
            "exchanges": statistics.median(exchanges),
            "relayed_bytes": statistics.median(relayed),
        }


def policy_of(*, consistency: bool) -> Policy:
    question = plan_question(
        "train", ArrayRecord({"model": Array(MODEL)}), sites=len(NAMES), max_weight=1000, clip=4.0
    )
    return plan_policy(
        study="bench",
        sites=len(NAMES),
        plan=[question],
        across_rounds="accept",
        rounds=1000,
        consistency=consistency,
    )


def measure_newer(folder: Path, rounds: int, policy: Policy | None) -> Figures:
    """FedAvg alone, or with secure sums under `policy`."""
    app = stepping([secure_mod] if policy else [])
    grid = InProcessGrid(nodes_of(site_files(folder), **dict.fromkeys(NAMES, app)).values())
    meter, strategy = Meter(grid), FedAvg(fraction_evaluate=0.0)
    if policy is not None:
        strategy = SecureStrategy(strategy, policy, folder / NAMES[0] / "roster.toml")
    arrays = ArrayRecord({"model": Array(MODEL)})
    result = strategy.start(grid, arrays, num_rounds=rounds, evaluate_fn=meter.read)
    check(result.arrays["model"].numpy(), rounds)
    return meter.figures()


def measure_secaggplus(folder: Path, rounds: int, policy: Policy) -> Figures:
    app = ClientApp(client_fn=lambda _: Stepping().to_client(), mods=[secaggplus_mod])
    grid = InProcessGrid(nodes_of(site_files(folder), **dict.fromkeys(NAMES, app)).values())
    context = LegacyContext(
        Context(1, 1, {}, RecordDict(), {}), ServerConfig(num_rounds=rounds), OlderFedAvg(min_fit_clients=6)
    )
    for number in grid.get_node_ids():
        context.client_manager.register(GridClientProxy(number, grid, 1))
    context.state[MAIN_PARAMS_RECORD] = ArrayRecord([MODEL])
    workflow, meter = SecAggPlusWorkflow(1.0, policy.threshold / len(NAMES)), Meter(grid)
    meter.read()
    for number in range(1, rounds + 1):
        context.state[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: number})
        workflow(grid, context)
        meter.read()
    check(context.state[MAIN_PARAMS_RECORD].to_numpy_ndarrays()[0], rounds)
    return meter.figures()


def check(model: Any, rounds: int) -> None:
    if np.abs(model - MODEL - rounds * STEP).max() > 1e-4 * rounds:
        raise SystemExit("the sum is wrong")


def measure(rounds: int) -> Figures:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    malicious, semi_honest = policy_of(consistency=True), policy_of(consistency=False)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        return {
            "bits": malicious.bits,
            "threshold": malicious.threshold,
            "fedavg": measure_newer(folder / "fedavg", rounds, None),
            "malicious": measure_newer(folder / "malicious", rounds, malicious),
            "semi_honest": measure_newer(folder / "semi_honest", rounds, semi_honest),
            "secaggplus": measure_secaggplus(folder / "secaggplus", rounds, malicious),
        }


def tell(found: Figures) -> None:
    print(f"{len(NAMES)} sites, {MODEL.size:,} float32, {found['bits']} bits a lane, each a round, medians")
    for name, row in found.items():
        if isinstance(row, dict):
            print(
                f"  {name:12}{row['processor_seconds']:8.3f} s {row['exchanges']:4.0f} exchanges "
                f"{row['relayed_bytes'] / 1e6:8.2f} MB"
            )


if __name__ == "__main__":
    main(__doc__, measure, tell, rounds=(12, "rounds of each"))
