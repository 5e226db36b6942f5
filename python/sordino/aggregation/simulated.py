# SPDX-License-Identifier: Apache-2.0

"""What aggregators without masks have in common: who is in a sum, by the rules of the secure one."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence

from sordino.aggregation.base import Aggregate, Aggregator, Contributor, Step, Traffic, check_lose
from sordino.aggregation.lanes import decode_sums, encode_contribution
from sordino.aggregation.vector import ONLY_EVERYONE
from sordino.errors import InvalidArgument, PolicyRefused, RoundAborted
from sordino.protocol.groups import planned_groups, thin_group
from sordino.protocol.lanes import Lanes
from sordino.protocol.policy import Policy, Question


class SimulatedAggregator(Aggregator):
    """Sums over the survivors that `MaskedAggregator` has, so that a study runs alike whatever adds up.

    `groups` names the lane groups of each site (default: only "all"). Raises `InvalidArgument` for a policy
    whose sums carry noise, since these would leave it out.
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
            raise InvalidArgument(f"{self.adds} sums have no noise, and the policy says that its sums do")
        for name, schema in (schemas or {}).items():
            if policy.schema and schema != policy.schema:
                raise PolicyRefused(f"site {name!r} has data of another schema than the study")
        self.policy = policy
        self.sites = tuple(sorted(sites))
        self._groups = {name: ONLY_EVERYONE | set((groups or {}).get(name, ())) for name in self.sites}
        self._round = 0
        self._frozen: tuple[str, ...] | None = None

    adds = "plain"
    """What kind of sums these are, for messages."""

    @abstractmethod
    def _sum(
        self, question: Question, body: bytes, given: Iterable[tuple[str, Lanes]], openers: Sequence[str]
    ) -> tuple[Lanes, Mapping[str, Traffic]]:
        """The sum of the lanes that each survivor gives, one after another, and its bytes by site.

        `openers` are the survivors that are still there when the sum is opened.
        """

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
        if self._frozen is not None:  # the first sum fixed its sites
            contributors = {name: contributors[name] for name in self._frozen if name in contributors}
        dropped = {
            name: step
            for name, step in sorted(lose.items())
            if name in contributors and step not in ("confirm", "unmask", "recover")
        }
        survivors = tuple(sorted(set(contributors) - set(dropped)))
        if self._frozen not in (None, survivors):
            raise RoundAborted(f"the first sum fixed its sites, {', '.join(self._frozen or ())}")
        if len(dropped) > (tolerated := self.policy.tolerated(len(contributors))):
            raise RoundAborted(
                f"{len(dropped)} of {len(contributors)} sites dropped out, {max(tolerated, 0)} are tolerated",
                peers=tuple(dropped),
            )
        vanished = tuple(name for name in survivors if lose.get(name) in ("confirm", "unmask"))
        self._check_helpers(survivors, vanished, lose)
        if reason := thin_group(planned_groups(self.policy), self._groups, survivors, self.policy.min_cohort):
            raise RoundAborted(reason)
        given = (
            (
                name,
                encode_contribution(question, contributors[name](body), bits=bits, groups=self._groups[name]),
            )
            for name in survivors
        )
        total, traffic = self._sum(question, body, given, [name for name in survivors if name not in lose])
        if self.policy.across_rounds == "freeze":
            self._frozen = survivors
        sums, weights, integers = decode_sums(question, total, bits=bits)
        return Aggregate(
            round=self._round,
            sums=sums,
            weights=weights,
            integers=integers,
            survivors=survivors,
            dropped=dropped,
            vanished=vanished,
            traffic=traffic,
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
