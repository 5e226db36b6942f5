# SPDX-License-Identifier: Apache-2.0

"""Masked sums that a demo looks at: who vanishes, what is sent, and whether each equals the plain sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sordino.aggregation.base import Aggregate, Aggregator, Contributor, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.cli.progress import LOST
from sordino.course.simulated import summing
from sordino.errors import RoundAborted
from sordino.protocol.policy import Policy


@dataclass
class WatchedSums:
    """What is known of all sums that its aggregators made.

    say      takes a line when a site vanishes or a round is lost
    times    how often each kind of question was summed
    numbers  in the longest sum of that kind
    equal    sums that are the plain ones, bit for bit
    least    sites in any of them, by the policies
    sent     bytes of each site over all sums
    """

    say: Callable[[str], None]
    times: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    numbers: dict[str, int] = field(default_factory=dict)
    equal: int = 0
    least: int = 1 << 30
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def sums(self) -> int:
        """How many there were."""
        return sum(self.times.values())

    def aggregator(self, policy: Policy, sites: Sequence[str]) -> Aggregator:
        """One whose sums are watched."""
        return _Watching(self, policy, sites)


class _Watching(Aggregator):
    def __init__(self, watched: WatchedSums, policy: Policy, sites: Sequence[str]) -> None:
        self.policy, self.sites, self._watched = policy, tuple(sorted(sites)), watched
        watched.least = min(watched.least, policy.min_cohort)
        self._masked, self._plain = MaskedAggregator(policy, sites), summing("plain", policy, sites)

    def close(self) -> None:
        self._masked.close()

    def aggregate(
        self,
        kind: str,
        body: bytes,
        contributors: Mapping[str, Contributor],
        *,
        lose: Mapping[str, Step] | None = None,
    ) -> Aggregate:
        watched, lose = self._watched, lose or {}
        which = f"  {kind} {watched.times[kind] + 1}: "
        try:
            total = self._masked.aggregate(kind, body, contributors, lose=lose)
        except RoundAborted:
            watched.say(f"{which}{' and '.join(lose)} vanished: round lost, nothing revealed; asked again")
            raise
        for name in sorted(lose):
            watched.say(f"{which}{name} {LOST['confirm' if name in total.vanished else 'upload']}")
        plain = self._plain.aggregate(kind, body, contributors, lose=lose)
        watched.equal += np.array_equal(total.integers, plain.integers)
        watched.times[kind] += 1
        watched.numbers[kind] = max(watched.numbers.get(kind, 0), self.policy.question(kind).lanes)
        for name, traffic in total.traffic.items():
            watched.sent[name] += traffic.sent
        return total
