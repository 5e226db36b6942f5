# SPDX-License-Identifier: Apache-2.0

"""The noise of a released sum: the planned variance for every number of dropouts, wherever they drop."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from sordino.aggregation.base import Contribution, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.privacy.mechanisms import counted_out, noise_plan, plan_with_noise
from sordino.protocol.policy import Block, Policy, Question

LANES = 20_000
SITES = 7
NAMES = tuple(f"site{place}" for place in range(SITES))
QUESTION = Question("sum", (Block("vector", LANES, 1.0, 12),), max_weight=100)
CHANCE = 1e-6

LOSSES: list[dict[str, Step]] = [
    {},
    {"site0": "upload"},
    {"site6": "upload"},
    {"site1": "upload", "site4": "upload"},
    {"site3": "unmask"},
    {"site3": "confirm"},
    {"site2": "upload", "site5": "unmask"},
    {"site2": "upload", "site5": "confirm"},
]


@pytest.fixture(scope="module")
def private() -> MaskedAggregator:
    policy = plan_with_noise([QUESTION], "patient", {"sum": 2.0}, study="noise", sites=SITES, rounds=200)
    return MaskedAggregator(policy, NAMES)


def sigma_of(policy: Policy) -> float:
    noise = policy.plan[0].noise
    assert noise is not None
    return noise.sigma


def check_variance(noise: np.ndarray, deviation: float) -> None:
    """A chi-square test: 20,000 lanes tell 3 % of a standard deviation for sure."""
    quotient = float(np.sum(noise**2)) / deviation**2
    low, high = stats.chi2.ppf([CHANCE / 2, 1 - CHANCE / 2], LANES)
    assert low < quotient < high, quotient / LANES
    assert abs(noise.mean()) < 5 * deviation / sqrt(LANES)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: ",".join(f"{k}-{v}" for k, v in lose.items()))
def test_the_sum_carries_the_planned_variance(private: MaskedAggregator, lose: dict[str, Step]) -> None:
    policy = private.policy
    empty = {name: lambda _: Contribution({"vector": np.zeros((0, LANES))}) for name in NAMES}
    total = private.aggregate("sum", b"", empty, lose=lose)
    survivors = SITES - sum(step == "upload" for step in lose.values())
    assert len(total.survivors) == survivors
    # The honest survivors' noise is exactly sigma^2; those who are counted out add their own equal parts.
    planned = sigma_of(policy) * sqrt(survivors / (survivors - counted_out(policy.colluders)))
    assert total.noise == pytest.approx(planned, rel=1e-9)
    check_variance(total.integers[:LANES].astype(np.float64), planned)


def test_every_number_of_dropouts_is_among_them(private: MaskedAggregator) -> None:
    dropped = {sum(step == "upload" for step in lose.values()) for lose in LOSSES}
    assert dropped == set(range(private.policy.tolerated(SITES) + 1))


def test_a_surplus_that_stayed_or_noise_that_is_short_would_show(private: MaskedAggregator) -> None:
    policy = private.policy
    plan = noise_plan(policy, sigma_of(policy), SITES)
    whole = sqrt(SITES * (plan.base**2 + sum(part**2 for part in plan.components)))
    planned = sigma_of(policy) * sqrt(SITES / (SITES - counted_out(policy.colluders)))
    rng = np.random.default_rng(0)
    check_variance(rng.normal(scale=planned, size=LANES), planned)
    for wrong in (whole, planned * 1.04, planned * 0.96):
        with pytest.raises(AssertionError):
            check_variance(rng.normal(scale=wrong, size=LANES), planned)


@pytest.mark.parametrize("participants", range(6, 9))
@pytest.mark.parametrize("chain", [True, False])
@pytest.mark.parametrize(("colluders", "counted"), [(0, 1), (1, 1), (2, 2)])
def test_honest_survivors_have_the_planned_variance_in_every_cohort(
    participants: int, chain: bool, colluders: int, counted: int
) -> None:
    """Every site knows its own noise, so one is counted out where nobody colludes."""
    terms = {"study": "noise", "sites": 8, "colluders": colluders, "min_cohort": 5}
    planned = plan_with_noise([QUESTION], "patient", {"sum": 3.0}, **terms)
    policy = replace(planned, chain=chain)
    sigma, tolerated = sigma_of(policy), policy.tolerated(participants)
    plan = noise_plan(policy, sigma, participants)
    for dropped in range(tolerated + 1):
        kept = plan.base**2 + sum(part**2 for part in plan.components[:dropped])
        honest = participants - dropped - counted
        assert honest * kept >= sigma**2
        if chain or dropped == tolerated:
            assert honest * kept == pytest.approx(sigma**2, rel=1e-12)
