# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from sordino.audit.rates import proportion, separation
from sordino.errors import InvalidArgument


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (7, 7), (3, 50), (999, 1000)])
def test_proportion_is_that_of_clopper_and_pearson(hits: int, of: int) -> None:
    expected = binomtest(hits, of).proportion_ci(0.95, method="exact")
    found = proportion(hits, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_rate_takes_as_many_others_as_it_has_places() -> None:
    members, others = np.linspace(1.0, 2.0, 50), np.linspace(0.0, 0.9, 500)
    found = separation(members, others)
    assert found.auc.value == 1.0
    assert found.tpr["0.01"] is not None
    assert found.tpr["0.01"].value == 1.0
    assert found.tpr["0.001"] is None  # of 500 others none may be wrong
    assert separation(members, np.linspace(0.0, 0.9, 1000)).tpr["0.001"] is not None


def test_the_threshold_lets_no_more_than_the_rate_of_others_through() -> None:
    random = np.random.default_rng(0)
    others, members = random.normal(size=2000), random.normal(size=2000)
    found = separation(members, others).tpr["0.01"]
    assert found is not None
    assert found.value == (members > np.sort(others)[-21]).mean()


def test_interval_of_the_area_covers_it() -> None:
    random = np.random.default_rng(1)
    covered = sum(0.5 in separation(random.normal(size=60), random.normal(size=60)).auc for _ in range(200))
    assert covered >= 182  # 190 are expected; fewer have a chance of 1 in 200


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="too few patients"):
        separation(np.ones(1), np.ones(5))
    with pytest.raises(InvalidArgument, match="a proportion needs"):
        proportion(3, 2)
