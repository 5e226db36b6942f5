# SPDX-License-Identifier: Apache-2.0

"""Count, missingness, mean and variance of every feature, from one sum about a public centre.

With y = (x - centre) / unit a single sum holds the number of patients, the present values, sum y and sum y^2.
So all that is told is about the same patients, those of the sites that are in this sum, whoever was in the
sums that settled the centre. mean = centre + unit * m with m = sum y / n, and
variance = unit^2 (sum y^2 / n - m^2) n / (n - 1): as |m| is about 1, nothing cancels that matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.presence import Asked, check_within, has_values

_WANTED_BITS = 44
_HEADROOM = 2.0**8


@dataclass(frozen=True)
class Moments(Asked):
    """Sum of counts, first and second moments.

    State, float64: `patients` (shape (1,)); of shape (columns,): `count` of present values, `mean` and
    `variance` (over n - 1) of these, NaN where there are none or too few, and `holders`, the sites in this
    sum that have the feature. Where they are fewer than `least_sites`, the sum is thrown away: all are NaN.
    """

    kind = "moments"
    reads = ("held", "centre", "unit")

    def blocks(self) -> tuple[Block, ...]:
        """Counts exactly; moments as finely as fits."""
        return (
            self.counts("patients", 1, self.max_patients),
            self.counts("holders", self.columns, 1),
            self.counts("count", self.columns, self.max_patients),
            self.moment("first", self.columns),
            self.moment("second", self.columns),
        )

    def question(self) -> Question:
        """The blocks alone."""
        return Question(kind=self.kind, blocks=self.blocks())

    def moment(self, name: str, length: int) -> Block:
        """Lanes for sums of y or y^2 over a site's patients.

        As the unit is the root of the sites' mean square about the centre, or more, a site's mean y^2 is at
        most `sites`; a site that was not there then has `_HEADROOM` beyond it.
        """
        return self.block(name, length, _HEADROOM * self.sites * self.max_patients, _WANTED_BITS)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """The site's sums."""
        values = self.values(site, known)
        there, scaled = standardised_values(values, known)
        first, second = scaled.sum(axis=0), (scaled * scaled).sum(axis=0)
        check_within(site, second, self.moment("second", self.columns).clip)
        return Contribution(
            {
                "patients": np.array([float(len(values))]),
                "holders": has_values(values),
                "count": there.sum(axis=0),
                "first": first,
                "second": second,
            }
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets what the class says."""
        told = total.sums["holders"] >= self.least_sites
        count = np.where(told, total.sums["count"], np.nan)
        first, square = mean_and_variance(
            count, total.sums["first"], total.sums["second"], error=self.rounding(total)
        )
        return {
            **state,
            "patients": total.sums["patients"],
            "holders": total.sums["holders"],
            "count": count,
            "mean": state["centre"] + state["unit"] * first,
            "variance": square * state["unit"] ** 2,
        }

    def rounding(self, total: Aggregate) -> float:
        """What rounding at the sites adds to a moment at most, in units."""
        return 0.5 * len(total.survivors) / self.moment("first", 1).scale


def standardised_values(values: Matrix, known: Arrays) -> tuple[Matrix, Matrix]:
    """Where values are present (float64 ones and zeros), and (x - centre) / unit, zero where they are not."""
    there = ~np.isnan(values)
    scaled = np.where(there, (values - known["centre"]) / known["unit"], 0.0)
    return there.astype(np.float64), scaled


def mean_and_variance(count: Vector, first: Vector, second: Vector, *, error: float) -> tuple[Vector, Vector]:
    """Mean and variance (over n - 1) of y; NaN for a count below 1 and 2.

    error   of each moment. A variance that it does not tell from zero is zero
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(count > 0.0, first / count, np.nan)
        square = second / count
        least = 2.0 * (1.0 + 2.0 * np.abs(mean)) * error / count + 2.0**-49 * square
        variance = square - mean * mean
        variance = np.where(variance > least, variance * count / (count - 1.0), 0.0)
    return mean, np.where(count > 1.0, variance, np.nan)
