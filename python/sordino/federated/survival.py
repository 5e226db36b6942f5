# SPDX-License-Identifier: Apache-2.0

"""Survival in a training: sites' targets of (time, event) as `sordino.survival` takes them, and its test.

A training's sites hold a target of shape (patients, 2): times, and 1 for an event, 0 where the patient was
censored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.follow import STOPPED
from sordino.course.stage import Stage
from sordino.federated.site import Site
from sordino.federated.wrapped import Wrapped
from sordino.models.model import Matrix, Model, Vector
from sordino.protocol.policy import Question
from sordino.statistics.scaling import standardised
from sordino.survival.concordance import Concordance
from sordino.survival.curves import SurvivalCurves
from sordino.survival.grid import EventQuantiles, Leaving
from sordino.survival.risk_sets import RiskSets
from sordino.survival.rows import SurvivalRows


@dataclass(frozen=True)
class OnSurvival(Wrapped):
    """A stage of survival rows, over a training's sites."""

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's."""
        return self.inner.contribute(_rows(site, site.features, site.target), known)


@dataclass(frozen=True)
class NewtonSteps:
    """Cox regression by Newton steps over secure risk-set sums, which stop where the optimum is reached.

    State besides that of `RiskSets`: `round`, `losses` (minus the log-likelihood a patient, at each step),
    and `STOPPED` once it has converged; `parameters` are then those of the optimum.
    """

    newton: RiskSets

    kind = RiskSets.kind
    reads = RiskSets.reads

    def question(self) -> Question:
        """That of the risk sets."""
        return self.newton.question()

    def initial(self, learning_rate: float | None = None) -> Arrays:
        """All coefficients zero; Newton's method needs no rate."""
        del learning_rate
        return {**self.newton.initial(), "round": np.zeros(1), "losses": np.zeros(0)}

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """That of the risk sets."""
        return self.newton.contribute(_rows(site, site.features, site.target), known)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """One step, or the halving of one."""
        found = dict(self.newton.advance(state, total))
        found["round"] = state["round"] + 1.0
        found["losses"] = np.append(state["losses"], -found["value"] / found["patients"])
        if found["converged"][0]:
            found["parameters"] = found["accepted"]
            found[STOPPED] = found["round"]
        return found


@dataclass(frozen=True)
class SurvivalEvaluation:
    """Every site counts its held-out patients by predicted risk, time and event; only the sums are seen.

    Risks fall into `bins` that would be equally likely, were features uncorrelated and normal: the spread
    that follows from the coefficients alone, which everybody has. Where that is wrong more pairs fall
    together, and the bounds of the C-index say so. Times fall between the cuts of the training's grid.

    State: `scored`, as in `Concordance`.
    """

    model: Model
    bins: int
    most: int
    max_patients: int

    kind = "concordance"
    reads = ("parameters", "mean", "scale", "cuts")

    @property
    def concordance(self) -> Concordance:
        """The counting of scores."""
        return Concordance(self.bins, self.most, self.max_patients)

    def question(self) -> Question:
        """That of the concordance."""
        return self.concordance.question()

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The site's counts; all zero where it holds nobody out."""
        if site.test_features is None or site.test_target is None or not len(site.test_target):
            return Contribution({"patients": np.zeros(self.question().blocks[0].length)})
        parameters = known["parameters"]
        score = self.model.decision(parameters, standardised(site.test_features, known))
        rows = replace(
            _rows(site, score[:, np.newaxis], site.test_target, columns=("the risk",)),
        )
        spread = {"mean": np.zeros(1), "scale": np.array([float(np.linalg.norm(parameters)) or 1.0])}
        return self.concordance.contribute(rows, {"cuts": known["cuts"], **spread})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the counts."""
        return self.concordance.advance(state, total)


def time_grid(
    grid: int | tuple[float, ...],
    *,
    least: int,
    tail: int,
    sites: int,
    max_patients: int,
    covariates: bool = False,
) -> tuple[Stage[Site], ...]:
    """The sums that settle `cuts`, at each of which `least` patients leave at least; see `Leaving`."""
    if isinstance(grid, int):
        quantiles = OnSurvival(EventQuantiles(grid, sites, max_patients))
        return (quantiles, OnSurvival(Leaving(grid + tail, max_patients, least, covariates=covariates)))
    return (OnSurvival(Leaving(len(grid), max_patients, least, covariates=covariates)),)


def curves_by_risk(scored: NDArray[np.float64], cuts: Vector, *, least: int) -> dict[str, Any]:
    """Survival of the halves of lower and of higher predicted risk; empty for too few patients.

    scored  counts of shape (2, times, risks), those with the event first, times as in `Concordance`

    The life-table estimate (Cutler and Ederer 1958): who is censored between two times that are told was at
    risk for half of the interval. Of each half `least` patients leave in each interval, and after the last
    one so many are left, or none: cuts that would show fewer are passed over.
    """
    everybody = scored.sum(axis=(0, 1))
    half = int(np.abs(np.cumsum(everybody)[:-1] - 0.5 * everybody.sum()).argmin()) + 1
    events, censored = np.stack([scored[..., :half].sum(axis=2), scored[..., half:].sum(axis=2)], axis=1)
    kept = _told_cuts(events + censored, len(cuts), least)
    if not kept:
        return {}
    starts = [0, *(place + 1 for place in kept[:-1])]
    within = slice(kept[-1] + 1)
    deaths, lost = (np.add.reduceat(part[:, within], starts, axis=1) for part in (events, censored))
    patients, leave = (events + censored).sum(axis=1), deaths + lost
    entered = patients[:, np.newaxis] - np.cumsum(leave, axis=1) + leave
    curves = SurvivalCurves(
        groups=("lower predicted risk", "higher predicted risk"),
        cuts=cuts[kept],
        deaths=deaths,
        at_risk=entered - 0.5 * lost,
        beyond=events.sum(axis=1) - deaths.sum(axis=1),
    )
    survival, (low, high) = curves.survival(), curves.band()
    return {
        "curves": [
            {
                "group": name,
                "patients": round(float(patients[place])),
                "events": round(float(events[place].sum())),
                "times": curves.cuts.tolist(),
                "at_risk": curves.at_risk[place].tolist(),
                "survival": survival[place].tolist(),
                "low": low[place].tolist(),
                "high": high[place].tolist(),
            }
            for place, name in enumerate(curves.groups)
        ]
    }


def _told_cuts(leave: Matrix, cuts: int, least: int) -> list[int]:
    """The cuts up to each of which `least` of each group leave, and after which as many are left, or none."""
    kept: list[int] = []
    since = np.zeros(len(leave))
    for place in range(cuts):
        since += leave[:, place]
        left = leave[:, place + 1 :].sum(axis=1)
        if (since >= least).all() and ((left == 0.0) | (left >= least)).all():
            kept.append(place)
            since = np.zeros(len(leave))
    return kept


def _rows(
    site: Site, features: Matrix, target: Vector, columns: tuple[str, ...] | None = None
) -> SurvivalRows:
    names = site.columns if columns is None else columns
    return SurvivalRows(site.name, features, target[:, 0], target[:, 1] == 1.0, names)
