# SPDX-License-Identifier: Apache-2.0

"""Correlations of all pairs of features, each over the patients who have both values, in one sum.

As pandas' `DataFrame.corr` and R's "pairwise.complete.obs" do it: every pair has its own patients, so its own
count, sums, and sums of squares, which is 3 p^2 - 2 p lanes in place of the p (p + 3) / 2 without missing
values. What is told of a pair is over its own patients; the whole need not be a positive matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.moments import Moments, standardised_values
from sordino.statistics.presence import Asked, Flags, check_within, has_values


@dataclass(frozen=True)
class Correlations(Asked):
    """Sum of the moments of every pair.

    A pair is asked, and told, only if at least `least_sites` sites are sure to have both features, that is if
    held_i + held_j less the sites that there are is as much; and if as many, or none, are sure to have one
    and lack the other, since these are the difference of the feature's sums and the pair's.

    State, row by row of (columns, columns) matrices: `pairs`, the patients who have both values, and
    `correlation`, NaN where a pair was not asked, has fewer than two patients, or one feature is constant.
    """

    kind = "correlations"
    reads = ("held", "answered", "centre", "unit")

    @property
    def _moments(self) -> Moments:
        return Moments(self.columns, self.sites, self.max_patients, self.least_sites)

    def blocks(self) -> tuple[Block, ...]:
        """Of each pair once the count and the product, of each ordered pair the moments of the first."""
        once = self.columns * (self.columns - 1) // 2
        return (
            self.counts("pair_holders", self.columns, 1),
            self.counts("pairs", once, self.max_patients),
            self._moments.moment("products", once),
            self._moments.moment("pair_first", 2 * once),
            self._moments.moment("pair_second", 2 * once),
        )

    def question(self) -> Question:
        """The blocks alone."""
        return Question(kind=self.kind, blocks=self.blocks())

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """The site's sums over its patients with both values."""
        values = self.values(site, known)
        there, scaled = standardised_values(values, known)
        asked = self._surely(known["held"], known["answered"][0])
        squares = (scaled * scaled).T @ there
        check_within(site, squares.T, self._moments.moment("pair_second", 1).clip)
        upper, ordered = self._upper, ~np.eye(self.columns, dtype=np.bool_)
        return Contribution(
            {
                "pair_holders": has_values(values),
                "pairs": np.where(asked, there.T @ there, 0.0)[upper],
                "products": np.where(asked, scaled.T @ scaled, 0.0)[upper],
                "pair_first": np.where(asked, scaled.T @ there, 0.0)[ordered],
                "pair_second": np.where(asked, squares, 0.0)[ordered],
            }
        )

    def _surely(self, held: Vector, sites: float) -> Flags:
        one, other = held[:, np.newaxis], held[np.newaxis, :]
        apart: Flags = (other >= sites) | (one - other >= self.least_sites)
        both: Flags = (one + other - sites >= self.least_sites) & apart & apart.T
        return both

    @property
    def _upper(self) -> Flags:
        upper: Flags = np.triu(np.ones((self.columns, self.columns), np.bool_), 1)
        return upper

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets what the class says."""
        once = self._upper
        ordered = ~np.eye(self.columns, dtype=np.bool_)

        def matrix(block: str, where: Flags) -> Matrix:
            filled = np.zeros((self.columns, self.columns))
            filled[where] = total.sums[block]
            return filled

        pairs, products = matrix("pairs", once), matrix("products", once)
        first, second = matrix("pair_first", ordered), matrix("pair_second", ordered)
        told = self._surely(total.sums["pair_holders"], len(total.survivors))
        pairs = np.where(told & once, pairs, np.nan)
        found = _correlation(pairs, products, first, second, error=self._moments.rounding(total))
        return {
            **state,
            "pairs": _both_sides(pairs).ravel(),
            "correlation": _both_sides(found).ravel(),
        }


def _correlation(pairs: Matrix, products: Matrix, first: Matrix, second: Matrix, *, error: float) -> Matrix:
    """Of the pairs (i, j), i < j, from the moments of i in [i, j] and those of j in [j, i]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, other = first / pairs, first.T / pairs
        least = 4.0 * (1.0 + np.abs(mean) + np.abs(other)) * error / pairs + 2.0**-48
        spread, others = second / pairs - mean * mean, second.T / pairs - other * other
        found = (products / pairs - mean * other) / np.sqrt(spread * others)
    vary = (spread > least * np.maximum(1.0, second / pairs)) & (
        others > least * np.maximum(1.0, second.T / pairs)
    )
    return np.where((pairs > 1.0) & vary, np.clip(found, -1.0, 1.0), np.nan)


def _both_sides(upper: Matrix) -> Matrix:
    """The symmetric matrix with this upper triangle; its diagonal stays NaN."""
    return np.where(np.isnan(upper), upper.T, upper)


def as_matrix(values: Vector) -> Matrix:
    """A state's `pairs` or `correlation`, shape (columns, columns)."""
    columns = round(len(values) ** 0.5)
    return values.reshape(columns, columns)
