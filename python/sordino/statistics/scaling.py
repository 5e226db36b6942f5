# SPDX-License-Identifier: Apache-2.0

"""Mean and standard deviation of every feature by three secure sums, none of which needs pooled rows.

Features of one study span many orders of magnitude, a fixed-point grid does not. So the first sum settles a
public unit for each feature, a power of two near the sites' typical spread; the second is the mean in that
unit; the third the mean squared distance from that common mean. Two passes, mean before squares, keep a
feature such as 1e6 +- 1 exact where sums of squares would cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.course.rows import Rows
from sordino.errors import ValueOutOfRange
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Block, Question

_EXPONENT_CLIP = 1100.0
"""Beyond every exponent of a float64."""
_MEAN_CLIP = 2.0**16
_VARIANCE_CLIP = 2.0**20
_WANTED_BITS = 24
_APART = "its scale at this site and at all of them together differ a thousandfold; has one another unit?"
_OFFSET = 2.0**-12
"""A feature far from zero is measured in units of at least this part of its mean, so that its mean fits."""
_CONSTANT_OFFSET = 2.0**-8
"""The same where a site sees no spread: sites that differ by as much as the mean must fit, squared."""


@dataclass(frozen=True)
class _Moment:
    """What the three sums share: one lane a feature, and what bounds the sites' weights."""

    columns: int
    sites: int
    max_patients: int

    def _block(self, name: str, clip: float, wanted: int) -> Block:
        bits = fraction_bits(
            f"the features' {name}", clip=clip, sites=self.sites, max_weight=self.max_patients, wanted=wanted
        )
        return Block(name=name, length=self.columns, clip=clip, fraction_bits=bits)


class Units(_Moment):
    """First sum: the patient-weighted mean of log2(spread), over the sites where the feature has one."""

    kind = "units"
    reads: tuple[str, ...] = ()

    def question(self) -> Question:
        """Two blocks: the exponents, and whether the site has one."""
        exponents = self._block("exponent", _EXPONENT_CLIP, 12)
        present = Block(name="present", length=self.columns, clip=1.0, fraction_bits=0)
        return Question(kind=self.kind, blocks=(exponents, present), max_weight=self.max_patients)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:  # noqa: ARG002 (nothing is known yet)
        """log2 of max(standard deviation, |mean| / 4096, or / 256 for a constant); absent where 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            offset = np.where(np.ptp(site.features, axis=0) > 0.0, _OFFSET, _CONSTANT_OFFSET)
            spread = np.maximum(site.features.std(axis=0), np.abs(site.features.mean(axis=0)) * offset)
        _within(site, spread, float(np.finfo(np.float64).max), "its values are too large to be squared")
        present = spread > 0.0
        exponent = np.log2(spread, out=np.zeros_like(spread), where=present)
        return Contribution(
            {"exponent": exponent, "present": present.astype(np.float64)}, weight=len(site.features)
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `unit`: a power of two for each feature, 1 where no site sees it vary or differ from zero."""
        exponent, present = total.sums["exponent"], total.sums["present"]
        mean = np.divide(exponent, present, out=np.zeros_like(exponent), where=present > 0.0)
        return {**state, "unit": np.exp2(np.clip(np.rint(mean), -1000, 1000))}


class Means(_Moment):
    """Second sum: the mean of every feature, in its unit."""

    kind = "means"
    reads = ("unit",)

    def question(self) -> Question:
        """One block, clipped at 65,536 units."""
        block = self._block("mean", _MEAN_CLIP, _WANTED_BITS)
        return Question(kind=self.kind, blocks=(block,), max_weight=self.max_patients)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """The site's means."""
        mean = site.features.mean(axis=0) / known["unit"]
        _within(site, mean, _MEAN_CLIP, _APART)
        return Contribution({"mean": mean}, weight=len(site.features))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `mean`, in the features' own scale."""
        return {**state, "mean": total.mean("mean") * state["unit"]}


class Variances(_Moment):
    """Third sum: the mean squared distance from the common mean, in squared units."""

    kind = "variances"
    reads = ("unit", "mean")

    def question(self) -> Question:
        """One block, clipped at 2**20 squared units."""
        block = self._block("variance", _VARIANCE_CLIP, _WANTED_BITS)
        return Question(kind=self.kind, blocks=(block,), max_weight=self.max_patients)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """The mean over the site's patients of ((x - mean) / unit)**2."""
        distance = (site.features - known["mean"]) / known["unit"]
        variance = np.mean(distance * distance, axis=0)
        _within(site, variance, _VARIANCE_CLIP, _APART)
        return Contribution({"variance": variance}, weight=len(site.features))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `scale`, the standard deviation (over n) in the features' own scale; 1 for a constant.

        A variance that the grid cannot tell from zero may still be large where the unit is: such a feature
        is divided by the largest deviation that it can have, or it would drown the others.
        """
        variance, unit = total.mean("variance"), state["unit"]
        resolution = 1.0 / self.question().blocks[0].scale
        least = np.maximum(1.0, np.sqrt(resolution) * unit)
        scale = np.where(variance > resolution, np.sqrt(np.maximum(variance, 0.0)) * unit, least)
        return {name: vector for name, vector in {**state, "scale": scale}.items() if name != "unit"}


def standardised(features: Matrix, known: Arrays) -> Matrix:
    """(features - mean) / scale where a scaler is known, else the features as they are."""
    if "scale" not in known:
        return features
    scaled: Matrix = (features - known["mean"]) / known["scale"]
    return scaled


def _within(site: Rows, values: Vector, clip: float, why: str) -> None:
    wrong = np.flatnonzero(~(np.abs(values) <= clip))
    if len(wrong):
        raise ValueOutOfRange(f"site {site.name!r}, feature {site.columns[wrong[0]]!r}: {why}")
