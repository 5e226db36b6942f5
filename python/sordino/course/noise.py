# SPDX-License-Identifier: Apache-2.0

"""The noise of a whole run: multipliers such that all its sums together cost (epsilon, delta) at most.

The sums that standardise and the sum that tests get the noise that their shares of mu^2 allow, mu the shift
over noise of the Gaussian mechanism that exactly is (epsilon, delta) private; what is left over is found by
the accountant for the steps of training. Its figure is what counts: the shares only say who gets how much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, log, sqrt
from typing import Any

from msgspec.structs import replace

from sordino.course.terms import PrivateTerms
from sordino.errors import TargetUnreachable
from sordino.privacy.accountant import Accountant, Guarantee
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.cost import cost, worst_release
from sordino.privacy.events import DiscreteGaussianSum, Release
from sordino.privacy.gaussian import gaussian_mu
from sordino.privacy.mechanisms import plan_with_noise
from sordino.privacy.planner import noise_to_clip
from sordino.protocol.policy import Policy, Question

_MARGIN = 1e-6
"""Relative: kept from epsilon, so that rounding in a site's own budget never refuses the last sum."""

_GREATEST = 1e5
"""Noise multipliers beyond this are no training."""


@dataclass(frozen=True)
class Demand:
    """One kind of question: how often it is asked, and its share of mu^2; None for what is left over."""

    question: Question
    times: int
    share: float | None = None
    sampling_rate: float = 1.0
    local_steps: int = 1


@dataclass(frozen=True)
class NoisePlanned:
    """A policy with its noise, and what a run under it costs at most.

    multipliers   by kind of question: noise over what one unit adds to all lanes
    times         by kind of question: how often the noise is planned for
    """

    terms: PrivateTerms
    policy: Policy
    multipliers: Mapping[str, float]
    times: Mapping[str, int]

    @cached_property
    def releases(self) -> Mapping[str, Release]:
        """What one sum of each kind gives out, with the number of participants at which that is most."""
        return {question.kind: worst_release(self.policy, question) for question in self.policy.plan}

    @cached_property
    def guarantee(self) -> Guarantee:
        """What the whole plan costs, spare rounds included."""
        counted: Counter[Release] = Counter()
        for kind, times in self.times.items():
            counted[self.releases[kind]] += times  # two kinds may release the same
        return cost(counted, self.terms.delta)

    @cached_property
    def budget(self) -> PrivacyBudget:
        """What each site allows for this study, at the order that suits the plan."""
        events = [
            replace(event, count=event.count * self.times[kind])
            for kind, release in self.releases.items()
            for event in release.events
        ]
        drawn = sum(release.distance * self.times[kind] for kind, release in self.releases.items())
        return PrivacyBudget.for_plan(
            self.terms.epsilon, self.terms.delta, events, distance=2.0 * drawn, unit=self.terms.unit
        )

    def noise_to_clip(self, kind: str, patients: float) -> float:
        """As `sordino.privacy.planner.noise_to_clip`, of this kind of question."""
        return noise_to_clip(self.policy, self.policy.question(kind), patients) or 0.0

    def noise_on_votes(self) -> float:
        """Standard deviation of the noise on one bin of a scaling's votes, in patients."""
        question = self.policy.question("spreads")
        if question.noise is not None and question.noise.sigma:
            return question.noise.sigma / question.blocks[0].scale
        columns = self.policy.question("private_means").blocks[0].length
        return self.multipliers["spreads"] * sqrt(columns * self.policy.sites)

    def epsilon_of(self, kind: str) -> float:
        """What one sum of a kind costs by itself, at the study's delta."""
        return cost(Counter({self.releases[kind]: 1}), self.terms.delta).epsilon


def plan_noise(demands: Sequence[Demand], terms: PrivateTerms, **policy_terms: Any) -> NoisePlanned:
    """Give every question its noise.

    policy_terms   as in `plan_policy`, without the plan and `across_rounds`

    Raises `TargetUnreachable` where (epsilon, delta) leave nothing for training, and `PolicyError` where the
    lanes cannot hold the noise.
    """
    questions = [demand.question for demand in demands]
    times = {demand.question.kind: demand.times for demand in demands}

    def planned(multipliers: Mapping[str, float]) -> NoisePlanned:
        policy = plan_with_noise(
            questions,
            terms.unit,
            multipliers,
            rates={demand.question.kind: demand.sampling_rate for demand in demands},
            local_steps={demand.question.kind: demand.local_steps for demand in demands},
            **policy_terms,
        )
        return NoisePlanned(terms, policy, multipliers, times)

    goal = terms.epsilon * (1.0 - _MARGIN)
    for _ in range(8):
        found = planned(_multipliers(demands, terms, goal))
        above = found.guarantee.epsilon - terms.epsilon * (1.0 - _MARGIN / 2)
        if above <= 0.0:
            return found
        goal -= 2.0 * above  # what rounding to the grid costs
    raise TargetUnreachable(f"rounding to the grid costs too much for epsilon {terms.epsilon:g}")


def _multipliers(demands: Sequence[Demand], terms: PrivateTerms, goal: float) -> dict[str, float]:
    """By kind: from the shares, and for the rest the least with which all together costs `goal`."""
    mu = gaussian_mu(terms.epsilon, terms.delta)
    fixed = {
        demand.question.kind: sqrt(demand.times * demand.local_steps / demand.share) / mu
        for demand in demands
        if demand.share is not None
    }
    free = [demand for demand in demands if demand.share is None]

    def epsilon(multiplier: float) -> float:
        return (
            Accountant(
                _ideal(demand, fixed.get(demand.question.kind, multiplier))
                for demand in demands
                if multiplier < inf or demand.share is not None
            )
            .epsilon(terms.delta)
            .epsilon
        )

    if not free:
        return fixed
    if epsilon(_GREATEST) > goal:
        if epsilon(inf) > goal:
            raise TargetUnreachable(
                f"the sums for standardisation and evaluation alone cost epsilon {epsilon(inf):.4g} of "
                f"{terms.epsilon:g} at delta {terms.delta:g}: lower their shares"
            )
        steps = sum(demand.times * demand.local_steps for demand in free)
        raise TargetUnreachable(
            f"{steps} steps of training cost more than epsilon {terms.epsilon:g} at delta {terms.delta:g} "
            f"with any noise up to {_GREATEST:,.0f} times what one {terms.unit} adds"
        )
    low, high = log(1e-2), log(_GREATEST)
    while high - low > 1e-9:
        middle = (low + high) / 2.0
        low, high = (middle, high) if epsilon(exp(middle)) > goal else (low, middle)
    return {**fixed, **{demand.question.kind: exp(high) for demand in free}}


def _ideal(demand: Demand, multiplier: float) -> DiscreteGaussianSum:
    """A question's event if its noise were one discrete Gaussian on a fine grid."""
    grid = 2.0**20
    return DiscreteGaussianSum(
        sensitivity=grid,
        dimension=demand.question.lanes,
        variances=((multiplier * grid) ** 2,),
        survivors=1,
        colluders=0,
        sampling_rate=demand.sampling_rate,
        count=demand.times * demand.local_steps,
    )
