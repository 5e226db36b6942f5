# SPDX-License-Identifier: Apache-2.0

"""How good the model is on held-out patients, by one private sum: a one-hot row a patient.

Noise makes counts real numbers, some below zero. To move those to zero would add patients that are not there,
half of them in bins where nobody is; so the sums are used as they come, which leaves both factors of the AUC
without bias, and the standard deviation that the noise gives it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Answering, Part
from sordino.course.arrays import Arrays
from sordino.federated.site import Site
from sordino.models.model import Classifier, Matrix, Vector
from sordino.protocol.policy import Question
from sordino.statistics.scaling import standardised


@dataclass(frozen=True)
class PrivateEvaluation:
    """Every held-out patient counts in one of 2 * bins lanes, by class and predicted probability.

    State: `positives` and `negatives` (shape (bins,)), and `counts_deviation` (shape (1,)), the standard
    deviation of the noise on each of them.
    """

    model: Classifier
    answering: Answering
    bins: int

    kind = "private_evaluation"
    reads = ("parameters", "mean", "scale")

    @property
    def parts(self) -> tuple[Part, ...]:
        """One lane is 1."""
        return (Part("counts", 2 * self.bins, 1.0),)

    def question(self) -> Question:
        """The bins of the positive class, then those of the negative one."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """A row for each held-out patient, none if the site holds nobody out."""
        return self.answering.answer(self.kind, self.parts, {"counts": self.rows(site, known)})

    def rows(self, site: Site, known: Arrays) -> Matrix:
        """1 in the lane of each held-out patient, shape (patients, 2 * bins)."""
        rows = np.zeros((0, 2 * self.bins))
        if site.test_features is not None and site.test_target is not None and len(site.test_target):
            with np.errstate(over="ignore", invalid="ignore"):
                features = standardised(site.test_features, known)
                probability = np.nan_to_num(self.model.probability(known["parameters"], features))
            place = np.minimum((probability * self.bins).astype(np.int64), self.bins - 1)
            rows = np.zeros((len(place), 2 * self.bins))
            rows[np.arange(len(place)), np.where(site.test_target == 1.0, place, place + self.bins)] = 1.0
        return rows

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the two histograms, and how much noise is on them."""
        positives, negatives = np.split(total.sums["counts"], 2)
        deviation = count_deviation(self.answering, self, total)
        return {
            **state,
            "positives": positives,
            "negatives": negatives,
            "counts_deviation": np.array([deviation]),
        }


class Counting(Protocol):
    """A stage whose first block holds counts."""

    @property
    def kind(self) -> str:
        """As `Stage`."""

    @property
    def parts(self) -> Sequence[Part]:
        """As `Answering.question` takes them."""

    def question(self) -> Question:
        """As `Stage`."""


def count_deviation(answering: Answering, stage: Counting, total: Aggregate) -> float:
    """Standard deviation of the noise on each count of a sum."""
    if answering.unit != "patient-local":
        return total.noise / stage.question().blocks[0].scale
    # Each site's own: its multiplier times the joint norm of a row and a count of a quarter.
    local = answering.planned(stage.kind).local_sigma * stage.parts[0].clip
    return local * sqrt(len(total.survivors) * (1.0 + 1.0 / 16.0))


def noised_area(positives: Vector, negatives: Vector, deviation: float) -> tuple[float, float]:
    """The AUC from two noised histograms, at most 1 and at least 0, and the deviation that noise gives it.

    A = sum_i p_i (n_below_i + n_i / 2) / (P N). To first order noise on p_i moves it by (f_i - A) / P, f_i
    the part of the negatives below bin i, and likewise for n_j; to second order the products of noise add
    deviation^2 sqrt(bins^2 / 2) / (P N). Two NaN where noise left no patients of a class.
    """
    p, n = float(positives.sum()), float(negatives.sum())
    if p <= 0.0 or n <= 0.0:
        return float("nan"), float("nan")
    below = (np.cumsum(negatives) - negatives / 2.0) / n
    above = (p - np.cumsum(positives) + positives / 2.0) / p
    area = float(positives @ below) / p
    first = float(((below - area) ** 2).sum()) / p**2 + float(((above - area) ** 2).sum()) / n**2
    second = (deviation * len(positives)) ** 2 / (2.0 * (p * n) ** 2)
    return min(max(area, 0.0), 1.0), deviation * sqrt(first + second)
