# SPDX-License-Identifier: Apache-2.0

"""What a private run has cost so far, from the journals of its sites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sordino.course.noise import NoisePlanned
from sordino.errors import BudgetExceeded
from sordino.privacy.accountant import Guarantee
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.charge import read_charge
from sordino.privacy.cost import cost
from sordino.privacy.events import Release
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.policy import Policy, Question


class StudyGuard(BudgetGuard):
    """A simulated site's guard: keeps to the study's budget, and remembers whether it had to refuse."""

    def __init__(self, budget: PrivacyBudget) -> None:
        super().__init__(budget)
        self.exhausted = False

    def price(
        self, policy: Policy, question: Question, participants: int, spent: Mapping[bytes, int]
    ) -> bytes:
        """As `BudgetGuard.price`."""
        try:
            return super().price(policy, question, participants, spent)
        except BudgetExceeded:
            self.exhausted = True
            raise


class Spending:
    """Guards for the sites of a private study, and what the run has cost a patient of any of them."""

    def __init__(self, planned: NoisePlanned) -> None:
        self.planned = planned
        self._guards: dict[str, StudyGuard] = {}
        self._known: dict[frozenset[tuple[bytes, int]], Guarantee] = {}

    def guard(self, name: str) -> StudyGuard:
        """The guard of one site."""
        return self._guards.setdefault(name, StudyGuard(self.planned.budget))

    @property
    def exhausted(self) -> bool:
        """Whether a site refused for want of budget."""
        return any(guard.exhausted for guard in self._guards.values())

    def so_far(self, charges: Mapping[str, Mapping[bytes, int]]) -> Guarantee:
        """What was charged at the site that took part most, rounds that failed after their upload included.

        charges   by site: how often each price was charged
        """
        distinct = {frozenset(charged.items()) for charged in charges.values()}
        known = {each: self._known.get(each) or self._cost(each) for each in distinct}
        self._known = known
        return max(known.values(), key=lambda guarantee: guarantee.epsilon)

    def _cost(self, charged: frozenset[tuple[bytes, int]]) -> Guarantee:
        released: Counter[Release] = Counter()
        for price, times in charged:
            released[read_charge(price).release] += times
        return cost(released, self.planned.terms.delta)

    def report(self, guarantee: Guarantee, epsilons: list[float]) -> dict[str, Any]:
        """The part `privacy` of metrics.json."""
        terms = self.planned.terms
        return {
            "unit": terms.unit,
            "epsilon": guarantee.epsilon,
            "delta": guarantee.delta,
            "method": guarantee.method,
            "wrap_probability": guarantee.wrap_probability,
            "epsilon_allowed": terms.epsilon,
            "noise_multipliers": dict(self.planned.multipliers),
            "epsilon_after_sum": epsilons,
        }
