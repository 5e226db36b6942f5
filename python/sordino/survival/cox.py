# SPDX-License-Identifier: Apache-2.0

"""Cox regression over sites: the fit, and what it says of coefficients and of a patient's survival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf, nan
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from sordino.course.arrays import Arrays
from sordino.course.follow import Schedule, nobody_is_lost
from sordino.course.simulated import Summing
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument, RoundAborted
from sordino.models.cox import at_risk
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import AcrossRounds
from sordino.statistics.scaling import Means, Units, Variances
from sordino.survival.grid import INTERVALS, LEAST_PATIENTS, TimeGrid, grid_stages
from sordino.survival.risk_sets import MAX_LANES, RiskSets
from sordino.survival.rows import SurvivalRows
from sordino.survival.sums import Sums, bound_of, columns_of


@dataclass(frozen=True)
class CoxFit:
    """A fitted proportional hazards model, in the features' own units.

    columns         names of the features
    coefficients    log hazard ratios, shape (columns,)
    covariance      inverse of the information (with the penalty), shape (columns, columns); NaN without
                    second sums
    log_likelihood  Breslow's, on the grid, without the penalty
    null            the same at b = 0; NaN where losses changed the cohort since
    cuts            times of the grid, shape (cuts,)
    deaths          events at each cut
    at_risk         patients at risk there
    hazard          steps of the cumulative hazard of a patient at the mean, one a cut
    mean            of the features
    patients, events, beyond   in the sums: patients, events, and events after the last cut, not counted
    sums            risk-set sums that were made
    distance        how far the last gradient puts the optimum, in standard errors
    rounding        what fixed point may add to that
    survivors       whose patients are in the last sum, to which coefficients and errors belong
    """

    columns: tuple[str, ...]
    coefficients: Vector
    covariance: Matrix
    log_likelihood: float
    null: float
    cuts: Vector
    deaths: Vector
    at_risk: Vector
    hazard: Vector
    mean: Vector
    patients: int
    events: int
    beyond: int
    sums: int
    distance: float
    rounding: float
    survivors: tuple[str, ...]

    @property
    def tied(self) -> float:
        """What the grid costs: which part of a risk set has the event at the same cut, a mean over events.

        The larger, the more do ties pull coefficients towards zero (Breslow's likelihood).
        """
        return float(self.deaths @ (self.deaths / self.at_risk) / self.deaths.sum())

    @cached_property
    def standard_errors(self) -> Vector:
        """Of each coefficient."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def z(self) -> Vector:
        """Coefficients over their standard errors."""
        z: Vector = self.coefficients / self.standard_errors
        return z

    @property
    def p_values(self) -> Vector:
        """Two-sided, of Wald's test that a coefficient is zero."""
        return np.asarray(2.0 * norm.sf(np.abs(self.z)))

    def confidence_intervals(self, level: float = 0.95) -> Matrix:
        """Low and high of each coefficient, shape (columns, 2)."""
        width = norm.ppf(0.5 + 0.5 * level) * self.standard_errors
        return np.column_stack([self.coefficients - width, self.coefficients + width])

    def likelihood_ratio(self) -> tuple[float, float]:
        """The test that all coefficients are zero: chi squared of so many degrees as columns, and p."""
        statistic = 2.0 * (self.log_likelihood - self.null)
        return statistic, float(chi2.sf(statistic, len(self.columns)))

    def wald(self) -> tuple[float, float]:
        """The same by the coefficients' covariance."""
        statistic = float(self.coefficients @ np.linalg.solve(self.covariance, self.coefficients))
        return statistic, float(chi2.sf(statistic, len(self.columns)))

    def score(self, features: Matrix) -> Vector:
        """Log of the hazard relative to a patient at the mean, shape (patients,)."""
        score: Vector = (features - self.mean) @ self.coefficients
        return score

    def baseline(self, *, at_mean: bool = False) -> Vector:
        """Breslow's cumulative hazard at the cuts, of x = 0 or of a patient at the mean."""
        hazard: Vector = np.cumsum(self.hazard)
        return hazard if at_mean else hazard * np.exp(-self.mean @ self.coefficients)

    def survival(self, features: Matrix, times: Vector | None = None) -> Matrix:
        """Each patient's chance to survive each time (default: the cuts), shape (patients, times).

        The curve steps at cuts and is constant after the last.
        """
        hazard = np.append(0.0, self.baseline(at_mean=True))
        places = (
            np.arange(1, len(hazard)) if times is None else np.searchsorted(self.cuts, times, side="right")
        )
        curve: Matrix = np.exp(-np.exp(self.score(features))[:, np.newaxis] * hazard[places])
        return curve

    def table(self) -> str:
        """The coefficients for a reader."""
        lines = [f"{'':24}{'coef':>10}{'exp(coef)':>11}{'se':>10}{'z':>8}{'p':>10}"]
        for name, b, error, z, p in zip(
            self.columns, self.coefficients, self.standard_errors, self.z, self.p_values, strict=True
        ):
            lines.append(f"{name[:23]:24}{b:10.4f}{np.exp(b):11.4f}{error:10.4f}{z:8.2f}{p:10.3g}")
        return "\n".join(lines)


def cox_regression(
    sites: Mapping[str, SurvivalRows],
    *,
    grid: TimeGrid = INTERVALS,
    least_patients: int = LEAST_PATIENTS,
    discloses_patients: bool = False,
    l2: float = 0.0,
    aggregator: Summing = "masked",
    across_rounds: AcrossRounds = "freeze",
    max_patients: int | None = None,
    max_sums: int = 50,
    reach: float = 11.0,
    tolerance: float = 1e-9,
    max_lanes: int = MAX_LANES,
    second_sums: bool = True,
    lose: Schedule = nobody_is_lost,
) -> CoxFit:
    """Fit Cox's model to all sites' patients by secure risk-set sums, in this process.

    sites               by name, three at least
    grid                of time, see `TimeGrid`; "exact" needs `discloses_patients`
    least_patients      k: so many leave at each cut at least, see `sordino.survival.grid`
    discloses_patients  True allows cuts at which single patients leave, whose covariates are then known
    l2                  penalty (l2 / 2) ||b||^2 on the mean log-likelihood of standardised features
    max_patients        public bound on the patients of a site; None for the next power of two
    max_sums            risk-set sums before it is given up
    second_sums         False leaves w x x^T out, for many features: more sums, and no standard errors
    across_rounds, aggregator, lose, reach, tolerance, max_lanes   as in `Sums` and `RiskSets`

    Raises `InvalidArgument` (a ValueError) for what cannot be fitted, `PolicyError` for what may not be asked
    or is too large, before anything is sent, `RoundAborted` where losses are too many.
    """
    columns, most_patients = columns_of(sites), bound_of(sites, max_patients)
    if max_sums < 1:
        raise InvalidArgument(f"max_sums must be 1 at least, got {max_sums}")
    if not columns:
        raise InvalidArgument("a Cox model needs at least one feature")
    if not 0.0 <= l2 < inf:
        raise InvalidArgument(f"l2 must be a number from 0 on, got {l2}")
    cutting, state = grid_stages(
        sites,
        grid,
        least_patients=least_patients,
        discloses_patients=discloses_patients,
        max_patients=most_patients,
        covariates=True,
    )
    bounds = len(columns), len(sites), most_patients
    scaling: tuple[Stage[Any], ...] = (Units(*bounds), Means(*bounds), Variances(*bounds))
    newton = RiskSets(
        columns,
        cutting[-1].most,
        len(sites),
        most_patients,
        1 if discloses_patients else least_patients,
        l2,
        reach,
        tolerance,
        max_lanes,
        second_sums,
    )
    once = [(stage, 1) for stage in (*cutting, *scaling)]
    with Sums(
        sites, [*once, (newton, max_sums)], aggregator=aggregator, across_rounds=across_rounds, lose=lose
    ) as sums:
        state, _ = sums.ask(state, *cutting, *scaling)
        state = {**state, **newton.initial()}
        for made in range(1, max_sums + 1):
            state, total = sums.ask(state, newton)
            if state["converged"][0]:
                return _fitted(newton, state, made, total.survivors)
    raise RoundAborted(
        f"{max_sums} risk-set sums were not enough: the last is {state['distance'][0]:.2g} standard errors "
        "from the optimum; if sites were lost again and again, keep them, else set l2 > 0"
    )


def _fitted(newton: RiskSets, state: Arrays, made: int, survivors: tuple[str, ...]) -> CoxFit:
    size, scale = len(newton.columns), state["scale"]
    at, patients = state["accepted"], state["patients"][0]
    covariance = state["covariance"].reshape(size, size) if newton.second_sums else np.full((size, size), nan)
    null, cohort = state["null"]
    return CoxFit(
        columns=newton.columns,
        coefficients=at / scale,
        covariance=covariance / np.outer(scale, scale),
        log_likelihood=float(state["value"][0]),
        null=float(null) if cohort == state["cohort"][0] else nan,
        cuts=state["cuts"],
        deaths=state["events"],
        at_risk=at_risk(state["leaving"]),
        hazard=np.divide(
            state["events"], state["hazard"], out=np.zeros_like(state["hazard"]), where=state["events"] > 0.0
        ),
        mean=state["mean"],
        patients=int(patients),
        events=int(state["events"].sum()),
        beyond=int(state["beyond"][0]),
        sums=made,
        distance=float(state["distance"][0]),
        rounding=float(state["rounding"][0]),
        survivors=survivors,
    )
