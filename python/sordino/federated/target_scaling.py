# SPDX-License-Identifier: Apache-2.0

"""A target that is a number, in standard deviations from its mean: by the three sums that scale features.

A round changes a parameter by no more than a public bound, so training is for targets whose spread is about
one. The sums are those of `sordino.statistics.scaling`, asked of the target as of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.federated.site import Site
from sordino.federated.wrapped import Wrapped
from sordino.models.model import Vector
from sordino.protocol.policy import Question
from sordino.statistics.scaling import Means, Units, Variances

_LEAD = "target_"


def target_scaling(*, sites: int, max_patients: int) -> tuple[Stage[Site], ...]:
    """Sets `target_mean` and `target_scale`, shape (1,)."""
    return tuple(OfTarget(stage(1, sites, max_patients)) for stage in (Units, Means, Variances))


def scaled_target(target: Vector, known: Arrays) -> Vector:
    """(target - target_mean) / target_scale."""
    scaled: Vector = (target - known["target_mean"]) / known["target_scale"]
    return scaled


@dataclass(frozen=True)
class OfTarget:
    """A stage that is asked of the target as its only feature; what it knows and sets is led by `target_`."""

    inner: Stage[Any]

    @property
    def kind(self) -> str:
        """The inner one's, led by `target_`."""
        return _LEAD + self.inner.kind

    @property
    def reads(self) -> tuple[str, ...]:
        """The inner one's, led by `target_`."""
        return tuple(_LEAD + name for name in self.inner.reads)

    def question(self) -> Question:
        """The inner one's, by another name."""
        asked = self.inner.question()
        return Question(kind=self.kind, blocks=asked.blocks, max_weight=asked.max_weight)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's for a site whose one feature is the target."""
        alone = replace(site, features=site.target[:, np.newaxis], columns=("the target",))
        return self.inner.contribute(alone, _without_lead(known))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The inner one's, on its own part of the state."""
        rest = {name: vector for name, vector in state.items() if not name.startswith(_LEAD)}
        after = self.inner.advance(_without_lead(state), total)
        return {**rest, **{_LEAD + name: vector for name, vector in after.items()}}


class OnScaledTarget(Wrapped):
    """A stage whose sites work on their scaled targets."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The inner one's, and the scaler of the target."""
        return (*self.inner.reads, "target_mean", "target_scale")

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's."""
        kept = site.validation_target
        scaled = replace(
            site,
            target=scaled_target(site.target, known),
            validation_target=None if kept is None else scaled_target(kept, known),
        )
        return self.inner.contribute(scaled, known)


def _without_lead(arrays: Arrays) -> Arrays:
    return {name.removeprefix(_LEAD): vector for name, vector in arrays.items() if name.startswith(_LEAD)}
