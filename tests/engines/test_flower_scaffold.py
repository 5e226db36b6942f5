# SPDX-License-Identifier: Apache-2.0

"""SCAFFOLD (Karimireddy et al. 2020) as a Flower app: control variates are arrays like any other.

Sites of f_i = a_i/2 (x - b_i)^2 with a = 1, 10 and b = 1, -1: the optimum is -9/11, where ten local steps of
FedAvg alone end at -0.426884.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

from flower_grid import InProcessGrid, Node
from flower_hospitals import fedavg, lose
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from studies import site_files

from sordino.adapters.flower import SecureStrategy, certified, plan_question, secure_mod
from sordino.protocol.policy import plan_policy

RATE, STEPS = 0.05, 10
OPTIMUM, DRIFTED = -9 / 11, -0.426884


def quadratic_app(place: int, *, corrects: bool) -> ClientApp:
    slope, optimum = ((1.0, 1.0), (10.0, -1.0))[place % 2]
    app = ClientApp(mods=[secure_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        sent = message.content["arrays"]
        start, common = sent["x"].numpy(), sent["control"].numpy()
        own = context.state.setdefault("own", ArrayRecord({"control": Array(np.zeros(1))}))
        if certified(context) and "next" in own:
            own["control"] = own["next"]  # what was sent last is in the server's control
        control = own["control"].numpy() if corrects else common
        x = start
        for _ in range(STEPS):
            x = x - RATE * (slope * (x - optimum) - control + common)
        moved = control - common + (start - x) / (RATE * STEPS) if corrects else common
        own["next"] = Array(moved)
        arrays = ArrayRecord({"x": Array(x), "control": Array(moved)})
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def study(folder, *, corrects=True, fate=None, rounds):
    settings = site_files(folder)
    nodes = {
        name: Node(10 + place, quadratic_app(place, corrects=corrects), {"sordino-site": str(path)})
        for place, (name, path) in enumerate(settings.items())
    }
    arrays = ArrayRecord({"x": Array(np.zeros(1)), "control": Array(np.zeros(1))})
    plan = [plan_question("train", arrays, sites=6, max_weight=1, clip=64.0, wanted_bits=40)]
    policy = plan_policy(study="s", sites=6, plan=plan, across_rounds="accept", rounds=200, consistency=False)
    grid = InProcessGrid(nodes.values(), fate(nodes) if fate else None)
    strategy = SecureStrategy(fedavg(), policy, folder / "aachen" / "roster.toml", answer_within=0.1)
    return float(strategy.start(grid, arrays, num_rounds=rounds, timeout=0.1).arrays["x"].numpy()[0])


def test_averaging_alone_drifts(tmp_path):
    assert study(tmp_path, corrects=False, rounds=16) == pytest.approx(DRIFTED, abs=1e-6)


def test_control_variates_reach_the_optimum(tmp_path):
    assert study(tmp_path, rounds=24) == pytest.approx(OPTIMUM, abs=1e-6)


def test_a_site_whose_control_did_not_count_keeps_the_one_before(tmp_path):
    """One is lost in some rounds, another twice told of no sum; the optimum is reached all the same."""

    def fate(nodes):
        uploads = lose(nodes, {"bergen": "UploadRequest"}, verdict="unanswered", rounds=range(3, 20, 8))
        unmasks = lose(nodes, {"essen": "UnmaskRequest"}, rounds=range(5, 20, 7))
        return lambda node, message: uploads(node, message) or unmasks(node, message)

    assert study(tmp_path, fate=fate, rounds=44) == pytest.approx(OPTIMUM, abs=1e-6)
