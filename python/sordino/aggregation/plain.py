# SPDX-License-Identifier: Apache-2.0

"""Sums in the clear, for comparison only: whoever runs this sees every site's values."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence

from sordino import _core
from sordino.aggregation.base import Traffic
from sordino.aggregation.simulated import SimulatedAggregator
from sordino.protocol.lanes import Lanes, empty_lanes
from sordino.protocol.policy import Policy, Question


class PlainSumWarning(UserWarning):
    """No mask: the coordinator of a plain sum sees every site's values."""


class PlainAggregator(SimulatedAggregator):
    """The same fixed-point sum over the same survivors as `masked`, with nothing hidden from anyone.

    Warns with `PlainSumWarning`. The rest is as in `SimulatedAggregator`.
    """

    def __init__(
        self,
        policy: Policy,
        sites: Sequence[str],
        *,
        groups: Mapping[str, Collection[str]] | None = None,
        schemas: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(policy, sites, groups=groups, schemas=schemas)
        warnings.warn(
            "plain sums hide nothing: the coordinator sees every site's values", PlainSumWarning, stacklevel=2
        )

    def close(self) -> None:
        """Nothing is held."""

    def _sum(
        self, question: Question, body: bytes, given: Iterable[tuple[str, Lanes]], _openers: Sequence[str]
    ) -> tuple[Lanes, Mapping[str, Traffic]]:
        total = empty_lanes(question.lanes, self.policy.bits)
        traffic = {}
        sent = _core.packed_size(question.lanes, self.policy.bits)
        for name, lanes in given:
            total += lanes
            traffic[name] = Traffic(sent=sent, received=len(body))
        return total, traffic
