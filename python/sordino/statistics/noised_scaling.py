# SPDX-License-Identifier: Apache-2.0

"""Mean and scale of every feature by three private sums, whatever its order of magnitude.

A noised sum needs a bound on each patient's row, and no bound fits features that span many orders of
magnitude. So first every patient votes, for each feature, for the power of two that its value lies at, on a
public grid of 96 of them; then come clipped means in the unit that won, then votes for the power of two of
the distance from the mean. The scale is read off the votes near the winner: for a normal feature the mean of
log2|z| is -0.916, and a scale need only be right to a few tens of per cent.

Where ranges of the features are public knowledge, their middle and half width stand in for the first sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Answering, Part, mean
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Question

LOWEST, HIGHEST = -48, 48
"""Votes are for 2**k <= |x| < 2**(k + 1), k from the lowest, zero included, up to below the highest."""

_BINS = HIGHEST - LOWEST
_NEAR = 3
"""Bins on both sides of the winner that count for the mean of the logarithm: noise farther off would."""

_LOG_NORMAL = 0.916
"""-E[log2 |z|] of a standard normal z: (euler_gamma + ln 2) / (2 ln 2)."""


@dataclass(frozen=True)
class _Sum:
    columns: int
    answering: Answering


class Magnitudes(_Sum):
    """First sum: votes for the power of two of |x|."""

    kind = "magnitudes"
    reads: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """One vote for each feature: a row of norm sqrt(columns)."""
        return (Part("votes", self.columns * _BINS, sqrt(self.columns)),)

    def question(self) -> Question:
        """A lane for each feature and bin."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:  # noqa: ARG002 (nothing is known yet)
        """A vote of each patient for each feature."""
        return self.answering.answer(self.kind, self.parts, {"votes": _votes(site.features)})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `unit`, a power of two above most values of a feature, and `centre`, zero."""
        place = np.rint(_logarithm(total.sums["votes"], self.columns))
        return {**state, "unit": np.exp2(place + 1.0), "centre": np.zeros(self.columns)}


class PrivateMeans(_Sum):
    """Second sum: the mean of every feature, values beyond one unit from the centre moved to there."""

    kind = "private_means"
    reads = ("unit", "centre")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Each value is at most 1 in size: a row of norm sqrt(columns)."""
        return (Part("mean", self.columns, sqrt(self.columns)),)

    def question(self) -> Question:
        """A lane for each feature."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """Each patient's features, in their units."""
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.clip((site.features - known["centre"]) / known["unit"], -1.0, 1.0)
        rows[np.isnan(rows)] = 0.0  # a missing value counts as the centre: the others of the row still count
        return self.answering.answer(self.kind, self.parts, {"mean": rows})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `mean`, in the features' own scale."""
        found = np.clip(mean(total, "mean", self.answering.patients(total)), -1.0, 1.0)
        return {**state, "mean": state["centre"] + state["unit"] * found}


class Spreads(_Sum):
    """Third sum: votes for the power of two of |x - mean|."""

    kind = "spreads"
    reads = ("mean",)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One vote for each feature: a row of norm sqrt(columns)."""
        return (Part("votes", self.columns * _BINS, sqrt(self.columns)),)

    def question(self) -> Question:
        """A lane for each feature and bin."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """A vote of each patient for each feature."""
        return self.answering.answer(self.kind, self.parts, {"votes": _votes(site.features - known["mean"])})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `scale`, near the standard deviation; a constant votes for the lowest bin and gets 1."""
        place = _logarithm(total.sums["votes"], self.columns)
        scale = np.where(place > LOWEST + _NEAR, np.exp2(place + _LOG_NORMAL), 1.0)
        done = {**state, "scale": scale}
        return {name: vector for name, vector in done.items() if name not in ("unit", "centre")}


def _votes(values: Matrix) -> NDArray[Any]:
    """Ones where a value votes, float32 of shape (patients, columns * bins); a missing value has no vote."""
    patients, columns = values.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        # frexp is exact where log2 may round up to the next power.
        exponent = np.where(np.isfinite(values) & (values != 0.0), np.frexp(values)[1] - 1, LOWEST)
    place = np.clip(exponent, LOWEST, HIGHEST - 1) - LOWEST
    votes = np.zeros((patients, columns, _BINS), np.float32)
    np.put_along_axis(votes, place[:, :, np.newaxis], ~np.isnan(values)[:, :, np.newaxis], axis=2)
    return votes.reshape(patients, columns * _BINS)


def _logarithm(votes: Vector, columns: int) -> Vector:
    """The mean of log2 of the values near the most voted bins, shape (columns,)."""
    by_feature = votes.reshape(columns, _BINS)
    # Three bins together: single ones differ by noise, and a winner among them may be far off.
    smooth = by_feature.copy()
    smooth[:, 1:] += by_feature[:, :-1]
    smooth[:, :-1] += by_feature[:, 1:]
    found = np.zeros(columns)
    for feature, winner in enumerate(np.argmax(smooth, axis=1)):
        near = np.arange(max(0, winner - _NEAR), min(_BINS, winner + _NEAR + 1))
        counts = np.maximum(by_feature[feature, near], 0.0)
        total = float(counts.sum())
        found[feature] = float(counts @ near) / total if total > 0.0 else float(winner)
    # The middle of a bin [2^k, 2^(k+1)) is at k + 1/2.
    return found + LOWEST + 0.5
