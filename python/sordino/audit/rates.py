# SPDX-License-Identifier: Apache-2.0

"""How well a score tells members from others: the area under the curve, and rates at few false alarms.

Averages hide the patients who are found with certainty, so the rate of true positives at a small rate of
false ones is what counts (Carlini et al. 2022, "Membership inference attacks from first principles").
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from sordino.errors import InvalidArgument
from sordino.models.model import Vector

FALSE_POSITIVES = (0.01, 0.001)


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

    A rate of one in a thousand takes a thousand others: with fewer the threshold is a guess.
    """

    auc: Interval
    tpr: dict[str, Interval | None]
    members: int
    others: int


def proportion(hits: int, of: int, *, level: float = 0.95) -> Interval:
    """`hits` / `of` with the interval of Clopper and Pearson (1934), which covers at least `level`."""
    from scipy.stats import beta

    if not 0 <= hits <= of or of < 1:
        raise InvalidArgument(f"a proportion needs 0 <= hits <= of and one trial, got {hits} of {of}")
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1.0 - tail, hits + 1, of - hits))
    return Interval(hits / of, low, high)


def separation(members: Vector, others: Vector) -> Separation:
    """Of scores that are larger for members, shapes (members,) and (others,).

    The interval of the area is that of Hanley and McNeil (1982). The interval of a rate of true positives
    takes its threshold as given.
    """
    from scipy.stats import rankdata

    if len(members) < 2 or len(others) < 2:
        raise InvalidArgument(f"too few patients to tell apart: {len(members)} members, {len(others)} others")
    n, m = len(members), len(others)
    ranks = rankdata(np.concatenate([members, others]))[:n]
    area = (float(ranks.sum()) - n * (n + 1) / 2.0) / (n * m)
    one, two = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    variance = area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (two - area**2)
    half = 1.96 * sqrt(max(variance, 0.0) / (n * m))
    highest = np.sort(others)[::-1]
    tpr: dict[str, Interval | None] = {}
    for rate in FALSE_POSITIVES:
        allowed = int(rate * m)
        tpr[f"{rate:g}"] = proportion(int((members > highest[allowed]).sum()), n) if allowed else None
    return Separation(Interval(area, max(area - half, 0.0), min(area + half, 1.0)), tpr, n, m)
