# SPDX-License-Identifier: Apache-2.0

"""Kaplan-Meier and Nelson-Aalen curves of groups of patients, and the log-rank test between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from sordino.course.follow import Schedule, nobody_is_lost
from sordino.course.simulated import Summing
from sordino.errors import InvalidArgument
from sordino.models.cox import at_risk
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import AcrossRounds
from sordino.survival.grid import INTERVALS, LEAST_PATIENTS, TimeGrid, grid_stages
from sordino.survival.rows import SurvivalRows
from sordino.survival.sums import Sums, bound_of, columns_of


@dataclass(frozen=True)
class SurvivalCurves:
    """Counts on a public time grid, and the curves that they are. Matrices have shape (groups, cuts).

    groups      names of the groups
    cuts        times of the grid; curves step there and are constant in between
    deaths      events at each cut, those since the last cut included
    at_risk     patients at risk there
    beyond      events of each group after the last cut, not counted
    survivors   sites whose patients these are
    """

    groups: tuple[str, ...]
    cuts: Vector
    deaths: Matrix
    at_risk: Matrix
    beyond: Vector
    survivors: tuple[str, ...] = ()

    @property
    def _hazard(self) -> Matrix:
        return np.divide(self.deaths, self.at_risk, out=np.zeros_like(self.deaths), where=self.at_risk > 0.0)

    def survival(self) -> Matrix:
        """The product-limit estimate at each cut (Kaplan and Meier 1958)."""
        return np.asarray(np.cumprod(1.0 - self._hazard, axis=1))

    def variance(self) -> Matrix:
        """Of `survival` (Greenwood 1926); zero where nobody is left alive."""
        return self.survival() ** 2 * self._greenwood()

    def band(self, level: float = 0.95) -> tuple[Matrix, Matrix]:
        """Pointwise low and high, of log(-log S) as a normal variable; S itself where S is 0 or 1."""
        survival = self.survival()
        inner = (survival > 0.0) & (survival < 1.0)
        log = np.log(np.where(inner, survival, 0.5))
        width = norm.ppf(0.5 + 0.5 * level) * np.sqrt(self._greenwood()) / log
        low, high = (np.where(inner, np.exp(log * np.exp(sign * width)), survival) for sign in (-1.0, 1.0))
        return low, high

    def cumulative_hazard(self) -> Matrix:
        """The sum of deaths over those at risk (Nelson 1969, Aalen 1978)."""
        return np.asarray(np.cumsum(self._hazard, axis=1))

    def cumulative_hazard_variance(self) -> Matrix:
        """Of `cumulative_hazard`: the sum of deaths over the square of those at risk."""
        steps = np.divide(
            self._hazard, self.at_risk, out=np.zeros_like(self.deaths), where=self.at_risk > 0.0
        )
        return np.asarray(np.cumsum(steps, axis=1))

    def median(self) -> Vector:
        """The first cut at which half of a group or fewer survive, infinity if there is none."""
        below = self.survival() <= 0.5
        return np.where(below.any(axis=1), self.cuts[below.argmax(axis=1)], np.inf)

    def log_rank(self) -> tuple[float, float]:
        """Mantel's test (1966) that the groups' hazards are one: chi squared of groups - 1 degrees, and p.

        Raises `InvalidArgument` for fewer than two groups with patients at risk.
        """
        there = self.at_risk[:, 0] > 0.0
        if there.sum() < 2:
            raise InvalidArgument("a log-rank test needs patients at risk in two groups or more")
        deaths, patients = self.deaths[there], self.at_risk[there]
        died, total = deaths.sum(axis=0), patients.sum(axis=0)
        part = patients / total
        surplus = (deaths - died * part).sum(axis=1)
        scale = died * (total - died) / np.maximum(total - 1.0, 1.0)
        variance = np.diag(part @ scale) - (part * scale) @ part.T
        statistic = float(surplus[1:] @ np.linalg.solve(variance[1:, 1:], surplus[1:]))
        return statistic, float(chi2.sf(statistic, len(surplus) - 1))

    def _greenwood(self) -> Matrix:
        alive = self.at_risk - self.deaths
        steps = np.divide(self._hazard, alive, out=np.zeros_like(alive), where=alive > 0.0)
        return np.asarray(np.cumsum(steps, axis=1))


def survival_curves(
    sites: Mapping[str, SurvivalRows],
    *,
    groups: tuple[str, ...] = ("all",),
    grid: TimeGrid = INTERVALS,
    least_patients: int = LEAST_PATIENTS,
    discloses_patients: bool = False,
    aggregator: Summing = "masked",
    across_rounds: AcrossRounds = "freeze",
    max_patients: int | None = None,
    lose: Schedule = nobody_is_lost,
) -> SurvivalCurves:
    """The curves of all sites' patients by one or two secure sums of counts, in this process.

    groups   names of the groups, to which each patient's `SurvivalRows.group` points
    The rest is as in `sordino.survival.cox.cox_regression`, and so are the errors.
    """
    columns_of(sites)
    most = bound_of(sites, max_patients)
    stages, state = grid_stages(
        sites,
        grid,
        least_patients=least_patients,
        discloses_patients=discloses_patients,
        max_patients=most,
        groups=len(groups),
    )
    once = [(stage, 1) for stage in stages]
    with Sums(sites, once, aggregator=aggregator, across_rounds=across_rounds, lose=lose) as sums:
        state, total = sums.ask(state, *stages)
    deaths, censored = (state[name].reshape(len(groups), -1) for name in ("deaths", "censored"))
    leaving = deaths + censored
    leaving[:, -1] += state["beyond"]
    return SurvivalCurves(
        groups, state["cuts"], deaths, at_risk(leaving.T).T, state["beyond"], total.survivors
    )
