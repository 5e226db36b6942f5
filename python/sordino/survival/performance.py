# SPDX-License-Identifier: Apache-2.0

"""How well a fitted model tells patients' survival, by secure sums over held-out patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sordino.course.follow import Schedule, nobody_is_lost
from sordino.course.simulated import Summing
from sordino.errors import InvalidArgument
from sordino.models.model import Vector
from sordino.protocol.policy import AcrossRounds
from sordino.statistics.scaling import Means, Units, Variances
from sordino.survival.brier import Brier, integrated, still_followed, told_cuts
from sordino.survival.concordance import CIndex, Concordance
from sordino.survival.cox import CoxFit
from sordino.survival.grid import INTERVALS, LEAST_PATIENTS, TimeGrid, grid_stages
from sordino.survival.rows import SurvivalRows
from sordino.survival.sums import Sums, bound_of, columns_of

SCORE_BINS = 64


@dataclass(frozen=True)
class Performance:
    """What a model is worth on these patients.

    c_index           Harrell's, with bounds
    times             of the time grid, those at which the Brier score is told
    brier             at each time, censoring weighted
    integrated_brier  its mean over these times
    patients          in the sums
    survivors         sites whose patients these are
    """

    c_index: CIndex
    times: Vector
    brier: Vector
    integrated_brier: float
    patients: int
    survivors: tuple[str, ...]


def performance(
    fit: CoxFit,
    sites: Mapping[str, SurvivalRows],
    *,
    grid: TimeGrid = INTERVALS,
    score_bins: int = SCORE_BINS,
    least_patients: int = LEAST_PATIENTS,
    discloses_patients: bool = False,
    aggregator: Summing = "masked",
    across_rounds: AcrossRounds = "freeze",
    max_patients: int | None = None,
    lose: Schedule = nobody_is_lost,
) -> Performance:
    """Test a fitted model on the patients of all sites, by secure sums in this process.

    score_bins   more make the C-index finer and its histogram more telling
    The rest is as in `sordino.survival.cox.cox_regression`, and so are the errors.
    """
    if columns_of(sites) != fit.columns:
        raise InvalidArgument(f"the model has the features {list(fit.columns)}, the sites have others")
    if not 2 <= score_bins <= 10_000:
        raise InvalidArgument(f"score_bins must be from 2 to 10,000, got {score_bins}")
    scored = {
        name: replace(rows, features=fit.score(rows.features)[:, np.newaxis], columns=("score",))
        for name, rows in sites.items()
    }
    most = bound_of(sites, max_patients)
    cutting, state = grid_stages(
        sites,
        grid,
        least_patients=least_patients,
        discloses_patients=discloses_patients,
        max_patients=most,
    )
    bounds = 1, len(sites), most
    scaling = Units(*bounds), Means(*bounds), Variances(*bounds)
    concordance = Concordance(score_bins, cutting[-1].most, most)
    brier = Brier(cutting[-1].most, len(sites), most)
    once = [(stage, 1) for stage in (*cutting, *scaling, concordance, brier)]
    with Sums(scored, once, aggregator=aggregator, across_rounds=across_rounds, lose=lose) as sums:
        state, _ = sums.ask(state, *cutting)
        hazard = np.append(0.0, fit.baseline(at_mean=True))
        state = {
            **state,
            "hazard": hazard[np.searchsorted(fit.cuts, state["cuts"], side="right")],
            "followed": still_followed(
                state["deaths"], state["censored"], state["never"][0], state["beyond"][0]
            ),
        }
        state, total = sums.ask(state, *scaling, concordance, brier)
    times = state["cuts"][: told_cuts(state["followed"])]
    scores = state["squares"] / state["patients"]
    return Performance(
        concordance.index(state["scored"]),
        times,
        scores,
        integrated(times, scores),
        int(state["patients"][0]),
        total.survivors,
    )
