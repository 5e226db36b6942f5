# SPDX-License-Identifier: Apache-2.0

"""Whether those who are left out of rounds are of one kind: a permutation test for each declared attribute.

A study that goes on without late sites learns less from them. If those are the small, the remote or the old
scanners' hospitals, its model is biased against their patients, and nobody sees it in the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

import numpy as np

from sordino.models.model import Vector

Attribute: TypeAlias = str | int | float | bool
LEVEL = 0.05
RESAMPLES = 20_000
"""Assignments of the sites up to which the test is exact; beyond, so many are drawn."""


@dataclass(frozen=True)
class ExclusionTest:
    """Whether being left out goes with one attribute of a site.

    value   the p-value: how often an assignment of the sites by chance goes with the attribute as much
    level   below which `correlated` is said: 0.05 over all attributes (Holm's step-down, 1979)
    """

    attribute: str
    value: float
    level: float
    correlated: bool


def exclusion_tests(
    left_out: Mapping[str, float], attributes: Mapping[str, Mapping[str, Attribute]], *, level: float = LEVEL
) -> tuple[ExclusionTest, ...]:
    """Test each attribute, the least p-value first; a site is the unit, since its rounds are not independent.

    left_out     by site, the part of rounds that it was left out of
    attributes   by site, the value of each attribute that is declared for it; sites without one do not count

    The statistic is the absolute covariance for numbers, and for anything else the spread between groups. An
    attribute that no two sites differ in, and shares of rounds that are all equal, cannot be tested.
    """
    values: list[tuple[float, str]] = []
    for attribute in sorted({name for declared in attributes.values() for name in declared}):
        sites = sorted(name for name in left_out if attribute in attributes.get(name, {}))
        given = [attributes[name][attribute] for name in sites]
        shares = np.array([left_out[name] for name in sites])
        if len(set(given)) > 1 and np.ptp(shares) > 0.0:
            values.append((_p_value(shares, given), attribute))
    values.sort()
    tests, holding = [], True
    for place, (value, attribute) in enumerate(values):
        needed = level / (len(values) - place)
        holding = holding and value <= needed
        tests.append(ExclusionTest(attribute, value, needed, holding))
    return tuple(tests)


def _p_value(shares: Vector, given: list[Attribute]) -> float:
    from scipy.stats import permutation_test

    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in given)
    if numbers and all(isfinite(float(one)) for one in given):
        # Ranks, so that one very large hospital does not decide.
        attribute = np.unique(np.array(given, dtype=np.float64), return_inverse=True)[1].astype(np.float64)
        against = (attribute - attribute.mean())[:, np.newaxis]
    else:
        # The spread between groups is the squared length of the shares' part in the span of the indicators.
        groups = np.array([[one == label for label in sorted(set(given), key=str)] for one in given])
        against = groups / np.sqrt(groups.sum(axis=0))

    def statistic(ordered: Vector, axis: int = -1) -> Vector:
        along = np.moveaxis(ordered, axis, -1) - shares.mean()
        spread: Vector = ((along @ against) ** 2).sum(axis=-1)
        # Assignments that mean the same must not differ by rounding.
        return np.round(spread, 12)

    found = permutation_test(
        (shares,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=RESAMPLES,
        alternative="greater",
        random_state=np.random.default_rng(0),
    )
    return float(found.pvalue)
