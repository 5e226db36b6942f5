# SPDX-License-Identifier: Apache-2.0

"""One secure sum that settles the learning rate: the patient-weighted mean of the sites' curvatures.

The Hessian of all rows is the weighted mean of the sites' Hessians and the largest eigenvalue is convex, so
this mean bounds the curvature of the pooled objective, and 1 / (mean + l2) is a safe step for descent on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.errors import ValueOutOfRange
from sordino.federated.site import Site
from sordino.models.model import Convex
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised

_CLIP = 2.0**24


@dataclass(frozen=True)
class Curvature:
    """Asks every site for its `Model.curvature` and sets `learning_rate`.

    l2           the penalty's own curvature
    local_steps  with several, the rate is halved: a site's own objective may be steeper than the mean
    """

    model: Convex
    l2: float
    local_steps: int
    sites: int
    max_patients: int

    kind = "curvature"
    reads = ("mean", "scale")

    def question(self) -> Question:
        """A single lane."""
        bits = fraction_bits(
            "curvature", clip=_CLIP, sites=self.sites, max_weight=self.max_patients, wanted=12
        )
        block = Block(name="curvature", length=1, clip=_CLIP, fraction_bits=bits)
        return Question(kind=self.kind, blocks=(block,), max_weight=self.max_patients)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The curvature of the site's own mean loss, on standardised features if there is a scaler."""
        curvature = self.model.curvature(standardised(site.features, known))
        if not curvature <= _CLIP:
            raise ValueOutOfRange(
                f"site {site.name!r}: the features are too large for learning_rate 'auto' "
                f"(curvature {curvature:.3g}); standardise them or state a learning_rate"
            )
        return Contribution({"curvature": np.array([curvature])}, weight=len(site.target))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `learning_rate`, shape (1,)."""
        resolution = 1.0 / self.question().blocks[0].scale
        curvature = max(float(total.mean("curvature")[0]), 0.0) + resolution
        steps = 1.0 if self.local_steps == 1 else 2.0
        return {**state, "learning_rate": np.array([1.0 / (steps * curvature + self.l2)])}
