# SPDX-License-Identifier: Apache-2.0

"""A guard keeps to its budget over all that was asked about the data, whoever asked and how."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from msgspec.structs import replace

from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator
from sordino.errors import BudgetExceeded, InvalidArgument, PolicyRefused
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.guard import BudgetGuard
from sordino.privacy.mechanisms import count_scale, plan_with_noise
from sordino.protocol.journal import PLAIN
from sordino.protocol.noise import Unit
from sordino.protocol.policy import Block, Policy, Question, plan_policy

NAMES = ("a", "b", "c", "d", "e")
QUESTION = Question("sum", (Block("v", 3, 1.0, 16),), max_weight=100)


def noisy(unit: Unit = "patient") -> Policy:
    return plan_with_noise([QUESTION], unit, {"sum": 5.0}, study="s", sites=len(NAMES), rounds=9)


def budget(unit: Unit | None = "patient") -> PrivacyBudget:
    return PrivacyBudget.of(5.0, 1e-5, distance=1e-30, unit=unit)


def price(guard: BudgetGuard, policy: Policy, spent: dict[bytes, int]) -> bytes:
    return guard.price(policy, policy.plan[0], len(NAMES), spent)


def test_what_was_asked_without_noise_leaves_no_budget() -> None:
    policy = noisy()
    assert price(BudgetGuard(budget()), policy, {})
    assert price(BudgetGuard(None), policy, {PLAIN: 1})
    with pytest.raises(BudgetExceeded, match="asked without noise before"):
        price(BudgetGuard(budget()), policy, {PLAIN: 1})


def test_noise_for_one_unit_says_nothing_of_another() -> None:
    spent = {price(BudgetGuard(budget(None)), noisy("patient"), {}): 1}
    assert price(BudgetGuard(budget("patient")), noisy("patient"), spent)
    with pytest.raises(BudgetExceeded, match="hides one patient: what that cost one site it does not say"):
        price(BudgetGuard(budget("site")), noisy("site"), spent)


def test_a_rate_that_cannot_be_accounted_for_is_refused_at_once() -> None:
    policy = noisy()
    noise = policy.plan[0].noise
    assert noise is not None
    tiny = replace(policy.plan[0], noise=replace(noise, sampling_rate=1e-13))
    with pytest.raises(PolicyRefused, match="sampling_rate must be from"):
        BudgetGuard(budget()).check(replace(policy, plan=(tiny,)))


@pytest.mark.parametrize(
    ("term", "match"),
    [
        ("sensitivity", r"sensitivity \d+ is below \d+"),
        ("tail", r"needs room for \d+ grid units, the policy has \d+"),
        ("sigma", r"standard deviation of 0\.\d+ grid units, at least 2 are needed"),
    ],
)
@pytest.mark.parametrize("with_budget", [True, False])
def test_noise_that_is_less_than_it_says_is_refused(term: str, match: str, with_budget: bool) -> None:
    policy = noisy()
    noise = policy.plan[0].noise
    assert noise is not None
    less = {"sensitivity": noise.sensitivity - 1, "tail": noise.tail - 1, "sigma": 1.0}[term]
    lowered = replace(policy.plan[0], noise=replace(noise, **{term: less}))
    guard = BudgetGuard(budget() if with_budget else None)
    guard.check(policy)
    with pytest.raises(PolicyRefused, match=match):
        guard.check(replace(policy, plan=(lowered,)))


def test_data_that_gets_a_budget_takes_no_further_part_in_sums_without_noise() -> None:
    policy = plan_policy(
        plan=[QUESTION], study="s", sites=len(NAMES), rounds=9, across_rounds="freeze", max_dropouts=0
    )
    guards = {name: BudgetGuard(None) for name in NAMES}
    answer = Contribution({"v": np.ones(3)})
    with MaskedAggregator(policy, NAMES, guard=guards.__getitem__) as aggregator:
        ask = partial(aggregator.aggregate, "sum", b"", {name: lambda _: answer for name in NAMES})
        assert ask().weights == {"all": len(NAMES)}
        guards["b"].budget = budget()
        with pytest.raises(PolicyRefused, match="the data has a privacy budget"):
            ask()


def test_plain_sums_refuse_to_stand_for_sums_with_noise() -> None:
    with pytest.raises(InvalidArgument, match="plain sums have no noise"):
        PlainAggregator(noisy(), NAMES)


def test_a_count_is_scaled_to_a_quarter_of_the_clip_or_as_far_as_policies_allow() -> None:
    assert count_scale(QUESTION) == 2**14
    assert count_scale(Question("sum", (Block("v", 3, 2.0**30, 30),))) == 2**40
