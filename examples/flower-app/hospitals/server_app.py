# SPDX-License-Identifier: Apache-2.0

"""At the coordinator: FedAvg on secure sums, with noise for patients or without."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from sordino.adapters.flower import SecureStrategy, plan_question
from sordino.files.settings import read_roster
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.policy import Policy, plan_policy

app = ServerApp()
in_the_clear = ServerApp()

DELTA = 1e-5


def start_model(features: int) -> ArrayRecord:
    """All zero."""
    return ArrayRecord(
        {
            "coefficients": Array(np.zeros(features, np.float32)),
            "intercept": Array(np.zeros(1, np.float32)),
        }
    )


def policy_of(config: dict, sites: int, *, rounds: int) -> Policy:
    """The terms of the study that `config` asks for."""
    noise, most = float(config["noise"]), int(config["max-patients"])
    question = plan_question(
        "train",
        start_model(int(config["features"])),
        sites=sites,
        max_weight=most,
        clip=1.0 if noise else 8.0,
        metrics={"loss": 1.0 if noise else 16.0},
        wanted_bits=16 if noise else 24,
    )
    terms = {
        "study": "hospitals",
        "sites": sites,
        "rounds": 3 * rounds,
        "consistency": bool(config["malicious"]),
    }
    if noise:
        return plan_with_noise([question], "patient", {"train": noise}, **terms)
    return plan_policy(plan=[question], across_rounds="accept", **terms)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and write down what came of it."""
    config, rounds = dict(context.run_config), int(context.run_config["rounds"])
    roster = read_roster(Path(config["roster"]))
    strategy = SecureStrategy(
        FedAvg(fraction_evaluate=0.0),
        policy_of(config, len(roster), rounds=rounds),
        roster,
        answer_within=float(config["answer-within"]),
    )
    result = strategy.start(
        grid, start_model(int(config["features"])), num_rounds=rounds, timeout=float(config["timeout"])
    )
    told = {
        "rounds": [asdict(done) for done in strategy.rounds],
        "loss": [metrics["loss"] for metrics in result.train_metrics_clientapp.values()],
    }
    if config["noise"]:
        told |= {"delta": DELTA, "epsilon": strategy.guarantee(DELTA).epsilon}
    write(Path(config["out"]), told, result.arrays)


@in_the_clear.main()
def clear(grid: Grid, context: Context) -> None:
    """The same by FedAvg alone, for comparison: the server sees every hospital's update."""
    config, rounds, started = context.run_config, int(context.run_config["rounds"]), time.monotonic()
    result = FedAvg(fraction_evaluate=0.0).start(
        grid,
        start_model(int(config["features"])),
        num_rounds=rounds,
        timeout=float(config["timeout"]),
        train_config=ConfigRecord(),
    )
    seconds = (time.monotonic() - started) / rounds
    write(Path(str(config["out"])), {"seconds_a_round": seconds}, result.arrays)


def write(out: Path, told: dict, model: ArrayRecord) -> None:
    """`rounds.json` and `model.npz` in the directory `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "rounds.json").write_text(json.dumps(told, indent=1))
    np.savez(out / "model.npz", **{name: array.numpy() for name, array in model.items()})
