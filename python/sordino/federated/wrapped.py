# SPDX-License-Identifier: Apache-2.0

"""A stage around another one: it is that one but for what it changes at the sites or in the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.stage import Halting, Stage
from sordino.federated.site import Site
from sordino.protocol.policy import Question


@dataclass(frozen=True)
class Wrapped:
    """All of it is the inner stage's."""

    inner: Stage[Any]

    @property
    def kind(self) -> str:
        """See `Stage`."""
        return self.inner.kind

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Stage`."""
        return self.inner.reads

    def question(self) -> Question:
        """See `Stage`."""
        return self.inner.question()

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """See `Stage`."""
        return self.inner.contribute(site, known)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """See `Stage`."""
        return self.inner.advance(state, total)

    def give_up(self, state: Arrays) -> Arrays:
        """See `Halting`: the inner one's, if it has any."""
        return self.inner.give_up(state) if isinstance(self.inner, Halting) else state
