# SPDX-License-Identifier: Apache-2.0

"""All statistics of a description from one private sum, and how far the noise puts each of them off.

Values are measured from a public centre in a public unit and clipped to [-1, 1] there: y = (x - centre) /
unit. A patient's row has, in three blocks,

moments   for each feature (1, 0, 0) where it is missing, else (0, y, y^2 - 1/2), of norm sqrt(5/4) at most
bins      for each feature a one in the bin of its value
pairs     for each pair (1, 0) where one of the two is missing, else (0, y_i y_j), of norm 1

so that blocks of p features and P pairs are of norm sqrt(5 p / 4), sqrt(p) and sqrt(P). All lanes of a sum
get the same noise in grid units; the pairs, which are many, are on a grid coarse enough to take about half of
the sensitivity. As everything is in one sum, it is one event for the accountant and about the same patients.

The clip biases what lies beyond it and no noise tells by how much: see `under` and `over` of the histograms.
Standard deviations are those of the noise alone, to first order; sampling has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Answering, Part
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.models.model import Matrix, Vector
from sordino.privacy.mechanisms import count_scale
from sordino.protocol.policy import Question
from sordino.statistics.histogram import Histograms
from sordino.statistics.noised_scaling import Spreads

_REACH = 4.0
"""Scales from the mean to the clip, where no ranges are public."""


class Reaches(Spreads):
    """The third sum that scales, and from what it finds the clip of a description.

    State: `centre` and `unit`.
    """

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The mean, and four scales."""
        found = super().advance(state, total)
        return {**state, "centre": found["mean"], "unit": _REACH * found["scale"]}


@dataclass(frozen=True)
class NoisedDescription:
    """One private sum of whatever is to be told.

    histograms   whose grid is counted on; None for none
    correlation  whether pairs are asked

    State, real numbers: `patients`, `count`, `mean`, `variance`, `bins`, `edges`, `pairs` and `correlation`
    as without noise, and the standard deviation of the noise on what has any: `patients_deviation`,
    `count_deviation`, `missing_deviation` and so on (`bins_deviation` of shape (1,)).
    """

    columns: int
    answering: Answering
    histograms: Histograms | None = None
    correlation: bool = False

    kind = "description"
    reads = ("centre", "unit")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The blocks, as the head of this file says."""
        p, pairs = self.columns, self.columns * (self.columns - 1) // 2
        parts, others = [Part("moments", 3 * p, sqrt(1.25 * p))], 1.25 * p
        if self.histograms is not None:
            parts.append(Part("bins", self.histograms.lanes, sqrt(p)))
            others += p
        if self.correlation and pairs:
            coarser = max(0, round(0.5 * log2(pairs / others)))
            parts.append(Part("pairs", 2 * pairs, sqrt(pairs), coarser))
        return tuple(parts)

    def question(self) -> Question:
        """A lane for each number of a row."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """A row for each patient; nothing is refused, for that would tell."""
        values = site.features
        absent = np.isnan(values)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.clip((values - known["centre"]) / known["unit"], -1.0, 1.0)
        scaled = np.where(absent, 0.0, scaled)
        squares = np.where(absent, 0.0, scaled * scaled - 0.5)
        rows: dict[str, NDArray[np.floating]] = {"moments": np.hstack([absent, scaled, squares])}
        if self.histograms is not None:
            rows["bins"] = self.histograms.one_hot(values, known)
        if self.correlation and self.columns > 1:
            one, other = np.triu_indices(self.columns, 1)
            neither = absent[:, one] | absent[:, other]
            rows["pairs"] = np.hstack([neither, scaled[:, one] * scaled[:, other]]).astype(np.float32)
        return self.answering.answer(self.kind, self.parts, rows)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets what the class says."""
        noise, patients_noise = self.deviations(total)
        patients = self.answering.patients(total)
        absent, first, second = np.split(total.sums["moments"], 3)
        count = np.maximum(patients - absent, 1.0)  # to divide by; what is told is without bias
        sigma = noise["moments"]
        count_noise = sqrt(sigma**2 + patients_noise**2)
        mean, square = first / count, second / count + 0.5
        variance = np.maximum(square - mean * mean, 0.0)
        mean_noise = np.hypot(sigma, mean * count_noise) / count
        # d v = (d S2 - 2 m d S1 + (2 m^2 - S2 / n) d n) / n, S2 = second the sum of y^2 - 1/2.
        variance_noise = (
            np.sqrt(sigma**2 * (1.0 + 4.0 * mean**2) + ((2.0 * mean**2 - second / count) * count_noise) ** 2)
            / count
        )
        unit, unbiased = state["unit"], count / np.maximum(count - 1.0, 1.0)
        found: dict[str, Vector] = {
            **state,
            "patients": np.array([patients]),
            "patients_deviation": np.array([patients_noise]),
            "count": patients - absent,
            "count_deviation": np.full(self.columns, count_noise),
            "missing_deviation": np.full(self.columns, sigma),
            "mean": state["centre"] + unit * mean,
            "mean_deviation": unit * mean_noise,
            "variance": unit**2 * variance * unbiased,
            "variance_deviation": unit**2 * variance_noise * unbiased,
        }
        if self.histograms is not None:
            found |= self.histograms.advance(found, total)
            found["bins_deviation"] = np.array([noise["bins"]])
        if "pairs" in total.sums:
            found |= self._correlations(
                np.split(total.sums["pairs"], 2),
                patients,
                (noise["pairs"], patients_noise),
                (mean, mean_noise),
                (variance, variance_noise),
            )
        return found

    def _correlations(
        self,
        sums: list[Vector],
        patients: float,
        noise: tuple[float, float],
        means: tuple[Vector, Vector],
        variances: tuple[Vector, Vector],
    ) -> dict[str, Vector]:
        """(sum y_i y_j / n_ij - m_i m_j) / (s_i s_j), means and spreads those of each feature by itself."""
        one, other = np.triu_indices(self.columns, 1)
        (mean, mean_noise), (variance, variance_noise) = means, variances
        count = np.maximum(patients - sums[0], 1.0)
        product = sums[1] / count
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(variance[one] * variance[other])
            found = (product - mean[one] * mean[other]) / spread
            relative = variance_noise / variance
            of_product = (noise[0] ** 2 + product**2 * (noise[0] ** 2 + noise[1] ** 2)) / count**2
            of_means = (mean[other] * mean_noise[one]) ** 2 + (mean[one] * mean_noise[other]) ** 2
            of_spreads = (0.5 * found) ** 2 * (relative[one] ** 2 + relative[other] ** 2)
            deviation = np.sqrt((of_product + of_means) / spread**2 + of_spreads)
        known = spread > 0.0
        return {
            "pairs": self._matrix(count),
            "correlation": self._matrix(np.where(known, np.clip(found, -1.0, 1.0), np.nan)),
            "correlation_deviation": self._matrix(np.where(known, deviation, np.nan)),
        }

    def _matrix(self, pairs: Vector) -> Matrix:
        """The symmetric matrix of these, row by row, NaN on its diagonal."""
        matrix = np.full((self.columns, self.columns), np.nan)
        one, other = np.triu_indices(self.columns, 1)
        matrix[one, other] = matrix[other, one] = pairs
        return matrix.ravel()

    def deviations(self, total: Aggregate) -> tuple[dict[str, float], float]:
        """Of the noise: on each lane of a block, by block, and on the number of patients."""
        if self.answering.unit == "patient-local":
            # Each site's own: its multiplier times the joint norm of blocks of 1 and a count of a quarter.
            local = self.answering.planned(self.kind).local_sigma
            local *= sqrt(len(total.survivors) * (len(self.parts) + 1.0 / 16.0))
            return {part.name: local * part.clip for part in self.parts}, 4.0 * local
        question = self.question()
        return (
            {block.name: total.noise / block.scale for block in question.blocks},
            total.noise / count_scale(question),
        )
