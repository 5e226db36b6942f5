# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv

import numpy as np
import pytest

from quadratic import PARABOLAS, Quadratic, masked, plain, policy_for, sites_of
from sordino.course.follow import course, follow
from sordino.errors import ConfigError
from sordino.federated.drift import Drift, draw_drift, measure_drift, write_drift
from sordino.federated.fedavg import FedAvg
from sordino.federated.local import Local
from sordino.federated.scaffold import Scaffold
from sordino.federated.server import Momentum

PATIENTS = [1, 2, 3, 4]


def averaging(steps):
    return FedAvg(
        Quadratic(), sites=4, max_patients=4, local=Local(steps=steps), server=Momentum(0.0), clip=4.0
    )


def test_distance_is_that_of_the_sites_own_next_models():
    sites, steps = sites_of(patients=PATIENTS), 7
    (point,) = measure_drift(averaging, sites, [steps], rounds=5, learning_rate=0.05)
    with plain(policy_for([averaging(steps)], sites), sites) as sums:
        state = follow(course((averaging(steps), 5)), sums, sites, averaging(steps).initial(0.05))
    x = float(state["parameters"][0])
    squares = [((1.0 - (1.0 - 0.05 * a) ** steps) * (b - x)) ** 2 for a, b in PARABOLAS.values()]
    losses = [a / 2.0 * (x - b) ** 2 for a, b in PARABOLAS.values()]
    assert point.distance == pytest.approx(np.sqrt(np.average(squares, weights=PATIENTS)), abs=1e-7)
    assert point.loss == pytest.approx(np.average(losses, weights=PATIENTS), abs=1e-5)


def test_averaging_drifts_with_its_steps_and_scaffold_comes_to_rest():
    sites = sites_of()
    drifting = measure_drift(averaging, sites, [1, 4, 16], rounds=60, learning_rate=0.05)
    assert drifting[0].distance < drifting[1].distance < drifting[2].distance
    assert drifting[0].loss < drifting[1].loss < drifting[2].loss
    still = measure_drift(
        lambda steps: Scaffold(averaging(steps)), sites, [1, 4], rounds=60, learning_rate=0.05
    )
    assert max(point.distance for point in still[1:]) < 1e-4


def test_measuring_changes_nothing_that_a_site_remembers():
    sites, algorithm = sites_of(), Scaffold(averaging(3))
    with masked(policy_for([algorithm, Drift(algorithm)], sites), sites) as sums:
        state = follow(course((algorithm, 3)), sums, sites, algorithm.initial(0.05))
        before = {name: dict(site.memory.load()) for name, site in sites.items()}
        follow(course((Drift(algorithm), 1)), sums, sites, state)
    assert before == {name: dict(site.memory.load()) for name, site in sites.items()}


def test_steps_with_which_training_diverges_have_no_distance():
    (point,) = measure_drift(averaging, sites_of(), [8], rounds=20, learning_rate=0.25)
    assert point.diverged
    assert np.isnan(point.distance)


def test_table_and_figure(tmp_path, monkeypatch):
    points = measure_drift(averaging, sites_of(), [1, 2], rounds=2, learning_rate=0.05)
    write_drift(points, tmp_path / "drift.csv")
    with (tmp_path / "drift.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["local_steps"]) for row in rows] == [1, 2]
    assert float(rows[1]["distance"]) == points[1].distance
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "matplotlib.figure", None)
        with pytest.raises(ConfigError, match=r"sordino\[figures\]"):
            draw_drift({"FedAvg": points}, tmp_path / "drift.svg")
    pytest.importorskip("matplotlib")
    draw_drift({"FedAvg": points}, tmp_path / "drift.svg")
    assert "<svg" in (tmp_path / "drift.svg").read_text()
