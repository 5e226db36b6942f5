# SPDX-License-Identifier: Apache-2.0

"""Cells of what may be drawn of a test hold enough patients, and lose none."""

from __future__ import annotations

import numpy as np
import pytest

from sordino.federated.evaluation import bands
from sordino.federated.survival import curves_by_risk


@pytest.mark.parametrize("seed", range(20))
def test_bands_hold_the_least_and_everybody(seed):
    random = np.random.default_rng(seed)
    positives, negatives = random.poisson(0.7, size=(2, 50)).astype(float)
    found = bands(positives, negatives, least=7)
    assert all(band["patients"] >= 7 for band in found)
    assert sum(band["patients"] for band in found) == positives.sum() + negatives.sum()
    assert sum(band["positives"] for band in found) == positives.sum()
    assert [band["from"] for band in found[1:]] == [band["to"] for band in found[:-1]]
    assert (found[0]["from"], found[-1]["to"]) == (0.0, 1.0)


def test_too_few_patients_make_no_band():
    assert bands(np.ones(3), np.ones(3), least=7) == []


def test_noised_band_stands_above_its_noise():
    found = bands(np.full(20, 5.0), np.full(20, 3.0), least=10, deviation=8.0)
    assert all(band["patients"] >= 32.0 for band in found)
    assert found[0]["noise_deviation"] == pytest.approx(16.0)  # of four bins


@pytest.mark.parametrize("seed", range(20))
def test_as_many_as_the_least_leave_in_each_interval(seed):
    random = np.random.default_rng(seed)
    scored = random.poisson(0.4, size=(2, 9, 12)).astype(float)
    found = curves_by_risk(scored, np.arange(1.0, 9.0), least=5)
    for curve in found["curves"]:
        # Half of those censored are in no risk set, so as many leave at least.
        assert all(step >= 2.5 for step in -np.diff(curve["at_risk"]))
        assert curve["survival"] == sorted(curve["survival"], reverse=True)
    assert sum(curve["patients"] for curve in found["curves"]) == scored.sum()
    assert sum(curve["events"] for curve in found["curves"]) == scored[0].sum()


def test_curve_without_censoring_is_the_part_alive():
    scored = np.zeros((2, 4, 2))
    scored[0] = [[10, 20], [10, 20], [20, 0], [0, 0]]
    lower, higher = curves_by_risk(scored, np.array([1.0, 2.0, 3.0]), least=10)["curves"]
    assert lower["survival"] == pytest.approx([0.75, 0.5])
    assert lower["times"] == higher["times"] == [1.0, 2.0]
    assert higher["survival"] == pytest.approx([0.5, 0.0])


def test_too_few_patients_make_no_curve():
    assert curves_by_risk(np.ones((2, 3, 2)), np.array([1.0, 2.0]), least=10) == {}
