# SPDX-License-Identifier: Apache-2.0

"""Harrell's C-index from one secure histogram of scores, times and events on public grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.models.model import Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised
from sordino.survival.rows import SurvivalRows


class CIndex(NamedTuple):
    """The C-index of binned scores and times, and between which values that of the patients themselves is.

    pairs   comparable ones: of different time bins, the earlier with the event
    """

    value: float
    low: float
    high: float
    pairs: float


@dataclass(frozen=True)
class Concordance:
    """Every site counts its patients by score, time and event; the score is the rows' only feature.

    bins   of the score: equally likely ones, were it normal with the mean and spread of all patients
    most   the most cuts of the time grid; a bin ends at each cut, one more is after the last

    State: `scored`, flat counts of shape (2, most + 1, bins), those with the event first.
    """

    bins: int
    most: int
    max_patients: int

    kind = "concordance"
    reads = ("mean", "scale", "cuts")

    def question(self) -> Question:
        """Whole numbers."""
        block = Block("patients", 2 * (self.most + 1) * self.bins, float(self.max_patients), 0)
        return Question(kind=self.kind, blocks=(block,))

    def contribute(self, site: SurvivalRows, known: Arrays) -> Contribution:
        """The site's counts."""
        score = standardised(site.features, known)[:, 0]
        edges = norm.ppf(np.arange(1, self.bins) / self.bins)
        place = np.where(site.event, 0, 1) * (self.most + 1) + np.searchsorted(known["cuts"], site.time)
        place = place * self.bins + np.searchsorted(edges, score)
        counts = np.bincount(place, minlength=2 * (self.most + 1) * self.bins)
        return Contribution({"patients": counts.astype(np.float64)})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the counts."""
        return {**state, "scored": total.sums["patients"]}

    def index(self, scored: Vector) -> CIndex:
        """What the counts say."""
        return c_index(scored.reshape(2, self.most + 1, self.bins))


def c_index(scored: NDArray[np.float64]) -> CIndex:
    """The C-index (Harrell et al. 1982) from counts of shape (2, times, scores), those with the event first.

    Pairs of one score bin count one half. Those of one time bin, one with the event, are left out: it is not
    known which was first. The bounds let all of both be concordant, or none. Not defined without pairs: NaN.
    """
    events, everybody = scored[0], scored.sum(axis=0)
    later = np.cumsum(everybody[::-1], axis=0)[::-1] - everybody
    lower = np.cumsum(later, axis=1) - later
    concordant, tied = float((events * lower).sum()), float((events * later).sum(where=later > 0.0))
    pairs = float((events.sum(axis=1) * later.sum(axis=1)).sum())
    died, all_then = events.sum(axis=1), everybody.sum(axis=1)
    unknown = float((died * (died - 1.0) / 2.0 + died * (all_then - died)).sum())
    if not pairs:
        return CIndex(np.nan, 0.0, 1.0, 0.0)
    return CIndex(
        (concordant + 0.5 * tied) / pairs,
        concordant / (pairs + unknown),
        (concordant + tied + unknown) / (pairs + unknown),
        pairs,
    )


def c_index_deviation(scored: NDArray[np.float64]) -> float:
    """Standard deviation of `c_index`, by the infinitesimal jackknife: how far each patient moves it.

    With one patient's share of the concordant pairs c and of all pairs p the C-index C = sum(c) / sum(p) has
    the variance sum((c - C p)^2) / pairs^2. NaN without pairs.
    """
    events, everybody = scored[0], scored.sum(axis=0)
    later = np.cumsum(everybody[::-1], axis=0)[::-1] - everybody
    before = np.cumsum(events, axis=0) - events
    # As the one with the event, and as the one who was still followed then.
    right = np.cumsum(later, axis=1) - 0.5 * later
    wrong = np.cumsum(before[:, ::-1], axis=1)[:, ::-1] - 0.5 * before
    pairs_first, pairs_then = later.sum(axis=1, keepdims=True), before.sum(axis=1, keepdims=True)
    pairs = float((events * pairs_first).sum())
    if not pairs:
        return float("nan")
    index = float((events * right).sum()) / pairs
    then = wrong - index * pairs_then
    moved = events * (right - index * pairs_first + then) ** 2 + scored[1] * then**2
    return float(np.sqrt(moved.sum())) / pairs


def harrell(time: Vector, event: NDArray[np.bool_], score: Vector) -> float:
    """Harrell's C-index of patients in one place; a patient with the event dies before one censored then.

    NaN where no pair can be compared.
    """
    earlier = event[:, np.newaxis] & ((time[:, np.newaxis] < time) | ((time[:, np.newaxis] == time) & ~event))
    pairs = earlier.sum()
    higher, same = score[:, np.newaxis] > score, score[:, np.newaxis] == score
    if not pairs:
        return float("nan")
    return float(((higher & earlier).sum() + 0.5 * (same & earlier).sum()) / pairs)
