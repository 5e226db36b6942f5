# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from sordino.audit.membership import halves
from sordino.audit.rates import Separation, area, proportion, separation
from sordino.errors import InvalidArgument


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (7, 7), (3, 50), (999, 1000)])
def test_proportion_is_that_of_clopper_and_pearson(hits: int, of: int) -> None:
    expected = binomtest(hits, of).proportion_ci(0.95, method="exact")
    found = proportion(hits, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


Scored = tuple[np.ndarray, np.ndarray]


def one_training(members: np.ndarray, others: np.ndarray) -> Scored:
    """Scores, and who is a member."""
    scores = np.concatenate([members, others])
    return scores[np.newaxis], (np.arange(len(scores)) < len(members))[np.newaxis]


def once(members: np.ndarray, others: np.ndarray) -> Separation:
    """Of one training."""
    return separation(*one_training(members, others))


def test_a_rate_takes_as_many_others_as_it_has_places() -> None:
    members, others = np.linspace(1.0, 2.0, 50), np.linspace(0.0, 0.9, 500)
    found = once(members, others)
    assert found.auc.value == 1.0
    assert found.tpr["0.01"] is not None
    assert found.tpr["0.01"].value == 1.0
    assert found.tpr["0.001"] is None  # of 500 others none may be wrong
    assert once(members, np.linspace(0.0, 0.9, 1000)).tpr["0.001"] is not None


def test_the_threshold_lets_no_more_than_the_rate_of_others_through() -> None:
    random = np.random.default_rng(0)
    others, members = random.normal(size=2000), random.normal(size=2000)
    found = once(members, others).tpr["0.01"]
    assert found is not None
    assert found.value == (members > np.sort(others)[-21]).mean()


def test_interval_of_the_area_covers_it() -> None:
    random = np.random.default_rng(1)
    drawn = (one_training(random.normal(size=60), random.normal(size=60)) for _ in range(200))
    covered = sum(0.5 in area(*one) for one in drawn)
    assert 182 <= covered <= 198  # 190 are expected; fewer, or more, have a chance of 1 in 200


def test_interval_of_the_area_is_that_of_delong_for_one_training() -> None:
    random = np.random.default_rng(4)
    members, others = random.normal(0.7, size=40), random.normal(size=50)
    above = (members[:, np.newaxis] > others).astype(float)
    variance = above.mean(axis=1).var(ddof=1) / 40 + above.mean(axis=0).var(ddof=1) / 50
    found, value = once(members, others).auc, above.mean()
    assert found.value == pytest.approx(value)
    half = 1.96 * np.sqrt(variance) / (value * (1.0 - value))
    assert np.log(found.high / (1.0 - found.high)) - np.log(value / (1.0 - value)) == pytest.approx(
        half, rel=0.02
    )


def test_equal_scores_count_half() -> None:
    assert once(np.zeros(20), np.zeros(30)).auc.value == 0.5


def test_where_all_are_told_apart_the_interval_still_has_a_width() -> None:
    found = once(np.ones(20), np.zeros(20)).auc
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert once(np.zeros(20), np.ones(20)).auc.high == pytest.approx(1.0 - 0.025 ** (1 / 20))


def paired(random: np.random.Generator, *, effect: float, patients: int = 40) -> Scored:
    """Six trainings over the same patients, who have a level of their own, as has each training."""
    member = halves(random, np.zeros(patients, np.intp), 3)
    scores = random.normal(size=patients) + random.normal(size=(6, 1)) + random.normal(size=(6, patients))
    return scores + effect * member, member


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_intervals_over_trainings_that_share_patients_cover(effect: float) -> None:
    random = np.random.default_rng(2)
    spread = np.sqrt(2.0) * np.sqrt(3.0)  # of the difference of two scores, of other patients and trainings
    truth = float(norm.cdf(effect / spread))
    covered = sum(truth in area(*paired(random, effect=effect)) for _ in range(200))
    assert covered >= 182


def test_the_rate_of_true_positives_is_covered_over_trainings() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(50):
        found = separation(*paired(random, effect=0.0, patients=80)).tpr["0.01"]
        assert found is not None
        covered += 0.01 in found
    assert covered >= 45


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="too few patients"):
        once(np.ones(1), np.ones(5))
    with pytest.raises(InvalidArgument, match="a proportion needs"):
        proportion(3, 2)
