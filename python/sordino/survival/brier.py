# SPDX-License-Identifier: Apache-2.0

"""The Brier score of predicted survival, weighted for censoring, by one secure sum (Graf et al. 1999).

Who is censored between two cuts was alive at the first of them, and counts so: censored after the cut, not at
it. Else a late score, where many are censored at a time, would be about a handful with huge weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.models.cox import at_risk, last_at_risk
from sordino.models.model import Vector
from sordino.protocol.policy import Block, Question
from sordino.survival.rows import SurvivalRows

_HEAVIEST = 128.0
"""Inverse of the least chance to be still followed at which the score is told."""


def still_followed(deaths: Vector, censored: Vector, never: float, beyond: float) -> Vector:
    """Kaplan-Meier's chance not to be censored up to each cut, from counts there, shape (cuts,).

    `censored` are those between a cut and the next, who are still followed at the cut.
    """
    leaving = deaths + censored
    leaving[-1] += beyond
    there = at_risk(leaving) - deaths
    dropped = censored.copy()
    dropped[-1] += beyond
    steps = 1.0 - np.divide(dropped, there, out=np.zeros_like(there), where=there > 0.0)
    start = 1.0 - never / (never + leaving.sum())
    return np.asarray(start * np.append(1.0, np.cumprod(steps)[:-1]))


@dataclass(frozen=True)
class Brier:
    """Every site adds up its patients' squared errors; the score of a patient is the rows' only feature.

    reads   `cuts`, `followed` (chance not to be censored), `hazard` (cumulative, of score zero)

    State: `squares`, sums at each cut but the last that lets more than one in 128 be followed, and
    `patients`, shape (1,).
    """

    most: int
    sites: int
    max_patients: int

    kind = "brier"
    reads = ("cuts", "followed", "hazard")

    def question(self) -> Question:
        """One lane a cut, and the patients."""
        clip = _HEAVIEST * self.max_patients
        bits = fraction_bits("the Brier score", clip=clip, sites=self.sites, max_weight=1, wanted=40)
        return Question(
            kind=self.kind,
            blocks=(
                Block("squares", self.most, clip, bits),
                Block("patients", 1, float(self.max_patients), 0),
            ),
        )

    def contribute(self, site: SurvivalRows, known: Arrays) -> Contribution:
        """The site's sums."""
        cuts, followed = known["cuts"], known["followed"]
        slots, seen = last_at_risk(site.time, site.event, cuts)
        told = told_cuts(followed)
        survival = np.exp(-np.exp(site.features) * known["hazard"][:told])
        weights = 1.0 / np.maximum(followed, 1.0 / _HEAVIEST)
        places = np.arange(told)
        died = seen[:, np.newaxis] & (slots[:, np.newaxis] <= places)
        alive = (slots[:, np.newaxis] > places) | (~seen[:, np.newaxis] & (slots[:, np.newaxis] == places))
        squares = survival**2 * died * weights[slots][:, np.newaxis]
        squares += (1.0 - survival) ** 2 * alive * weights[:told]
        sums = np.zeros(self.most)
        sums[:told] = squares.sum(axis=0)
        return Contribution({"squares": sums, "patients": np.array([float(len(site.time))])})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the sums."""
        told = told_cuts(state["followed"])
        return {**state, "squares": total.sums["squares"][:told], "patients": total.sums["patients"]}


def told_cuts(followed: Vector) -> int:
    """How many cuts, from the first, the score is told at: after the last nothing is known."""
    return int(np.sum(followed[:-1] * _HEAVIEST >= 1.0))


def integrated(times: Vector, scores: Vector) -> float:
    """The mean of the score over time, by the trapezoidal rule; NaN for fewer than two times."""
    if len(times) < 2:
        return float("nan")
    return float(trapezoid(scores, times) / (times[-1] - times[0]))
