# SPDX-License-Identifier: Apache-2.0

"""Early fusion: one model over all modalities, each parameter averaged over the sites that have its features.

A modality is a lane group. Every site trains the whole model on what it has, with standardised features of
zero for what it has not; of what comes out it sends the parameters of its own modalities, and zeros of weight
zero stand for the rest. So the mean change of a parameter is over the patients of the sites that have its
features, and nobody learns from the lanes who has what beyond what was declared in set-up.

With one full-batch step a round is a step of gradient descent that goes longer along a modality that fewer
have, by N / n_m: it ends where the gradient is zero, at the optimum of

    mean over all patients of the loss + (l2 / 2) sum over modalities m of (n_m / N) ||coefficients of m||^2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from msgspec.structs import replace as replaced
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.errors import InvalidArgument
from sordino.federated.curvature import Curvature
from sordino.federated.site import Site
from sordino.federated.wrapped import Wrapped
from sordino.models.cox import Cox
from sordino.models.linear_form import LinearForm
from sordino.models.model import Model, Vector
from sordino.models.perceptron import Perceptron
from sordino.protocol.policy import EVERYONE, Block, Question


def parameter_groups(model: Model, features: tuple[str, ...]) -> tuple[str, ...]:
    """The lane group of every parameter, from that of every feature.

    A parameter that multiplies one feature belongs to its group, every other one to all. Raises
    `InvalidArgument` for a model of which it is not known.
    """
    if isinstance(model, LinearForm | Cox):
        first = list(features)
    elif isinstance(model, Perceptron):
        width = model.layers.widths[1]
        first = [group for group in features for _ in range(width)]
    else:
        raise InvalidArgument(f"modalities do not go with {type(model).__name__}")
    return (*first, *[EVERYONE] * (model.size - len(first)))


@dataclass(frozen=True)
class Grouped(Wrapped):
    """A stage with every block that is as long as the parameters parted by lane groups.

    groups   the lane group of every parameter
    """

    groups: tuple[str, ...]

    @cached_property
    def _places(self) -> dict[str, NDArray[np.intp]]:
        """Where the parameters of each group are; of everybody's first."""
        names = dict.fromkeys((EVERYONE, *self.groups))
        every = np.array(self.groups)
        return {name: np.flatnonzero(every == name) for name in names}

    def question(self) -> Question:
        """The inner one's blocks, the long ones parted."""
        asked = self.inner.question()
        blocks: list[Block] = []
        for block in asked.blocks:
            if block.length != len(self.groups):
                blocks.append(block)
                continue
            blocks += [
                replaced(block, name=_part(block.name, group), length=len(places), group=group)
                for group, places in self._places.items()
                if len(places)
            ]
        return Question(kind=self.kind, blocks=tuple(blocks), max_weight=asked.max_weight)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's, without what belongs to modalities that the site has not."""
        given = self.inner.contribute(site, known)
        values = {}
        own = {EVERYONE, *site.modalities}
        for name, vector in given.values.items():
            if len(vector) != len(self.groups):
                values[name] = vector
                continue
            for group, places in self._places.items():
                if group in own and len(places):
                    values[_part(name, group)] = vector[places]
        if not isinstance(given.weight, int):
            raise InvalidArgument("a stage with lane groups of its own cannot be parted again")
        present = [group for group in self._places if group in own]
        return replace(given, values=values, weight=dict.fromkeys(present, given.weight))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The inner one's, on sums that have each group's own mean; zero for a group that nobody has."""
        everybody = total.weights[EVERYONE]
        sums: dict[str, Vector] = {}
        for block in self.inner.question().blocks:
            if block.length != len(self.groups):
                sums[block.name] = total.sums[block.name]
                continue
            whole = np.zeros(block.length)
            for group, places in self._places.items():
                if len(places) and total.weights[group]:
                    whole[places] = total.mean(_part(block.name, group), group) * everybody
            sums[block.name] = whole
        return self.inner.advance(state, replace(total, sums=sums, weights={EVERYONE: everybody}))


@dataclass(frozen=True)
class GroupedRate:
    """The learning rate for `Grouped`: a step is longer along a modality that fewer have, so it is shortened.

    D H, with D = diag(N / n_m) and H the Hessian, has no eigenvalue beyond max(N / n_m) times that of H.
    """

    curvature: Curvature
    groups: tuple[str, ...]

    kind = Curvature.kind
    reads = Curvature.reads

    def question(self) -> Question:
        """The curvature, and a lane of each group, whose weight is what is wanted."""
        asked = self.curvature.question()
        shares = (Block(f"has.{group}", 1, 1.0, 0, group) for group in self.groups)
        return Question(kind=self.kind, blocks=(*asked.blocks, *shares), max_weight=asked.max_weight)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The curvature, and a one for each modality of the site."""
        given, patients = self.curvature.contribute(site, known), len(site.target)
        own = [group for group in self.groups if group in site.modalities]
        return Contribution(
            {**given.values, **{f"has.{group}": np.ones(1) for group in own}},
            weight=dict.fromkeys((EVERYONE, *own), patients),
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `learning_rate`."""
        found = self.curvature.advance(state, total)
        everybody = total.weights[EVERYONE]
        shares = [total.weights[group] / everybody for group in self.groups if total.weights[group]]
        return {**found, "learning_rate": found["learning_rate"] * min(shares, default=1.0)}


def _part(block: str, group: str) -> str:
    return block if group == EVERYONE else f"{block}.{group}"
