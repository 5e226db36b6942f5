# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hospitals import hospitals, masked
from sordino.aggregation.base import Aggregate
from sordino.course.answer import Answering
from sordino.course.follow import follow
from sordino.errors import InvalidArgument
from sordino.federated.private.evaluation import PrivateEvaluation
from sordino.federated.private.subgroups import PrivateSubgroups
from sordino.federated.study.results import repeat_results
from sordino.federated.subgroups import OTHER, SubgroupEvaluation, Subgroups, membership
from sordino.federated.training import Training
from sordino.models.logistic import Logistic
from sordino.protocol.policy import EVERYONE

CELLS = Subgroups((("sex", ("f", "m", OTHER)), ("age", ("old", OTHER))), minimum=8)
TRAINING = Training(columns=3, sites=4, max_patients=100, rounds=3, bins=20, subgroups=CELLS)


def parted(sites, labels):
    """The sites, with the label of each partition for their held-out patients in turn."""
    return {
        name: replace(
            site,
            test_groups=np.concatenate(
                [
                    membership([own[k % len(own)] for k in range(len(site.test_target))], cells)
                    for own, (_, cells) in zip(labels, CELLS.partitions, strict=True)
                ],
                axis=1,
            ),
        )
        for name, site in sites.items()
    }


def run(sites, training=TRAINING):
    with masked(training) as sums:
        return follow(training.turns(), sums, sites, training.initial())


def test_metrics_of_a_cell_are_those_of_its_patients_alone():
    sites = parted(hospitals(held_out=15), [("f", "m"), ("old", None, None)])
    state = run(sites)
    found = repeat_results(TRAINING, sites, state, pooled=False)["secure_sums"]["subgroups"]
    assert [(one["column"], one["cell"]) for one in found] == [
        ("sex", "f"),
        ("sex", "m"),
        ("age", "old"),
        ("age", OTHER),
    ]
    whole = replace(TRAINING, subgroups=None)
    for cell, entry in zip((0, 1, 3, 4), found, strict=True):
        only = {
            name: replace(
                site,
                test_features=site.test_features[site.test_groups[:, cell]],
                test_target=site.test_target[site.test_groups[:, cell]],
            )
            for name, site in sites.items()
        }
        alone = repeat_results(whole, only, run(only, whole), pooled=False)["secure_sums"]["test"]
        assert {key: entry[key] for key in alone} == alone


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([20, 30, 0], [1, 1, 0]),
        ([20, 7, 0], [0, 0, 0]),
        ([20, 30, 7], [0, 1, 0]),
        ([5, 30, 7], [0, 1, 0]),
        ([8, 8, 8], [1, 1, 1]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_small_cells_are_withheld_and_so_is_what_would_give_them_away(sizes, told):
    found = CELLS.told(np.array([*sizes, 50, 50], dtype=float), np.full(5, 4.0))
    np.testing.assert_array_equal(found[:3], told)
    hidden = sum(size for size, one in zip(sizes, found, strict=False) if not one)
    assert hidden == 0 or hidden >= CELLS.minimum


@pytest.mark.parametrize(
    ("sizes", "holders", "told"),
    [
        ([20, 30, 40], [1, 4, 4], [0, 0, 1]),
        ([20, 30, 40], [2, 2, 4], [0, 0, 0]),
        ([20, 30, 40], [3, 4, 4], [1, 1, 1]),
        ([4, 30, 40], [3, 4, 4], [0, 0, 1]),
        ([4, 12, 40], [4, 4, 4], [0, 0, 1]),
        ([0, 30, 40], [0, 4, 2], [0, 0, 0]),
    ],
)
def test_cells_at_few_sites_are_withheld_with_a_cell_that_is_at_more(sizes, holders, told):
    others = [50.0, 50.0]
    found = CELLS.told(np.array([*sizes, *others], dtype=float), np.array([*holders, 4.0, 4.0]))
    np.testing.assert_array_equal(found[:3], told)


def test_with_noise_every_cell_that_is_large_enough_is_told():
    answering = Answering("patient", 4, 100, {})
    stage = PrivateSubgroups(CELLS, PrivateEvaluation(Logistic(3), answering, bins=1))
    # Noise alone makes a few patients of a cell that nobody is in, and hides no others with it.
    counts = np.array([20.0, 20.0, 15.0, 10.0, 2.5, 1.0, 30.0, 30.0, -4.0, 2.0])
    total = Aggregate(1, {"counts": counts}, {EVERYONE: 65.0}, np.zeros(0, np.int64), ("north",), noise=9.0)
    found = stage.advance({}, total)
    np.testing.assert_array_equal(found["subgroup_told"], [1, 1, 0, 1, 0])
    assert "2.positives" not in found


def test_figures_of_the_only_site_of_a_cell_stay_there():
    sites = parted(hospitals(held_out=15), [("m",), ("old", None)])
    one = sites["north"]
    sites["north"] = replace(
        one,
        test_groups=np.column_stack(
            [np.ones((15, 1), np.bool_), *[[[False]] * 15] * 2, one.test_groups[:, 3:]]
        ),
    )
    seen = []
    with masked(TRAINING) as sums:
        state = follow(TRAINING.turns(), sums, sites, TRAINING.initial(), notify=seen.append)
    np.testing.assert_array_equal(state["subgroup_sizes"][:3], [15, 45, 0])
    np.testing.assert_array_equal(state["subgroup_told"][:3], [0, 0, 0])
    (event,) = [one for one in seen if one.turn.stage.kind == "subgroup_evaluation"]
    counts = np.split(event.total.sums["positives"] + event.total.sums["negatives"], CELLS.cells)
    assert [part.sum() for part in counts][:3] == [0, 0, 0]


def test_sites_give_no_figure_of_a_cell_that_is_withheld():
    sites = parted(hospitals(held_out=15), [("f",) * 14 + ("m",), ("old",)])
    seen = []
    with masked(TRAINING) as sums:
        state = follow(TRAINING.turns(), sums, sites, TRAINING.initial(), notify=seen.append)
    np.testing.assert_array_equal(state["subgroup_sizes"], [56, 4, 0, 60, 0])
    np.testing.assert_array_equal(state["subgroup_told"], [0, 0, 0, 1, 0])
    (event,) = [one for one in seen if one.turn.stage.kind == "subgroup_evaluation"]
    for given in event.contributions.values():
        counts = np.split(given.values["positives"] + given.values["negatives"], CELLS.cells)
        assert [part.sum() for part in counts] == [0, 0, 0, 15, 0]
    found = repeat_results(TRAINING, sites, state, pooled=False)["secure_sums"]["subgroups"]
    assert [(one["cell"], "withheld" in one) for one in found] == [
        ("f", True),
        ("m", True),
        ("old", False),
    ]
    assert "4" not in str(found[1])


def test_site_without_held_out_patients_adds_nothing():
    sites = parted(hospitals(held_out=15), [("f", "m"), ("old", None)])
    sites["north"] = hospitals()["north"]
    assert run(sites)["subgroup_sizes"].sum() == 90


def test_evaluation_by_means_is_refused():
    with pytest.raises(InvalidArgument, match="totals"):
        SubgroupEvaluation(CELLS, TRAINING.fedavg)
