"""A site's guard: whether noise is what it says to be, and whether the budget of the data has room for it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from sordino.errors import BudgetExceeded, JournalError, PolicyError, PolicyRefused, PrivacyParameter
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.events import Release
from sordino.privacy.mechanisms import check_parts, release_of, sensitivity, tail_of
from sordino.protocol.journal import PLAIN
from sordino.protocol.noise import Guard
from sordino.protocol.policy import Policy, Question


class Charge(Struct, frozen=True, forbid_unknown_fields=True):
    """What the journal keeps of a price: which question of which study, and what it released."""

    study: str
    kind: str
    release: Release


class BudgetGuard(Guard):
    """Keeps to `budget` over everything that is ever asked about the data; without one it only keeps count.

    With a budget a policy without noise is refused, and so is everything about data that was asked without
    noise before: no epsilon bounds what that gave out. Without a budget noise may be next to nothing, so that
    a floor that allows "noise" allows as much as "accept".

    What a site's program does before its values come here nobody checks: that it samples patients as
    `sampling_rate` says, and that what is "patient-local" has the noise of `local_sigma`.
    """

    def __init__(self, budget: PrivacyBudget | None) -> None:
        self.budget = budget
        self._costs: dict[bytes, Spent] = {}

    def check(self, policy: Policy) -> None:
        """Raise `PolicyRefused` unless every question's noise is enough for what it says."""
        if policy.across_rounds != "noise":
            if self.budget is not None:
                raise PolicyRefused("the data has a privacy budget, and the policy has no noise")
            return
        try:
            for question in policy.plan:
                self._check_noise(policy, question)
                release_of(policy, question, policy.sites)  # which must be one that the accountant takes
        except (PolicyError, PrivacyParameter) as error:
            raise PolicyRefused(str(error)) from None

    def _check_noise(self, policy: Policy, question: Question) -> None:
        noise = question.noise
        at = f"question {question.kind!r}"
        if noise is None:
            raise PolicyRefused(f"{at} has no noise")
        if self.budget is not None and self.budget.unit not in (None, noise.unit):
            raise PolicyRefused(
                f"{at}: the budget is about one {self.budget.unit}, the noise hides one {noise.unit}"
            )
        if noise.unit == "patient-local":
            if question.max_weight != 1:
                raise PolicyRefused(f"{at}: the weights of sites would go without noise")
            return
        if noise.sensitivity < (least := sensitivity(question, noise.unit)):
            raise PolicyRefused(f"{at}: sensitivity {noise.sensitivity} is below {least}")
        check_parts(policy, question.kind, noise.sigma)
        if noise.tail < (tail := tail_of(policy, noise.sigma)):
            raise PolicyRefused(
                f"{at}: the noise needs room for {tail} grid units, the policy has {noise.tail}"
            )

    def price(
        self, policy: Policy, question: Question, participants: int, spent: Mapping[bytes, int]
    ) -> bytes:
        """The charge for one upload; raises `BudgetExceeded` if the budget has no room for it."""
        release = release_of(policy, question, participants)
        if self.budget is not None:
            self.budget.charge(self._spent(self.budget, spent), release)
        return msgspec.msgpack.encode(Charge(policy.study, question.kind, release))

    def _spent(self, budget: PrivacyBudget, charges: Mapping[bytes, int]) -> Spent:
        total = Spent()
        if charges.get(PLAIN):
            raise BudgetExceeded("the data was asked without noise before: no epsilon bounds that")
        for charge, times in charges.items():
            if charge not in self._costs:
                release = read_charge(charge).release
                if budget.unit not in (None, release.unit):
                    raise BudgetExceeded(
                        f"the data was asked before with noise that hides one {release.unit}: what that cost "
                        f"one {budget.unit} it does not say"
                    )
                self._costs[charge] = Spent().after(release, budget.order)
            one = self._costs[charge]
            total = Spent(total.divergence + times * one.divergence, total.distance + times * one.distance)
        return total


def read_charge(data: bytes) -> Charge:
    """What a charge in a journal says; raises `JournalError` if it is not one of ours."""
    try:
        return msgspec.msgpack.decode(data, type=Charge)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalError(f"the journal holds a charge that cannot be read: {error}") from None
