# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.report.intervals import of_area, of_test, wilson


def test_wilson_interval_is_that_of_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    for successes, trials in [(0, 12), (3, 17), (50, 50), (61, 153)]:
        expected = proportion_confint(successes, trials, method="wilson")
        assert wilson(successes, trials) == pytest.approx(expected, abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_interval_of_an_area_covers_the_true_one_about_as_often_as_it_says():
    random, held = np.random.default_rng(1), 0
    truth = 0.760250  # two normals whose means are one deviation apart: Phi(1 / sqrt(2))
    for _ in range(400):
        positives, negatives = random.normal(1.0, size=40), random.normal(size=60)
        area = float(np.mean(positives[:, np.newaxis] > negatives))
        low, high = of_area(area, 40, 60)
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.98


def test_perfect_area_of_few_patients_has_an_interval_all_the_same():
    low, high = of_area(1.0, 5, 30)
    assert 0.4 < low < 0.6
    assert high == 1.0
    assert of_area(0.7, 0, 30) == (0.0, 1.0)


def test_noise_widens_the_interval():
    narrow, wide = of_area(0.8, 60, 90), of_area(0.8, 60, 90, noise=0.05)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_no_interval_is_made_up_where_counts_do_not_give_one():
    assert of_test({"r2": 0.4, "patients": 30}, "r2") is None
    assert of_test({"auc": None, "patients": 0, "positives": 0}, "auc") is None
