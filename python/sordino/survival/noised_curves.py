# SPDX-License-Identifier: Apache-2.0

"""Survival curves from one private sum of counts: each patient is in one lane, and every lane is noised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.answer import Answering, Part
from sordino.course.arrays import Arrays
from sordino.course.follow import ATTEMPTS, Schedule, Turn, follow, nobody_is_lost
from sordino.course.noise import Demand, plan_noise
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument
from sordino.models.cox import at_risk
from sordino.models.model import Matrix
from sordino.privacy.accountant import Guarantee
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.policy import Question
from sordino.survival.curves import SurvivalCurves
from sordino.survival.grid import checked_cuts
from sordino.survival.rows import SurvivalRows
from sordino.survival.sums import columns_of


@dataclass(frozen=True)
class NoisedCurves(SurvivalCurves):
    """Curves from noised counts, which may be below zero; with variances of sampling and of the noise.

    noise       standard deviation of the noise on each count
    guarantee   what the sum has cost at most, spare rounds included

    Curves take a count below zero for zero, at most all for dead, and none at risk for one.
    """

    noise: float = field(kw_only=True)
    guarantee: Guarantee = field(kw_only=True)

    @property
    def _hazard(self) -> Matrix:
        return np.asarray(np.clip(self.deaths / np.maximum(self.at_risk, 1.0), 0.0, 1.0))

    def _greenwood(self) -> Matrix:
        """Greenwood's sum plus the noise's variance of log S, to first order.

        One more death at j takes 1 / (n_j - d_j) from log S, and adds, as does one more censored there,
        d / (n (n - d)) for each cut up to j, since it was at risk.
        """
        risk, hazard = np.maximum(self.at_risk, 1.0), self._hazard
        alive = np.maximum(risk * (1.0 - hazard), 1.0)
        gained = np.cumsum(hazard / alive, axis=1)
        before = np.cumsum((gained - 1.0 / alive) ** 2 + gained**2, axis=1)
        later = 2.0 * np.arange(len(self.cuts) - 1, -1, -1) * gained**2 + gained**2  # the last is `beyond`
        return np.asarray(gained + self.noise**2 * (before + later))


@dataclass(frozen=True)
class NoisedCounts:
    """Patients of each group by event and time.

    State: `counts`, flat of shape (2, groups, cuts + 1): events up to each cut and after all, censored before
    the first and from each on.
    """

    groups: int
    most: int
    answering: Answering

    kind = "noised_counts"
    reads = ("cuts",)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One lane of each row is 1."""
        return (Part("patients", 2 * self.groups * (self.most + 1), 1.0),)

    def question(self) -> Question:
        """The lanes, without their noise."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: SurvivalRows, known: Arrays) -> Contribution:
        """A row for each patient; nothing is refused, for that would tell."""
        cuts, length = known["cuts"], self.most + 1
        places = np.where(
            site.event,
            np.searchsorted(cuts, site.time),
            np.searchsorted(cuts, site.time, side="right") + self.groups * length,
        )
        places += np.clip(site.groups, 0, self.groups - 1) * length
        rows = np.zeros((len(places), self.parts[0].length), dtype=np.float32)
        rows[np.arange(len(places)), places] = 1.0
        return self.answering.answer(self.kind, self.parts, {"patients": rows})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the counts and the `deviation` of their noise, shape (1,)."""
        if self.answering.unit == "patient-local":  # a row of norm 1, and a count of a quarter
            deviation = self.answering.planned(self.kind).local_sigma * sqrt(17 / 16 * len(total.survivors))
        else:
            deviation = total.noise / self.question().blocks[0].scale
        return {**state, "counts": total.sums["patients"], "deviation": np.array([deviation])}


def noised_curves(
    sites: Mapping[str, SurvivalRows],
    cuts: Sequence[float],
    private: PrivateTerms,
    *,
    max_patients: int,
    groups: tuple[str, ...] = ("all",),
    directory: Path | None = None,
    lose: Schedule = nobody_is_lost,
) -> NoisedCurves:
    """Survival curves that cost (epsilon, delta) at most, by one noised sum, in this process.

    cuts        of the time grid, public knowledge: increasing times
    private     unit, epsilon, delta and spare rounds of this sum
    max_patients   public bound on the patients of a site; those beyond it only saturate its counts, since
                a bound that follows the rows, or a refusal, would tell of them
    directory   where the simulated sites keep their keys and journals, so that budgets outlive this call
    The rest is as in `sordino.survival.curves.survival_curves`.

    Raises `InvalidArgument` for what is no grid, `TargetUnreachable` or `PolicyError` where no noise will do,
    `RoundAborted` where too few sites survive or a budget is spent.
    """
    columns_of(sites)
    times = checked_cuts(cuts)
    if not groups:
        raise InvalidArgument("curves need one group at least")
    if max_patients < 1:
        raise InvalidArgument(f"max_patients must be 1 at least, got {max_patients}")
    most = max_patients

    def stage(answering: Answering) -> NoisedCounts:
        return NoisedCounts(len(groups), len(times), answering)

    question = stage(Answering(private.unit, len(sites), most, {})).question()
    planned = plan_noise(
        [Demand(question, 1 + private.spare_rounds)],
        private,
        study="survival",
        sites=len(sites),
        rounds=ATTEMPTS + private.spare_rounds + 100,
    )
    noise = {one.kind: one.noise for one in planned.policy.plan if one.noise is not None}
    asked = stage(Answering(private.unit, len(sites), most, noise))
    told: list[Aggregate] = []
    with MaskedAggregator(
        planned.policy, tuple(sites), directory=directory, guard=lambda _: BudgetGuard(planned.budget)
    ) as aggregator:
        state = follow(
            [Turn(asked, 1)],
            aggregator,
            sites,
            {"cuts": times},
            lose=lose,
            keep=False,
            notify=lambda event: told.append(event.total) if hasattr(event, "total") else None,
        )
    events, censored = state["counts"].reshape(2, len(groups), -1)
    leaving = events[:, :-1] + censored[:, 1:]
    leaving[:, -1] += events[:, -1]
    return NoisedCurves(
        groups,
        times,
        events[:, :-1],
        at_risk(leaving.T).T,
        events[:, -1],
        told[-1].survivors,
        noise=float(state["deviation"][0]),
        guarantee=planned.guarantee,
    )
