# SPDX-License-Identifier: Apache-2.0

"""Which features are there to be described: the first sum, and what every later one leaves out for it.

NaN is a missing value. A feature whose values would come from fewer than `least_sites` sites is not asked
for: every site puts zeros in its place, so no sum holds the value of a lone hospital. Only how many sites
have the feature is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.course.rows import Rows
from sordino.errors import ValueOutOfRange
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import EVERYONE, Block, Question

Flags: TypeAlias = NDArray[np.bool_]

LARGEST = 1e150
"""Values beyond this cannot be squared in a float64."""


@dataclass(frozen=True)
class Asked:
    """What the stages of a description share: public bounds.

    columns       features, the same at every site
    sites         sites of the roster
    max_patients  patients of any one site
    least_sites   how many sites must have values of a feature for it to be asked
    """

    columns: int
    sites: int
    max_patients: int
    least_sites: int = 3

    def block(self, name: str, length: int, clip: float, wanted: int) -> Block:
        """Lanes as fine as 64 bits hold the sum of all sites, up to `wanted` bits behind the point."""
        what = f"the features' {name}"
        bits = fraction_bits(what, clip=clip, sites=self.sites, max_weight=1, wanted=wanted)
        return Block(name=name, length=length, clip=clip, fraction_bits=bits)

    def counts(self, name: str, length: int, most: int) -> Block:
        """Lanes that count up to `most` at each site, exactly."""
        return self.block(name, length, float(most), 0)

    def asked(self, known: Arrays) -> Flags:
        """Which features are asked for, shape (columns,)."""
        asked: Flags = known["held"] >= self.least_sites
        return asked

    def values(self, site: Rows, known: Arrays) -> Matrix:
        """The site's values, NaN where they are missing or not asked for."""
        return np.where(self.asked(known), present(site), np.nan)


@dataclass(frozen=True)
class Presence(Asked):
    """First sum: at how many sites each feature has a value.

    State: `held` (shape (columns,)), and `answered` (shape (1,)), the sites in that sum.
    """

    kind = "presence"
    reads: tuple[str, ...] = ()

    def question(self) -> Question:
        """A lane for each feature; a site's weight is 1, so nobody's number of patients is in it."""
        return Question(kind=self.kind, blocks=(self.counts("has", self.columns, 1),))

    def contribute(self, site: Rows, known: Arrays) -> Contribution:  # noqa: ARG002 (nothing is known yet)
        """One for each feature of which the site has a value."""
        return Contribution({"has": has_values(present(site))})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `held` and `answered`."""
        return {**state, "held": total.sums["has"], "answered": np.array([total.weights[EVERYONE]])}


def has_values(values: Matrix) -> Vector:
    """One where a column has a value, else zero."""
    return np.asarray((~np.isnan(values)).any(axis=0), dtype=np.float64)


def present(site: Rows) -> Matrix:
    """The site's values, NaN where missing. Raises `ValueOutOfRange` for what is infinite or too large."""
    wrong = np.argwhere(np.abs(site.features) > LARGEST)
    if len(wrong):
        row, column = wrong[0]
        value = site.features[row, column]
        why = "is infinite" if np.isinf(value) else f"is {value:.3g}, too large to be squared"
        raise ValueOutOfRange(
            f"site {site.name!r}, feature {site.columns[column]!r}: a value {why}; a missing value is NaN"
        )
    return site.features


def check_within(site: Rows, values: Matrix, clip: float) -> None:
    """Raise `ValueOutOfRange`, naming the feature (last axis), for what does not fit its lanes."""
    wrong = np.argwhere(~(np.abs(values) <= clip))
    if len(wrong):
        raise ValueOutOfRange(
            f"site {site.name!r}, feature {site.columns[wrong[0][-1]]!r}: its scale at this site and at all "
            "of them together differ a thousandfold; has one another unit?"
        )
