# SPDX-License-Identifier: Apache-2.0

"""How good a model of a number is on held-out patients, by one secure sum of squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.federated.site import Site
from sordino.federated.target_scaling import scaled_target
from sordino.models.model import Model
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised

CLIP = 2.0**20
"""One patient adds at most this to a sum of squares: a thousand standard deviations."""

SUMS = ("squared_error", "absolute_error", "target_sum", "target_squares")


@dataclass(frozen=True)
class RegressionEvaluation:
    """Every site sums over its held-out patients, in standard deviations of the target.

    State: `tested` (patients), `squared_error`, `absolute_error`, `target_sum` and `target_squares`, all of
    shape (1,).
    """

    model: Model
    sites: int
    max_patients: int

    kind = "regression"
    reads = ("parameters", "mean", "scale", "target_mean", "target_scale")

    def question(self) -> Question:
        """One lane a sum; weight 1, since these are totals."""
        clip = CLIP * self.max_patients
        bits = fraction_bits("the test", clip=clip, sites=self.sites, max_weight=1, wanted=24)
        sums = (Block(name, 1, clip, bits) for name in SUMS)
        return Question(kind=self.kind, blocks=(Block("tested", 1, float(self.max_patients), 0), *sums))

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The site's sums; all zero where it holds nobody out."""
        if site.test_features is None or site.test_target is None or not len(site.test_target):
            return Contribution({name: np.zeros(1) for name in ("tested", *SUMS)})
        target = scaled_target(site.test_target, known)
        expected = self.model.decision(known["parameters"], standardised(site.test_features, known))
        off = np.abs(expected - target)
        of_each = (off**2, off, target, target**2)
        values = {
            name: np.array([np.clip(one, -CLIP, CLIP).sum()]) for name, one in zip(SUMS, of_each, strict=True)
        }
        return Contribution({"tested": np.array([float(len(target))]), **values})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the sums."""
        return {**state, **total.sums}
