# SPDX-License-Identifier: Apache-2.0

"""A public centre and unit for every feature, in which the sums of a description are exact.

Features of one study span many orders of magnitude, a fixed-point grid does not. Two sums settle where a
feature lies and how wide it is: the sites' mean log2 of mean |x|, then, in that power of two, the sites' mean
and mean square. These are means over sites, each of weight 1, whatever its number of patients. That serves,
since centre and unit are only coordinates: what is told is exact in any. And it means that no sum over
patients is asked twice, so that of two sums over different survivors none shows the other's difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.models.model import Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.presence import Asked, check_within, has_values

_EXPONENT_CLIP = 1100.0
"""Beyond every exponent of a float64."""
_MEAN_CLIP = 2.0**12
_SQUARE_CLIP = 2.0**24
_WANTED_BITS = 40


@dataclass(frozen=True)
class Exponents(Asked):
    """Second sum: the mean over sites of log2 of mean |x|.

    State: `magnitude`, a power of two for each feature; 1 where every value is zero.
    """

    kind = "exponents"
    reads = ("held",)

    def question(self) -> Question:
        """The exponents, and whether the site has one."""
        exponents = self.block("exponent", self.columns, _EXPONENT_CLIP, 12)
        return Question(kind=self.kind, blocks=(exponents, self.counts("nonzero", self.columns, 1)))

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """log2 of mean |x| over the present values; absent where there are none, or all are zero."""
        size = _means(np.abs(self.values(site, known)))
        exponent = np.log2(size, out=np.zeros_like(size), where=size > 0.0)
        return Contribution({"exponent": exponent, "nonzero": (size > 0.0).astype(np.float64)})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `magnitude`."""
        exponent, sites = total.sums["exponent"], total.sums["nonzero"]
        mean = np.divide(exponent, sites, out=np.zeros_like(exponent), where=sites > 0.0)
        return {**state, "magnitude": np.exp2(np.clip(np.rint(mean), -1000, 1000))}


@dataclass(frozen=True)
class Centres(Asked):
    """Third sum: the means over sites of mean x and mean x^2, in magnitudes.

    State: `centre`, near the mean, and `unit`, a power of two near the standard deviation, or where that is
    below some 2**-17 magnitudes, a power of two above it.
    """

    kind = "centres"
    reads = ("held", "magnitude")

    def _blocks(self) -> tuple[Block, Block]:
        return (
            self.block("centre", self.columns, _MEAN_CLIP, _WANTED_BITS),
            self.block("square", self.columns, _SQUARE_CLIP, _WANTED_BITS),
        )

    def question(self) -> Question:
        """Means, mean squares, and whether the site has the feature."""
        return Question(kind=self.kind, blocks=(*self._blocks(), self.counts("has", self.columns, 1)))

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """The site's mean and mean square."""
        values = self.values(site, known) / known["magnitude"]
        centre, square = _means(values), _means(values * values)
        check_within(site, centre, _MEAN_CLIP)
        check_within(site, square, _SQUARE_CLIP)
        return Contribution({"centre": centre, "square": square, "has": has_values(values)})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `centre` and `unit`."""
        sites = np.maximum(total.sums["has"], 1.0)
        centre, square = total.sums["centre"] / sites, total.sums["square"] / sites
        # What rounding may make of nothing: the unit stays above it.
        unseen = 4.0 / self._blocks()[1].scale + 2.0**-48 * square
        spread = np.sqrt(np.maximum(square - centre * centre, unseen))
        unit = np.exp2(np.ceil(np.log2(spread))) * state["magnitude"]
        return {**state, "centre": centre * state["magnitude"], "unit": unit}


def _means(values: Vector) -> Vector:
    """The mean of each column's present values, 0 where there are none."""
    there = ~np.isnan(values)
    sums = np.where(there, values, 0.0).sum(axis=0)
    means: Vector = sums / np.maximum(there.sum(axis=0), 1)
    return means
