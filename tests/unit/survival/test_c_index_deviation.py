# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.survival.concordance import c_index, c_index_deviation


def counts(random, patients):
    scored = np.zeros((2, 6, 8))
    risk = random.normal(size=patients)
    place = np.clip((risk * 2 + 4).astype(int), 0, 7)
    time = np.clip((random.exponential(np.exp(-risk)) * 3).astype(int), 0, 5)
    np.add.at(scored, ((random.random(patients) > 0.7).astype(int), time, place), 1.0)
    return scored


def test_deviation_is_what_each_patient_moves_the_index_by():
    scored, step = counts(np.random.default_rng(3), 60), 1e-6
    moved = 0.0
    for at in np.ndindex(scored.shape):
        more, less = scored.copy(), scored.copy()
        more[at] += step
        less[at] -= step
        moved += scored[at] * ((c_index(more).value - c_index(less).value) / (2 * step)) ** 2
    assert c_index_deviation(scored) == pytest.approx(np.sqrt(moved), rel=1e-5)


def test_deviation_is_the_spread_over_cohorts():
    random = np.random.default_rng(5)
    cohorts = [counts(random, 120) for _ in range(300)]
    spread = np.std([c_index(one).value for one in cohorts])
    assert np.mean([c_index_deviation(one) for one in cohorts]) == pytest.approx(spread, rel=0.15)


def test_no_pairs_have_no_deviation():
    assert np.isnan(c_index_deviation(np.zeros((2, 3, 4))))
