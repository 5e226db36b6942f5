"""Sums in the clear, for comparison only: whoever runs this sees every site's values."""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Mapping, Sequence

from sordino import _core
from sordino.aggregation.base import Aggregate, Aggregator, Contributor, Step, Traffic, check_lose
from sordino.aggregation.lanes import decode_sums, encode_contribution
from sordino.aggregation.vector import ONLY_EVERYONE
from sordino.errors import InvalidArgument, PolicyRefused, RoundAborted
from sordino.protocol.groups import planned_groups, thin_group
from sordino.protocol.lanes import empty_lanes
from sordino.protocol.policy import Policy


class PlainSumWarning(UserWarning):
    """No mask: the coordinator of a plain sum sees every site's values."""


class PlainAggregator(Aggregator):
    """The same fixed-point sum over the same survivors as `masked`, with nothing hidden from anyone.

    Warns with `PlainSumWarning`. `groups` names the lane groups of each site (default: only "all"). Raises
    `InvalidArgument` for a policy whose sums carry noise, since plain sums would leave it out.
    """

    def __init__(
        self,
        policy: Policy,
        sites: Sequence[str],
        *,
        groups: Mapping[str, Collection[str]] | None = None,
        schemas: Mapping[str, bytes] | None = None,
    ) -> None:
        if len(sites) != policy.sites or len(set(sites)) != policy.sites:
            raise InvalidArgument(f"sites must be {policy.sites} distinct names, got {list(sites)}")
        if any(question.noise is not None and question.noise.sigma for question in policy.plan):
            raise InvalidArgument("plain sums have no noise, and the policy says that its sums do")
        for name, schema in (schemas or {}).items():
            if policy.schema and schema != policy.schema:
                raise PolicyRefused(f"site {name!r} has data of another schema than the study")
        warnings.warn(
            "plain sums hide nothing: the coordinator sees every site's values", PlainSumWarning, stacklevel=2
        )
        self.policy = policy
        self.sites = tuple(sorted(sites))
        self._groups = {name: ONLY_EVERYONE | set((groups or {}).get(name, ())) for name in self.sites}
        self._round = 0

    def close(self) -> None:
        """Nothing is held."""

    def aggregate(
        self,
        kind: str,
        body: bytes,
        contributors: Mapping[str, Contributor],
        *,
        lose: Mapping[str, Step] | None = None,
    ) -> Aggregate:
        """Add up what the survivors contribute; see `Aggregator.aggregate`."""
        started = time.perf_counter()
        question, bits = self.policy.question(kind), self.policy.bits
        if unknown := sorted(set(contributors) - set(self.sites)):
            raise InvalidArgument(f"contributors name sites outside the roster: {unknown}")
        lose = lose or {}
        check_lose(lose, self.sites)
        self._round += 1
        dropped = {
            name: step
            for name, step in sorted(lose.items())
            if name in contributors and step not in ("confirm", "unmask", "recover")
        }
        survivors = tuple(sorted(set(contributors) - set(dropped)))
        if len(dropped) > (tolerated := self.policy.tolerated(len(contributors))):
            raise RoundAborted(
                f"{len(dropped)} of {len(contributors)} sites dropped out, {max(tolerated, 0)} are tolerated",
                peers=tuple(dropped),
            )
        vanished = tuple(name for name in survivors if lose.get(name) in ("confirm", "unmask"))
        self._check_helpers(survivors, vanished, lose)
        if reason := thin_group(planned_groups(self.policy), self._groups, survivors, self.policy.min_cohort):
            raise RoundAborted(reason)
        total = empty_lanes(question.lanes, bits)
        for name in survivors:
            contribution = contributors[name](body)
            total += encode_contribution(question, contribution, bits=bits, groups=self._groups[name])
        sums, weights, integers = decode_sums(question, total, bits=bits)
        sent = _core.packed_size(question.lanes, bits)
        return Aggregate(
            round=self._round,
            sums=sums,
            weights=weights,
            integers=integers,
            survivors=survivors,
            dropped=dropped,
            vanished=vanished,
            traffic={name: Traffic(sent=sent, received=len(body)) for name in survivors},
            seconds=time.perf_counter() - started,
        )

    def _check_helpers(
        self, survivors: Sequence[str], vanished: Sequence[str], lose: Mapping[str, Step]
    ) -> None:
        """Raise `RoundAborted` where too few remain to confirm the survivors or to rebuild who vanished."""
        needed = self.policy.threshold
        confirming = sum(lose.get(name) != "confirm" for name in survivors)
        if self.policy.consistency and confirming < needed:
            raise RoundAborted(f"{confirming} sites confirmed the survivors, {needed} are needed")
        helping = sum(name not in lose for name in survivors)
        if vanished and helping < needed:
            raise RoundAborted(f"{helping} sites gave shares, {needed} are needed", peers=tuple(vanished))
