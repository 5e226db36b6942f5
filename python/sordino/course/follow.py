# SPDX-License-Identifier: Apache-2.0

"""The course of one training: stages asked one after another, each sum made over whoever survives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from sordino.aggregation.base import Aggregate, Aggregator, Contribution, Step
from sordino.course.arrays import Arrays, unpack_arrays
from sordino.course.rows import Rows
from sordino.course.stage import Halting, Stage, body
from sordino.errors import Diverged, RoundAborted

ATTEMPTS = 3
"""How often one sum is asked for before the course gives up."""

STOPPED = "stopped"
"""Vector of a state that passes over the turns that `stops`: [the turn's number]."""

DIVERGED = "diverged"
"""Vector of a state in which it was divergence that stopped them."""

Schedule: TypeAlias = Callable[[str, int], Mapping[str, Step]]
"""Simulated losses, by kind and turn of the sum: site -> the first message that it no longer sends."""


def nobody_is_lost(_kind: str, _number: int) -> Mapping[str, Step]:
    """The schedule without losses."""
    return {}


Draw: TypeAlias = Callable[[str, int, Collection[str]], Collection[str]]
"""Who is asked for a sum, by its kind and turn, of all sites."""


def everybody(_kind: str, _number: int, sites: Collection[str]) -> Collection[str]:
    """All sites."""
    return sites


@dataclass(frozen=True)
class Turn:
    """One sum of the course: the stage that asks it, and which of that stage's sums it is, from 1 on.

    stops   whether it is passed over once the state holds `STOPPED`, so that the turns, and a place among
            them, stay the same however early training stops
    """

    stage: Stage[Any]
    number: int
    stops: bool = False


@dataclass(frozen=True)
class Summed:
    """A sum was made. `late` missed the deadline; `work` is each asked site's own seconds."""

    turn: Turn
    position: int
    state: Arrays
    total: Aggregate
    body: bytes
    contributions: Mapping[str, Contribution]
    late: tuple[str, ...] = ()
    work: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Aborted:
    """Too few sites survived; the sum is asked for again, in a new round, with the lost sites back."""

    turn: Turn
    lost: Mapping[str, Step]
    reason: str


@dataclass(frozen=True)
class Halted:
    """A site's own work left the range of the sum; `state` is the last good one and holds `STOPPED`."""

    turn: Turn
    position: int
    state: Arrays
    reason: str


Event: TypeAlias = Summed | Aborted | Halted


def course(*stages: tuple[Stage[Any], int]) -> tuple[Turn, ...]:
    """The sums in order, each stage as often as its number says."""
    return tuple(Turn(stage, number) for stage, times in stages for number in range(1, times + 1))


def follow(
    turns: Sequence[Turn],
    aggregator: Aggregator,
    sites: Mapping[str, Rows],
    state: Arrays,
    *,
    position: int = 0,
    draw: Draw = everybody,
    lose: Schedule = nobody_is_lost,
    deadline: float | None = None,
    keep: bool = True,
    notify: Callable[[Event], None] = lambda _: None,
) -> Arrays:
    """Make the sums from `position` on and return the last state.

    draw      who is asked for each sum; the same when it is asked for again
    deadline  seconds that a site may work on its answer; who takes longer is left out of that round
    keep      whether `Summed` holds what each site gave; rows of patients may be large
    notify    told of every sum, with the state after it, of every aborted round, and of a halt

    Raises `RoundAborted` if one sum fails `ATTEMPTS` times, saying why the last did, and what a site's own
    work raises; but `Diverged`, at a turn that stops, is a halt.
    """
    for place, turn in enumerate(turns[position:], start=position):
        if turn.stops and STOPPED in state:
            continue
        asked = {name: sites[name] for name in draw(turn.stage.kind, turn.number, sites)}
        for attempt in range(1, ATTEMPTS + 1):
            # A loss that is simulated for this sum is over when the sum is asked for again.
            simulated = lose(turn.stage.kind, turn.number) if attempt == 1 else {}
            lost = {name: step for name, step in simulated.items() if name in asked}
            answers = _Answers(turn.stage, asked, keep=keep or deadline is not None)
            question = body(turn.stage, state)
            late: tuple[str, ...] = ()
            try:
                if deadline is not None:
                    late = answers.later_than(deadline, question, left_out=lost)
                    lost |= dict.fromkeys(late, "upload")
                total = aggregator.aggregate(turn.stage.kind, question, answers.contributors(), lose=lost)
                advanced = turn.stage.advance(state, total)
            except Diverged as error:
                if not (turn.stops and isinstance(turn.stage, Halting)):
                    raise
                stopped = {STOPPED: np.array([float(turn.number)]), DIVERGED: np.ones(1)}
                state = {**turn.stage.give_up(state), **stopped}
                notify(Halted(turn, place, state, str(error)))
                break
            except RoundAborted as error:
                why = (
                    f"{error}; missed the deadline of {deadline:g} s: {', '.join(late)}"
                    if late
                    else str(error)
                )
                notify(Aborted(turn, lost, why))
                if attempt == ATTEMPTS:
                    what = f"{turn.stage.kind} {turn.number} was aborted {ATTEMPTS} times"
                    raise RoundAborted(f"{what}, the last time since {why}", peers=error.peers) from None
                continue
            state = advanced
            notify(Summed(turn, place, state, total, question, answers.given, late, answers.work))
            break
    return state


class _Answers:
    """The sites' own work for one question, done once for each site if it is kept, and how long it took."""

    def __init__(self, stage: Stage[Any], sites: Mapping[str, Rows], *, keep: bool) -> None:
        self._stage, self._sites, self._keep = stage, sites, keep
        self.given: dict[str, Contribution] = {}
        self.work: dict[str, float] = {}

    def contributors(self) -> dict[str, Callable[[bytes], Contribution]]:
        return {name: partial(self._answer, name) for name in self._sites}

    def later_than(
        self, deadline: float, question: bytes, *, left_out: Mapping[str, Step]
    ) -> tuple[str, ...]:
        """Who works longer than `deadline`, of those that are not lost before their upload anyway."""
        asked = [name for name in sorted(self._sites) if left_out.get(name) != "upload"]
        for name in asked:
            self._answer(name, question)
        return tuple(name for name in asked if self.work[name] > deadline)

    def _answer(self, name: str, question: bytes) -> Contribution:
        if name in self.given:
            return self.given[name]
        started = time.perf_counter()
        given = self._stage.contribute(self._sites[name], unpack_arrays(question))
        self.work[name] = time.perf_counter() - started
        if self._keep:
            self.given[name] = given
        return given
