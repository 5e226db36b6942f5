# SPDX-License-Identifier: Apache-2.0

"""Four hospitals' radiomics, another one missing in every round: as good as the pooled model?"""

from __future__ import annotations

import os
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from hospitals import plain
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.follow import Summed, follow
from sordino.federated.study.prepared import prepare
from sordino.federated.study.results import interval, repeat_results

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data"))
TABLE = SHARED / "keek2020" / "Keek2020.csv.gz"

pytestmark = pytest.mark.skipif(
    not TABLE.exists(), reason=f"{TABLE} is not there; SORDINO_SHARED_DATA may say where it is"
)


@pytest.fixture(scope="module")
def splits():
    """Every split of the example, trained by masked and by plain sums with the same dropouts."""
    prepared = prepare(ROOT / "examples" / "keek2020.toml", TABLE)
    study, training, names = prepared.study, prepared.training, prepared.study.site_names

    def lose(kind, number):
        return study.losses(number) if kind == "fedavg" else {}

    found = []
    with MaskedAggregator(prepared.policy, names, schemas=prepared.cohort.schemas) as masked_sums:
        for repeat in range(study.repeats):
            sites, seen = prepared.sites(repeat), {"masked": [], "plain": []}
            states = {}
            with plain(training, names) as plain_sums:
                for name, sums in [("masked", masked_sums), ("plain", plain_sums)]:
                    states[name] = follow(
                        training.turns(), sums, sites, training.initial(), lose=lose, notify=seen[name].append
                    )
            found.append((states, seen, repeat_results(training, sites, states["masked"], pooled=True)))
    return prepared, found


def test_there_are_four_hospitals_and_twenty_splits(splits):
    prepared, found = splits
    assert len(found) >= 20
    assert {name: len(site.target) for name, site in prepared.cohort.sites.items()} == {
        "AVL": 102,
        "MAASTRO": 30,
        "UMCU": 81,
        "VUMC": 60,
    }
    assert len(prepared.cohort.schema.features) == 1322


def test_one_hospital_is_missing_in_every_round_each_in_its_turn(splits):
    prepared, found = splits
    for _, seen, _ in found:
        assert all(isinstance(event, Summed) for event in seen["masked"])
        training = [event for event in seen["masked"] if event.turn.stage.kind == "fedavg"]
        assert len(training) == prepared.study.training.rounds
        for place, event in enumerate(training):
            assert set(event.total.dropped) == {prepared.study.site_names[place % 4]}


def test_sums_and_coefficients_equal_those_of_a_plain_run_bit_for_bit(splits):
    _, found = splits
    for states, seen, _ in found:
        for ours, theirs in zip_longest(seen["masked"], seen["plain"]):
            np.testing.assert_array_equal(ours.total.integers, theirs.total.integers)
        np.testing.assert_array_equal(states["masked"]["parameters"], states["plain"]["parameters"])


def test_federated_auc_is_that_of_the_pooled_model(splits):
    _, found = splits
    metrics = [results["simulation"] for _, _, results in found]
    federated = interval([one["test_auc_federated"] for one in metrics])
    pooled = interval([one["test_auc_pooled"] for one in metrics])
    difference = interval([one["test_auc_federated"] - one["test_auc_pooled"] for one in metrics])
    print(f"\nfederated {federated}\npooled {pooled}\ndifference {difference}")  # noqa: T201
    assert abs(difference["mean"]) < 0.02
    assert difference["low"] > -0.02
    assert difference["high"] < 0.02


def test_federated_training_comes_near_the_pooled_optimum(splits):
    _, found = splits
    for _, _, results in found:
        simulation = results["simulation"]
        assert simulation["train_objective_pooled"] <= simulation["train_objective_federated"] + 1e-9
        assert simulation["train_objective_federated"] <= simulation["train_objective_pooled"] + 0.005


def test_auc_from_masked_histograms_is_off_by_no_more_than_it_says(splits):
    _, found = splits
    for _, _, results in found:
        test = results["secure_sums"]["test"]
        off = abs(test["auc"] - results["simulation"]["test_auc_federated"])
        assert off <= test["auc_off_by_at_most"] + 1e-12
