# SPDX-License-Identifier: Apache-2.0

"""Several stages in one sum, so that all they tell is about the same patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.course.stage import Stage
from sordino.protocol.policy import Block, Question


class Statistic(Stage[Rows], Protocol):
    """A stage of weight 1 whose blocks may stand in a question with others."""

    def blocks(self) -> tuple[Block, ...]:
        """Its lanes; the names are its own."""


@dataclass(frozen=True)
class Together:
    """One question with the blocks of all `statistics`; each makes of the sum what it would by itself."""

    statistics: tuple[Statistic, ...]

    kind = "description"

    @property
    def reads(self) -> tuple[str, ...]:
        """What any of them reads."""
        return tuple(dict.fromkeys(name for one in self.statistics for name in one.reads))

    def question(self) -> Question:
        """All blocks."""
        blocks = tuple(block for one in self.statistics for block in one.blocks())
        return Question(kind=self.kind, blocks=blocks)

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """All values."""
        given = [one.contribute(site, known).values for one in self.statistics]
        return Contribution({name: values for each in given for name, values in each.items()})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """One after another."""
        for one in self.statistics:
            state = one.advance(state, total)
        return state
