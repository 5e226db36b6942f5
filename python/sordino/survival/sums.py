# SPDX-License-Identifier: Apache-2.0

"""The sums of a survival analysis: who makes them, over whom, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from sordino.aggregation.base import Aggregate
from sordino.course.arrays import Arrays
from sordino.course.follow import ATTEMPTS, Event, Schedule, Summed, Turn, follow, nobody_is_lost
from sordino.course.simulated import LEAST_SITES, Summing, summing
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument
from sordino.protocol.policy import AcrossRounds, plan_policy
from sordino.survival.rows import SurvivalRows


class Sums:
    """Asks stages of the sites, one after another; a context that closes its aggregator.

    sites          by name, three at least, all with the same columns
    stages         what may be asked, and how often
    aggregator     how sums are made, see `Summing`
    across_rounds  "freeze", all sums over the same survivors, or "accept", each over its own
    lose           simulated losses

    Raises `InvalidArgument` for an aggregator that is none.
    """

    def __init__(
        self,
        sites: Mapping[str, SurvivalRows],
        stages: Sequence[tuple[Stage[Any], int]],
        *,
        aggregator: Summing = "masked",
        across_rounds: AcrossRounds = "freeze",
        lose: Schedule = nobody_is_lost,
    ) -> None:
        self._sites, self._lose = sites, lose
        self._asked: Counter[str] = Counter()
        policy = plan_policy(
            study="survival",
            sites=len(sites),
            plan=[stage.question() for stage, _ in stages],
            across_rounds=across_rounds,
            rounds=ATTEMPTS * sum(times for _, times in stages),
        )
        self._aggregator = summing(aggregator, policy, tuple(sites))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._aggregator.close()

    def ask(self, state: Arrays, *stages: Stage[Any]) -> tuple[Arrays, Aggregate]:
        """The state after the sums of these stages, and the last of the sums."""
        seen: list[Aggregate] = []

        def note(event: Event) -> None:
            if isinstance(event, Summed):
                seen.append(event.total)

        for stage in stages:
            self._asked[stage.kind] += 1
            turn = Turn(stage, self._asked[stage.kind])
            state = follow(
                [turn], self._aggregator, self._sites, state, lose=self._lose, keep=False, notify=note
            )
        return state, seen[-1]


def columns_of(sites: Mapping[str, SurvivalRows]) -> tuple[str, ...]:
    """The columns that all sites have. Raises `InvalidArgument` for fewer than three sites, or others."""
    if len(sites) < LEAST_SITES:
        raise InvalidArgument(f"a secure sum needs three sites or more, got {len(sites)}")
    first, *others = sites.values()
    for other in others:
        if other.columns != first.columns:
            raise InvalidArgument(f"sites {first.name!r} and {other.name!r} have other columns")
    return first.columns


def bound_of(sites: Mapping[str, SurvivalRows], max_patients: int | None) -> int:
    """The public bound on a site's patients; None for the next power of two above the largest site's."""
    largest = max(len(rows.time) for rows in sites.values())
    if max_patients is None:
        return 1 << (largest - 1).bit_length()
    if not largest <= max_patients:
        raise InvalidArgument(f"a site has {largest} patients, max_patients allows {max_patients}")
    return max_patients
