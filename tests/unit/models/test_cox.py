# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from lifelines.datasets import load_rossi
from statsmodels.duration.hazard_regression import PHReg

from reference.breslow import breslow
from sordino.errors import InvalidArgument
from sordino.models.cox import Cox, last_at_risk
from sordino.models.model import Convex


def cohort(patients=60, columns=3, seed=1):
    random = np.random.default_rng(seed)
    features = random.normal(size=(patients, columns))
    time = np.ceil(10.0 * random.exponential(np.exp(-features @ np.array([0.8, -0.5, 0.2])[:columns])))
    return features, np.column_stack([time, random.random(patients) < 0.7]).astype(float)


def test_loss_and_gradient_are_those_of_the_formulas_written_out():
    features, target = cohort()
    at = np.array([0.4, -0.2, 0.7])
    value, gradient, _ = breslow(features, target[:, 0], target[:, 1] == 1.0, at)
    model = Cox(3, l2=0.1)
    assert model.loss(at, features, target) == pytest.approx(-value / 60, rel=1e-13)
    np.testing.assert_allclose(model.gradient(at, features, target), -gradient / 60 + 0.1 * at, atol=1e-13)
    assert isinstance(model, Convex)


def test_optimum_over_all_rows_is_that_of_statsmodels():
    table = load_rossi()
    features = table.drop(columns=["week", "arrest"]).to_numpy(float)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    time, event = table["week"].to_numpy(float), table["arrest"].to_numpy(float)
    theirs = PHReg(time, features, status=event, ties="breslow").fit(maxiter=100, disp=0)
    ours = Cox(7, l2=0.0).fit(features, np.column_stack([time, event]))
    np.testing.assert_allclose(ours, theirs.params, rtol=1e-7)


def test_curvature_bounds_the_loss_along_every_line():
    features, target = cohort(seed=4)
    model, random = Cox(3, l2=0.0), np.random.default_rng(0)
    for _ in range(20):
        at, way = random.normal(size=(2, 3))
        way /= np.linalg.norm(way)
        ahead, behind = (model.gradient(at + step * way, features, target) @ way for step in (1e-4, -1e-4))
        assert 0.0 <= (ahead - behind) / 2e-4 <= model.curvature(features)


def test_site_without_events_adds_the_penalty_alone():
    features, target = cohort()
    target[:, 1] = 0.0
    model = Cox(3, l2=0.5)
    assert model.loss(np.ones(3), features, target) == 0.0
    np.testing.assert_array_equal(model.gradient(np.ones(3), features, target), 0.5 * np.ones(3))


def test_large_scores_do_not_overflow():
    features, target = cohort()
    assert np.isfinite(Cox(3).loss(np.full(3, 1e4), features, target))


def test_patients_have_no_gradient_of_their_own():
    features, target = cohort()
    with pytest.raises(InvalidArgument, match="no sum over patients"):
        Cox(3).gradients(np.zeros(3), features, target)


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (np.ones(60), "shape"),
        (np.full((60, 2), -1.0), "from 0 on"),
        (np.full((60, 2), np.nan), "finite"),
        (np.full((60, 2), 2.0), "an event is 1"),
    ],
)
def test_target_that_is_none_is_refused(target, match):
    with pytest.raises(InvalidArgument, match=match):
        Cox(3).loss(np.zeros(3), np.zeros((60, 3)), target)


def test_impossible_settings_are_refused():
    with pytest.raises(InvalidArgument, match="one feature"):
        Cox(0)
    with pytest.raises(InvalidArgument, match="l2"):
        Cox(1, l2=-1.0)


def test_events_go_to_the_end_of_their_interval_and_censored_patients_to_its_start():
    time = np.array([1.0, 1.0, 3.0, 3.0, 9.0, 9.0, 2.0, 2.0])
    event = np.array([1, 0, 1, 0, 1, 0, 1, 0], dtype=bool)
    slots, seen = last_at_risk(time, event, np.array([2.0, 5.0]))
    assert slots.tolist() == [0, -1, 1, 0, 1, 1, 0, 0]
    assert seen.tolist() == [True, False, True, False, False, False, True, False]
