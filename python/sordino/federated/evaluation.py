# SPDX-License-Identifier: Apache-2.0

"""How good the common model is on held-out patients, by one secure sum of histograms on a public grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.federated.site import Site
from sordino.models.model import Classifier, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised

LOSS_CLIP = 32.0
"""One patient adds at most this to the log loss."""


@dataclass(frozen=True)
class Evaluation:
    """Every site counts its held-out patients by predicted probability and class; only the sums are seen.

    bins  equal bins of the probability: more make the AUC finer and the sums more telling

    State: `positives` and `negatives` (counts, shape (bins,)), `log_loss` (sum in nats) and `correct`
    (patients on the right side of one half), shape (1,).
    """

    model: Classifier
    bins: int
    max_patients: int

    kind = "evaluation"
    reads = ("parameters", "mean", "scale")

    def question(self) -> Question:
        """Counts, which are whole numbers, and the summed log loss; weight 1, since these are totals."""
        counted = [("positives", self.bins), ("negatives", self.bins), ("correct", 1)]
        counts = [
            Block(name=name, length=length, clip=float(self.max_patients), fraction_bits=0)
            for name, length in counted
        ]
        loss = Block(name="log_loss", length=1, clip=LOSS_CLIP * self.max_patients, fraction_bits=12)
        return Question(kind=self.kind, blocks=(*counts, loss))

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The site's counts; all zero where it holds nobody out."""
        if site.test_features is None or site.test_target is None or not len(site.test_target):
            empty = {"positives": self.bins, "negatives": self.bins, "correct": 1, "log_loss": 1}
            return Contribution({name: np.zeros(length) for name, length in empty.items()})
        features, target = standardised(site.test_features, known), site.test_target
        probability = self.model.probability(known["parameters"], features)
        place = np.minimum((probability * self.bins).astype(np.int64), self.bins - 1)
        chance = np.where(target == 1.0, probability, 1.0 - probability)
        loss = np.minimum(-np.log(np.maximum(chance, 1e-300)), LOSS_CLIP)
        return Contribution(
            {
                "positives": np.bincount(place[target == 1.0], minlength=self.bins).astype(np.float64),
                "negatives": np.bincount(place[target == 0.0], minlength=self.bins).astype(np.float64),
                "correct": np.array([float(np.sum((probability > 0.5) == (target == 1.0)))]),
                "log_loss": np.array([float(loss.sum())]),
            }
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the four sums."""
        return {**state, **total.sums}


def area_under_curve(positives: Vector, negatives: Vector) -> tuple[float, float]:
    """AUC from two histograms on one grid, and how far it can be from the AUC of the scores themselves.

    Pairs within one bin count one half; the true value of each is anywhere from 0 to 1, so half of their
    part of all pairs is the bound. Two NaN if a class is empty.
    """
    pairs = float(positives.sum() * negatives.sum())
    if pairs == 0.0:
        return float("nan"), float("nan")
    below = np.cumsum(negatives) - negatives
    tied = 0.5 * float(positives @ negatives) / pairs
    return float(positives @ below) / pairs + tied, tied


def bands(
    positives: Vector, negatives: Vector, *, least: int, deviation: float = 0.0
) -> list[dict[str, Any]]:
    """Neighbouring bins put together until each band holds `least` patients; too few for one band: none.

    deviation  of the noise on each count, which a band of b bins has sqrt(b) times, as `noise_deviation`

    The bins themselves may be about single patients, and stay with whoever made the sums. The mean predicted
    probability of a band is known to half a bin.
    """
    bins = len(positives)
    everybody, middle = positives + negatives, (np.arange(bins) + 0.5) / bins
    # Noised bins count as full only well above their noise.
    enough, starts, held = max(float(least), 4.0 * deviation), [0], 0.0
    for place in range(bins - 1):
        held += float(everybody[place])
        if held >= enough and float(everybody[place + 1 :].sum()) >= enough:
            starts.append(place + 1)
            held = 0.0
    if everybody.sum() < enough:
        return []
    found = []
    for first, end in zip(starts, [*starts[1:], bins], strict=True):
        part = slice(first, end)
        patients = float(everybody[part].sum())
        found.append(
            {
                "from": first / bins,
                "to": end / bins,
                "patients": round(patients, 3),
                "positives": round(float(positives[part].sum()), 3),
                "mean_predicted": float(np.clip(everybody[part] @ middle[part] / patients, 0.0, 1.0)),
                **({"noise_deviation": deviation * float(np.sqrt(end - first))} if deviation else {}),
            }
        )
    return found
