# SPDX-License-Identifier: Apache-2.0

"""The interface behind which everything that is learnt by sums stands: scalers, algorithms, evaluation.

A stage says which question it asks, what a site answers from its own rows and the body of the question, and
what the coordinator makes of the sum. All that is known in common is a mapping of named float64 vectors, the
state; a site sees the part of it that the body carries, so that a site which missed rounds needs no memory.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays, pack_arrays
from sordino.course.rows import Rows
from sordino.protocol.policy import Question

SiteRows = TypeVar("SiteRows", bound=Rows, contravariant=True)


class Stage(Protocol[SiteRows]):
    """One kind of sum and its use; generic in what it needs of a site's rows."""

    @property
    def kind(self) -> str:
        """Name of the question, unique in a study's plan."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the vectors of the state that the sites need."""

    def question(self) -> Question:
        """The lanes that are asked for, their clips and resolutions."""

    def contribute(self, site: SiteRows, known: Arrays) -> Contribution:
        """A site's answer, from its own rows and the vectors that the body carried.

        Raises `ValueOutOfRange`, naming the site and the feature, for what does not fit the question.
        """

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The coordinator's next state; `state` itself is not changed.

        Raises `RoundAborted` for a sum that lacks whom it cannot do without; it is then asked for again.
        """


@runtime_checkable
class Halting(Protocol):
    """A stage that goes back to the last good state where a site's own work raises `Diverged`."""

    def give_up(self, state: Arrays) -> Arrays:
        """The state with what was best so far."""


def body(stage: Stage[Any], state: Arrays) -> bytes:
    """What the question carries to every site; vectors that the study does without are left out."""
    return pack_arrays(state, [name for name in stage.reads if name in state])
