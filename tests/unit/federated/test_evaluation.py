# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from hospitals import hospitals, masked
from sordino.course.follow import follow
from sordino.federated.evaluation import Evaluation, area_under_curve
from sordino.federated.study.outcomes.classes import auc
from sordino.federated.study.results import _own_scaler, interval
from sordino.federated.training import Training
from sordino.statistics.scaling import standardised


def evaluated(sites, bins=50):
    training = Training(columns=3, sites=4, max_patients=100, rounds=8, bins=bins)
    with masked(training) as sums:
        return training, follow(training.turns(), sums, sites, training.initial())


def test_sums_of_histograms_are_those_of_all_held_out_patients():
    sites = hospitals(held_out=15)
    training, state = evaluated(sites)
    features = np.concatenate([site.test_features for site in sites.values()])
    target = np.concatenate([site.test_target for site in sites.values()])
    known = (features - state["mean"]) / state["scale"]
    probability = training.model.probability(state["parameters"], known)
    for label, name in [(1.0, "positives"), (0.0, "negatives")]:
        expected, _ = np.histogram(probability[target == label], bins=50, range=(0.0, 1.0))
        np.testing.assert_array_equal(state[name], expected)
    assert state["correct"][0] / 60 == pytest.approx(accuracy_score(target, probability > 0.5))
    assert state["log_loss"][0] / 60 == pytest.approx(log_loss(target, probability), abs=1e-3)
    area, off = area_under_curve(state["positives"], state["negatives"])
    assert abs(area - roc_auc_score(target, probability)) <= off


def test_site_that_holds_nobody_out_adds_nothing():
    evaluation = Evaluation(Training(columns=3, sites=4, max_patients=9).model, bins=4, max_patients=9)
    for site in (hospitals()["north"], hospitals(held_out=0)["west"]):
        given_up = evaluation.contribute(site, {"parameters": np.zeros(4)})
        assert all(not values.any() for values in given_up.values.values())
        assert given_up.weight == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({label for _, label in rows}) == 2
    ),
    st.integers(2, 30),
)
def test_area_is_off_by_no_more_than_it_says(rows, bins):
    score = np.array([value for value, _ in rows])
    target = np.array([float(label) for _, label in rows])
    place = np.minimum((score * bins).astype(int), bins - 1)
    counts = [np.bincount(place[target == label], minlength=bins).astype(float) for label in (1.0, 0.0)]
    area, off = area_under_curve(*counts)
    exact = roc_auc_score(target, score)
    assert auc(target, score) == pytest.approx(exact, abs=1e-12)
    assert abs(area - exact) <= off + 1e-12


def test_area_is_not_defined_without_both_classes():
    assert all(math.isnan(value) for value in area_under_curve(np.zeros(3), np.ones(3)))
    assert math.isnan(auc(np.ones(3), np.arange(3.0)))


def test_interval_is_students():
    found = interval([0.7, 0.8, 0.9])
    assert found["mean"] == pytest.approx(0.8)
    assert found["high"] - found["low"] == pytest.approx(2 * 4.302653 * 0.1 / math.sqrt(3))
    assert interval([0.7, 0.8]) == {"mean": pytest.approx(0.75)}


def test_scaler_of_the_pooled_rows_leaves_a_constant_feature_at_zero():
    features = np.column_stack([np.full(10, 0.1), np.arange(10.0)])
    known = _own_scaler(Training(columns=2, sites=4, max_patients=100), features, np.zeros(10))
    scaled = standardised(features, known)
    np.testing.assert_array_equal(scaled[:, 0], 0.0)
    np.testing.assert_allclose(scaled[:, 1].std(), 1.0)
