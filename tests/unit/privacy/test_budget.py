# SPDX-License-Identifier: Apache-2.0

"""The budget's filter: pre-committed, exact to the last round, and closed once it has refused."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sordino.errors import BudgetExceeded, LocalError, PrivacyError, PrivacyParameter
from sordino.privacy.accountant import Accountant
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.calibration import noise_multiplier
from sordino.privacy.events import Gaussian, PureDP, Release, SampledGaussian


def test_every_planned_round_passes_and_the_next_is_refused() -> None:
    sigma = noise_multiplier(1.0, 1e-5, sampling_rate=0.01, steps=1000)
    event = SampledGaussian(sigma, 0.01)
    budget = PrivacyBudget.for_plan(1.0, 1e-5, [event])
    spent = Spent()
    for done in range(1000):
        assert budget.times(spent, event) == 1000 - done
        spent = budget.charge(spent, event)
    with pytest.raises(BudgetExceeded, match="budget of epsilon 1 at delta 1e-05: .* allowed are") as caught:
        budget.charge(spent, event)
    assert isinstance(caught.value, LocalError)
    assert budget.times(spent, event) == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.builds(Gaussian, st.floats(1, 50))
        | st.builds(SampledGaussian, st.floats(0.7, 5), st.floats(1e-4, 0.2))
        | st.builds(PureDP, st.floats(1e-3, 0.5)),
        max_size=30,
    ),
    st.floats(0.2, 10),
    st.sampled_from([1e-8, 1e-5, 1e-3]),
)
def test_what_the_filter_allows_is_within_the_budget(events: list[Any], epsilon: float, delta: float) -> None:
    budget = PrivacyBudget.of(epsilon, delta)
    spent, allowed = Spent(), []
    for event in events:
        try:
            spent = budget.charge(spent, event)
            allowed.append(event)
        except BudgetExceeded:
            assert budget.times(spent, event) == 0
    assert spent == budget.spent(allowed)
    assert Accountant(allowed).epsilon(delta).epsilon <= epsilon


def test_the_default_order_suits_gaussian_noise() -> None:
    budget = PrivacyBudget.of(1.0, 1e-5)
    best = budget.times(Spent(), Gaussian(1000.0))
    for order in (budget.order * 0.9, budget.order * 1.1):
        assert PrivacyBudget(1.0, 1e-5, order).times(Spent(), Gaussian(1000.0)) <= best


def test_a_budget_is_the_same_after_msgpack() -> None:
    budget = PrivacyBudget.of(2, 1e-6, distance=1e-9, unit="patient")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(budget), type=PrivacyBudget) == budget
    assert PrivacyBudget.for_plan(2, 1e-6, [], distance=1e-9, unit="patient") == budget


def test_a_release_about_another_unit_is_refused() -> None:
    budget = PrivacyBudget.of(2, 1e-6, unit="patient")
    budget.charge(Spent(), Release((Gaussian(10),), "patient"))
    with pytest.raises(PrivacyError, match="the budget is about one patient, the release about one site"):
        budget.charge(Spent(), Release((Gaussian(10),), "site"))


def test_distance_has_a_budget_of_its_own() -> None:
    budget = PrivacyBudget.of(2, 1e-6, distance=3e-8)
    assert budget.limit < PrivacyBudget(2, 1e-6, budget.order).limit
    release = Release((Gaussian(1e4),), "patient", distance=1e-8)
    assert budget.times(Spent(), release) == 3
    spent = budget.charge(Spent(distance=2e-8), release)
    with pytest.raises(BudgetExceeded, match="samplers' distance from 3e-08 to 4e-08, allowed are 3e-08"):
        budget.charge(spent, release)
    with pytest.raises(BudgetExceeded, match="distance"):
        PrivacyBudget.of(2, 1e-6).charge(Spent(), release)
    with pytest.raises(
        PrivacyParameter, match="distance must be below 1.19e-07 for epsilon 2 at delta 1e-06"
    ):
        PrivacyBudget.of(2, 1e-6, distance=2e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1e-5, 10), "epsilon must be"),
        ((nan, 1e-5, 10), "epsilon must be"),
        ((1, 0, 10), "delta must be"),
        ((1, 1, 10), "delta must be"),
        ((1, nan, 10), "delta must be"),
        ((1, 1e-5, 1), "order must be"),
        ((1, 1e-5, inf), "order must be"),
        (
            (1, 1e-5, 2),
            "order 2 has no room for epsilon 1 at delta 1e-05: a higher order is needed, about 24",
        ),
    ],
)
def test_a_budget_out_of_range_is_named(arguments: tuple[float, float, float], message: str) -> None:
    with pytest.raises(PrivacyParameter, match=message):
        PrivacyBudget(*arguments)


def test_an_epsilon_below_every_order_is_told() -> None:
    with pytest.raises(PrivacyError, match="no order up to 100000 has room for epsilon 1e-06 at delta 1e-20"):
        PrivacyBudget.of(1e-6, 1e-20)
