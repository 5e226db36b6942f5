# SPDX-License-Identifier: Apache-2.0

"""How well a score tells members from others: the area under the curve, and rates at few false alarms.

Averages hide the patients who are found with certainty, so the rate of true positives at a small rate of
false ones is what counts (Carlini et al. 2022, "Membership inference attacks from first principles").

Scores are those of several trainings, in each of which other patients are members. What one patient's scores
say in one training and in the next is not independent, so patients are the units of all intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector

FALSE_POSITIVES = (0.01, 0.001)
RESAMPLES = 400
"""Of the patients, for the intervals of rates."""

_Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Separation:
    """What a score is worth. `tpr` by rate of false positives; None where there are too few of the others.

    A rate of one in a thousand takes a thousand scores of others: with fewer the threshold is a guess.

    members, others   how many scores are of members, and of others, over all trainings
    """

    auc: Interval
    tpr: dict[str, Interval | None]
    members: int
    others: int
    patients: int
    trainings: int


def proportion(hits: float, of: int, *, level: float = 0.95) -> Interval:
    """`hits` / `of` with the interval of Clopper and Pearson (1934), which covers at least `level`.

    Hits that are no whole number, such as means over trainings, lie between their neighbours' intervals.
    """
    from scipy.stats import beta

    if not 0 <= hits <= of or of < 1:
        raise InvalidArgument(f"a proportion needs 0 <= hits <= of and one trial, got {hits} of {of}")
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1.0 - tail, hits + 1, of - hits))
    return Interval(hits / of, low, high)


def separation(scores: Matrix, member: NDArray[np.bool_]) -> Separation:
    """Of scores that are larger for members, both of shape (trainings, patients)."""
    inside, outside = scores[member], scores[~member]
    if len(inside) < 2 or len(outside) < 2:
        raise InvalidArgument(f"too few patients to tell apart: {len(inside)} members, {len(outside)} others")
    return Separation(
        area(scores, member),
        {f"{rate:g}": _true_positives(scores, member, rate) for rate in FALSE_POSITIVES},
        len(inside),
        len(outside),
        scores.shape[1],
        scores.shape[0],
    )


def area(scores: Matrix, member: NDArray[np.bool_]) -> Interval:
    """The area under the curve with the interval of DeLong, DeLong and Clarke-Pearson (1988).

    A patient's scores are one unit (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data").
    The interval is one of the logarithm of the odds, which keeps it within 0 and 1. Where every member is
    above every other there is no variance to go by; of so many pairs of patients who share none, all would
    then be right with a chance of area**pairs, and that bounds it.
    """
    placed = np.zeros(scores.shape)
    placed[member] = _below(scores[member], scores[~member])
    placed[~member] = 1.0 - _below(scores[~member], scores[member])
    members, others = int(member.sum()), int((~member).sum())
    value = float(placed[member].mean())
    away = np.where(member, placed - value, 0.0).sum(axis=0) / members
    away += np.where(member, 0.0, placed - value).sum(axis=0) / others
    patients = len(away)
    deviation = sqrt(patients / (patients - 1) * float(away @ away))
    pairs = min(int(member.any(axis=0).sum()), int((~member).any(axis=0).sum()), patients // 2)
    least = 0.025 ** (1.0 / max(pairs, 1))
    if value in (0.0, 1.0):
        return Interval(value, *((least, 1.0) if value else (0.0, 1.0 - least)))
    half = _Z * deviation / (value * (1.0 - value))
    odds = log(value / (1.0 - value))
    return Interval(value, 1.0 / (1.0 + exp(half - odds)), 1.0 / (1.0 + exp(-half - odds)))


def _below(scores: Vector, others: Vector) -> Vector:
    """For each score the part of the others below it, those that are equal counted half."""
    ordered = np.sort(others)
    both = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    below: Vector = both / (2.0 * len(others))
    return below


def _true_positives(scores: Matrix, member: NDArray[np.bool_], rate: float) -> Interval | None:
    """The part of members above all but `rate` of the others; None for fewer than 1 / rate of these.

    The interval holds that of resampled patients, each with its own threshold, and that of as many
    independent trials as there are patients, which stands also where nobody is found.
    """
    found = _part_above(scores, member, rate)
    if found is None:
        return None
    patients = int(member.any(axis=0).sum())
    certain = proportion(found * patients, patients)
    rng = np.random.default_rng(0)
    again = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, scores.shape[1], scores.shape[1])
        part = _part_above(scores[:, drawn], member[:, drawn], rate)
        again += [] if part is None else [part]
    low, high = np.quantile(again, [0.025, 0.975]) if again else (0.0, 1.0)
    return Interval(found, min(certain.low, float(low)), max(certain.high, float(high)))


def _part_above(scores: Matrix, member: NDArray[np.bool_], rate: float) -> float | None:
    inside, outside = scores[member], scores[~member]
    allowed = int(rate * len(outside))
    if not allowed or not len(inside):
        return None
    place = len(outside) - 1 - allowed
    threshold = np.partition(outside, place)[place]
    return float((inside > threshold).mean())
