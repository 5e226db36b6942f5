# SPDX-License-Identifier: Apache-2.0

"""What every path of the accounting must hold: each path's tests inherit this suite."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from msgspec.structs import replace

from sordino.errors import PrivacyParameter
from sordino.privacy.accountant import Accountant
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.calibration import remaining_steps
from sordino.privacy.events import Event

DELTAS = (1e-9, 1e-5, 1e-2)


class AccountantSuite:
    """Tests for the releases `rounds`, composed in this order."""

    rounds: tuple[Event, ...]
    methods: frozenset[str]
    pld = False

    def accountant(self, *rounds: Event) -> Accountant:
        return Accountant(rounds or self.rounds, pld=self.pld)

    def epsilon(self, *rounds: Event, delta: float = 1e-5) -> float:
        return self.accountant(*rounds).epsilon(delta).epsilon

    def test_it_says_how_and_by_which_order(self) -> None:
        found = self.accountant().epsilon(1e-5)
        assert found.method in self.methods
        assert (found.order is not None) == (found.method == "rdp")
        assert found.order is None or 1 < found.order <= 1e5
        assert found.delta == 1e-5
        assert 0 < found.epsilon < inf

    def test_more_rounds_cost_more_and_a_larger_delta_costs_less(self) -> None:
        assert self.epsilon(*self.rounds, *self.rounds) > self.epsilon()
        small, middle, large = (self.epsilon(delta=delta) for delta in DELTAS)
        assert small > middle > large

    def test_delta_at_epsilon_is_the_delta(self) -> None:
        for delta in DELTAS:
            epsilon = self.epsilon(delta=delta)
            if epsilon > 0:
                assert self.accountant().delta(epsilon).delta == pytest.approx(delta, rel=1e-5)

    def test_the_order_of_releases_does_not_matter(self) -> None:
        assert self.epsilon(*reversed(self.rounds)) == pytest.approx(self.epsilon(), rel=1e-9)

    def test_a_count_is_so_many_releases(self) -> None:
        apart = [replace(event, count=1) for event in self.rounds for _ in range(min(event.count, 20))]
        together = [replace(event, count=min(event.count, 20)) for event in self.rounds]
        assert self.epsilon(*apart) == pytest.approx(self.epsilon(*together), rel=1e-9)

    def test_adding_to_an_accountant_is_starting_with_all(self) -> None:
        grown = self.accountant()
        grown.epsilon(1e-5)
        grown.compose(*self.rounds)
        again = self.epsilon(*self.rounds, *self.rounds)
        assert grown.epsilon(1e-5).epsilon == pytest.approx(again, rel=1e-9)

    def test_the_history_is_what_epsilon_would_have_said(self) -> None:
        rounds = [replace(event, count=min(event.count, 25)) for event in self.rounds] * 2
        history = Accountant(rounds).history(1e-5)
        single = [replace(event, count=1) for event in rounds for _ in range(event.count)]
        assert history.shape == (len(single),)
        assert (np.diff(history) >= -1e-9 * history[1:]).all()
        for place in (0, 1, len(single) // 2, len(single) - 1):
            scratch = Accountant(single[: place + 1]).epsilon(1e-5).epsilon
            assert history[place] == pytest.approx(scratch, rel=1e-9, abs=1e-12)

    def test_remaining_steps_fit_and_one_more_does_not(self) -> None:
        event = replace(self.rounds[0], count=1)
        target = Accountant([replace(event, count=40)]).epsilon(1e-5).epsilon * (1 + 1e-9)
        steps = remaining_steps(target, 1e-5, event)
        assert steps == 40
        assert remaining_steps(target, 1e-5, event, released=[replace(event, count=15)]) == 25
        assert remaining_steps(target, 1e-5, event, released=[replace(event, count=41)]) == 0

    def test_a_budget_committed_to_the_plan_allows_the_plan_and_not_twice(self) -> None:
        renyi = Accountant(self.rounds)._renyi_epsilon(1e-5)[0]
        budget = PrivacyBudget.for_plan(renyi * (1 + 1e-9), 1e-5, self.rounds)
        spent = budget.spent(self.rounds)
        assert spent.divergence <= budget.limit
        assert 2 * spent.divergence > budget.limit

    @pytest.mark.parametrize("delta", [0, 1, -1e-5, 2, nan, inf, "x", None])
    def test_a_delta_out_of_range_is_refused(self, delta: float) -> None:
        for ask in (self.accountant().epsilon, self.accountant().history):
            with pytest.raises(PrivacyParameter, match="delta must be"):
                ask(delta)

    @pytest.mark.parametrize("epsilon", [0, -1, nan, inf])
    def test_an_epsilon_out_of_range_is_refused(self, epsilon: float) -> None:
        with pytest.raises(PrivacyParameter, match="epsilon must be finite and above 0"):
            self.accountant().delta(epsilon)
