# SPDX-License-Identifier: Apache-2.0

"""The coordinator's side of one study over an engine: who is where, who is asked, who is waited for."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from sordino.adapters.state_file import read_state, write_state
from sordino.aggregation.base import Aggregate
from sordino.aggregation.ends import read_total
from sordino.errors import InvalidArgument, PeerError, RoundAborted, StateError
from sordino.privacy.accountant import Guarantee
from sordino.privacy.cost import cost
from sordino.privacy.events import Release
from sordino.privacy.mechanisms import release_of
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator, Request, Result
from sordino.protocol.enrolment import check_advertisement
from sordino.protocol.exchange import finish_round, set_up
from sordino.protocol.journal import Reply
from sordino.protocol.keys import Roster
from sordino.protocol.policy import Policy

_CLOSE_SECONDS = 15.0
_POLL_SECONDS = 0.1
_TOLD = 4
"""How many refusals are repeated where set-up failed."""

_log = logging.getLogger(__name__)

Node: TypeAlias = int | str
"""What an engine calls one of its clients."""


class Line(Protocol):
    """How messages get to an engine's clients and back."""

    def nodes(self) -> list[Node]:
        """The clients that there are now."""

    def exchange(self, requests: Sequence[tuple[Node, Request]], seconds: float) -> list[Reply | None]:
        """Ask all at once; the answers in order, None for a client that gave none in time, or none at all."""


@dataclass(frozen=True)
class Round:
    """What became of one question: its sum, or why it has none.

    number      the session's round
    exchanges   how often messages went to the sites and back
    lost        why there is no sum; empty if there is one
    """

    kind: str
    number: int
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    vanished: tuple[str, ...]
    exchanges: int
    seconds: float
    lost: str = ""


class _Saved(msgspec.Struct):
    coordinator: bytes
    nodes: dict[str, Node]
    asked: list[tuple[str, int, int]]


class Session:
    """Sets up a session of `policy` over an engine's clients and makes its sums.

    answer_within   seconds that a site has for any message but a question
    directory       where the coordinator's state is kept, so that a later process can go on

    A client is whatever site it signs for; the engine's own identities count for nothing. Who does not answer
    has vanished, and is left out for as many rounds as it missed in a row. Where too few sites still know the
    session, the next round begins with a new one.
    """

    def __init__(
        self, line: Line, roster: Roster, policy: Policy, *, answer_within: float, directory: Path | None
    ) -> None:
        self._line = line
        self._roster = roster
        self._policy = policy
        self._answer_within = answer_within
        self._path = directory / "session.state" if directory is not None else None
        self._nodes: dict[str, Node] = {}
        self._asked: Counter[tuple[str, int]] = Counter()
        self._coordinator: Coordinator | None = None
        self._lost_touch: set[str] = set()
        self._missed: Counter[str] = Counter()
        self._rests: Counter[str] = Counter()
        self._refusals: list[str] = []
        self._deadline = answer_within
        self._exchanges = 0
        self.rounds: list[Round] = []
        self._load()

    def guarantee(self, delta: float) -> Guarantee:
        """What all questions so far cost together, those without a sum included."""
        released: Counter[Release] = Counter()
        for (kind, participants), times in self._asked.items():
            released[release_of(self._policy, self._policy.question(kind), participants)] += times
        return cost(released, delta)

    def aggregate(
        self,
        kind: str,
        body: bytes,
        deadline: float,
        *,
        nodes: Iterable[Node] | None = None,
        attempts: int = 1,
    ) -> Aggregate:
        """Ask the question `kind` with `body`, `attempts` times in all while rounds are lost.

        deadline    seconds that a site has for its answer
        nodes       who is asked; by default everybody, as where the policy freezes the participants

        Raises `RoundAborted` if there is no sum, and `StateError` where the directory cannot be written,
        before anything is asked.
        """
        asked = None if nodes is None else set(nodes)
        for _ in range(attempts - 1):
            try:
                result = self._sum(kind, body, deadline, asked)
                break
            except RoundAborted as error:
                _log.warning("a round was lost: %s", error)
        else:
            result = self._sum(kind, body, deadline, asked)
        total = read_total(self._policy, result)
        return Aggregate(
            round=result.round,
            sums=total.sums,
            weights=total.weights,
            integers=total.integers,
            survivors=result.survivors,
            dropped=dict.fromkeys(result.dropped, "upload"),
            vanished=result.vanished,
            noise=total.noise,
        )

    def _sum(self, kind: str, body: bytes, deadline: float, nodes: set[Node] | None) -> Result:
        coordinator = self.prepared()
        frozen = self._policy.across_rounds == "freeze"
        chosen = None if frozen else self._choose(coordinator, nodes)
        self._deadline = deadline
        before, started, number = self._exchanges, time.monotonic(), coordinator.round
        result, lost = None, ""
        try:
            coordinator.open_round(kind, body, chosen)
            number = coordinator.round
            self._asked[kind, len(coordinator.requests())] += 1
            self._save()
            result = finish_round(coordinator, _nobody, self._each)
            return result
        except RoundAborted as error:
            lost = str(error)
            raise
        finally:
            self.rounds.append(
                Round(
                    kind=kind,
                    number=number,
                    survivors=result.survivors if result else (),
                    dropped=result.dropped if result else (),
                    vanished=result.vanished if result else (),
                    exchanges=self._exchanges - before,
                    seconds=time.monotonic() - started,
                    lost=lost,
                )
            )
            self._save()

    def prepared(self) -> Coordinator:
        """The coordinator of a session that enough sites are in, set up anew where there is none.

        Raises `RoundAborted` if too few sites come to it within `answer_within` seconds.
        """
        coordinator = self._coordinator
        if coordinator is None or len(self._in_touch(coordinator)) < self._policy.smallest_cohort:
            coordinator = self._set_up()
        return coordinator

    def close(self) -> None:
        """Have every site wipe the session's keys; who does not answer soon keeps them."""
        if self._coordinator is not None:
            self._answer_within = min(self._answer_within, _CLOSE_SECONDS)
            self._each(_nobody, self._coordinator.close_requests(final=True))
            self._coordinator = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    # Sites -----------------------------------------------------------------------------------------------

    def _in_touch(self, coordinator: Coordinator) -> list[str]:
        return [name for name in coordinator.able() if name not in self._lost_touch]

    def _choose(self, coordinator: Coordinator, nodes: set[Node] | None) -> list[str]:
        """Who takes part: asked for, in touch, and not made to rest for what it missed."""
        asked = [name for name in self._in_touch(coordinator) if nodes is None or self._nodes[name] in nodes]
        resting = [name for name in asked if self._rests[name]]
        self._rests.subtract(resting)
        if len(asked) - len(resting) < self._policy.smallest_cohort:
            return asked
        return [name for name in asked if name not in resting]

    def _set_up(self) -> Coordinator:
        coordinator = Coordinator(self._roster, self._policy)
        for forgotten in (self._nodes, self._lost_touch, self._missed, self._rests, self._refusals):
            forgotten.clear()
        self._coordinator = coordinator
        try:
            set_up(coordinator, _nobody, self._each)
        except RoundAborted as error:
            self._coordinator = None
            told = "; ".join(self._refusals[:_TOLD])
            raise RoundAborted(f"{error}{'; ' if told else ''}{told}", peers=error.peers) from None
        if left_out := sorted(set(self._roster.names) - set(coordinator.able())):
            _log.warning("the session goes without %s", left_out)
        self._save()
        return coordinator

    def _each(self, _: object, requests: Sequence[Request]) -> list[Reply | None]:
        """Ask all sites at once, each for one thing at a time; the answers come in the order of the requests.

        A client may work on two messages side by side, and would then lose the state of one of them.
        """
        if self._coordinator is None or not requests:
            return []
        if (phase := self._coordinator.phase) == "advertise":
            return self._advertise(requests)
        upload = phase == "upload"
        replies: list[Reply | None] = [None] * len(requests)
        for places in _turns(requests):
            self._exchanges += 1
            asked = [(self._nodes[requests[place].site], requests[place]) for place in places]
            seconds = self._deadline if upload else self._answer_within
            for place, reply in zip(places, self._line.exchange(asked, seconds), strict=True):
                self._watch(requests[place].site, reply, upload=upload)
                replies[place] = reply
        return replies

    def _watch(self, name: str, reply: Reply | None, *, upload: bool) -> None:
        """Keep in mind who is silent, and who has lost the session."""
        if reply is None:
            self._missed[name] += 1
            self._rests[name] = self._missed[name]
        elif upload:
            self._missed[name] = 0
            if self._is_stranger(reply):
                self._lost_touch.add(name)

    def _is_stranger(self, reply: Reply) -> bool:
        """Whether a site refuses because it knows nothing of the session."""
        try:
            message = wire.read_at_coordinator(reply.data, len(self._roster))
        except PeerError:
            return False
        return isinstance(message, m.Refusal) and not message.session

    def _advertise(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Offer the session to every client there is, and take each for the site that it signs for."""
        until = time.monotonic() + self._answer_within
        while len(nodes := self._line.nodes()) < len(requests) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        offer = requests[0]
        message = wire.read_at_site(offer.data, len(self._roster))
        if not isinstance(message, m.Offer):
            raise InvalidArgument("a session begins with an offer")
        self._exchanges += 1
        replies = self._line.exchange([(node, offer) for node in nodes], self._answer_within)
        found: dict[str, Reply] = {}
        for node, reply in zip(nodes, replies, strict=True):
            try:
                name = self._signed_name(reply, message)
            except PeerError as error:
                self._refuse(node, str(error))
                continue
            if name in found:
                self._refuse(node, f"another node is site {name!r} already")
            elif reply is not None:
                found[name], self._nodes[name] = reply, node
        return [found.get(request.site) for request in requests]

    def _signed_name(self, reply: Reply | None, offer: m.Offer) -> str:
        """The site that a client's advertisement is signed by; `PeerError` if there is none."""
        if reply is None:
            raise PeerError("no answer")
        answer = wire.read_at_coordinator(reply.data, len(self._roster))
        if isinstance(answer, m.Refusal):
            raise PeerError(f"site {answer.site!r} refused: {answer.reason}")
        if not isinstance(answer, m.Advertisement):
            raise PeerError(f"a {type(answer).__name__} in answer to an offer")
        check_advertisement(answer, offer.session_id, self._roster, self._policy)
        return answer.site

    def _refuse(self, node: Node, reason: str) -> None:
        self._refusals.append(f"node {node}: {reason}")
        _log.warning("node %s has no part in the session: %s", node, reason)

    # Files -----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if self._path is None or self._coordinator is None:
            return
        asked = [(kind, size, times) for (kind, size), times in self._asked.items()]
        write_state(self._path, _Saved(self._coordinator.save(), self._nodes, asked))

    def _load(self) -> None:
        if self._path is None or not self._path.exists():
            return
        saved = read_state(self._path, _Saved)
        coordinator = Coordinator.load(self._roster, saved.coordinator)
        self._asked.update({(kind, size): times for kind, size, times in saved.asked})
        if coordinator.policy != self._policy:
            raise StateError(f"{self._path} holds a session under another policy")
        self._coordinator, self._nodes = coordinator, saved.nodes


def _turns(requests: Sequence[Request]) -> list[list[int]]:
    """The places of the first request to each site, then of the second, and so on."""
    turns: list[list[int]] = []
    asked: Counter[str] = Counter()
    for place, request in enumerate(requests):
        if asked[request.site] == len(turns):
            turns.append([])
        turns[asked[request.site]].append(place)
        asked[request.site] += 1
    return turns


def _nobody(_: Request) -> None:
    """`_each` asks all sites at once, so that no single one is."""
