# SPDX-License-Identifier: Apache-2.0

"""A site's guard: whether noise is what it says to be, and whether the budget of the data has room for it."""

from __future__ import annotations

from collections.abc import Mapping

from sordino.errors import PolicyError, PolicyRefused, PrivacyParameter
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.charge import Charge, check_history, in_force, spent_by, write_charge
from sordino.privacy.events import Unit
from sordino.privacy.mechanisms import check_parts, release_of, sensitivity, tail_of
from sordino.protocol.noise import Guard
from sordino.protocol.policy import Policy, Question


class BudgetGuard(Guard):
    """Keeps to `budget` over everything that is ever asked about the data; without one it only keeps count.

    With a budget a policy without noise is refused, and so is everything about data that was asked without
    noise before: no epsilon bounds what that gave out. Without a budget noise may be next to nothing, so that
    a floor that allows "noise" allows as much as "accept".

    What a site's program does before its values come here nobody checks: that it samples patients as
    `sampling_rate` says, and that what is "patient-local" has the noise of `local_sigma`. It must only say so
    (`Contribution`), or its values are not sent.
    """

    def __init__(self, budget: PrivacyBudget | None) -> None:
        self.budget = budget

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
        self._check_unit(at, noise.unit)
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

    def _check_unit(self, at: str, unit: Unit) -> None:
        if self.budget is not None and self.budget.unit not in (None, unit):
            raise PolicyRefused(
                f"{at}: the budget is about one {self.budget.unit}, the noise hides one {unit}"
            )

    def price(
        self, policy: Policy, question: Question, participants: int, spent: Mapping[bytes, int]
    ) -> bytes:
        """The charge for one upload; raises `BudgetExceeded` if the budget has no room for it.

        The order of divergence is that of the first charge under a budget, whatever this one would choose.
        Raises `PolicyRefused` where the budget's unit has changed since the offer, and `UnreadableCharge` for
        what it did not write itself.
        """
        release = release_of(policy, question, participants)
        if self.budget is None:
            return write_charge(Charge(study=policy.study, kind=question.kind, release=release))
        self._check_unit(f"question {question.kind!r}", release.unit)
        check_history(spent, release.unit)
        budget = in_force(self.budget, spent)
        budget.charge(spent_by(spent, budget.order), release)
        return write_charge(Charge(study=policy.study, kind=question.kind, release=release, budget=budget))
