"""The coordinator's side of one study over a Flower grid: who is where, who is asked, who is waited for."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from sordino.adapters.flower.envelope import body_of, open_reply, seal_request
from sordino.errors import InvalidArgument, PeerError, RoundAborted, StateError
from sordino.files.durable import write_durably
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
from sordino.protocol.state import open_state, seal_state

STATE_VERSION = 1

_CLOSE_SECONDS = 15.0
_POLL_SECONDS = 0.1
_PUSHES = 5
_TOLD = 4
"""How many refusals are repeated where set-up failed."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


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
    nodes: dict[str, int]
    asked: list[tuple[str, int, int]]


class Session:
    """Sets up a session of `policy` over the nodes of a grid and makes its sums.

    answer_within   seconds that a site has for any message but a question
    directory       where the coordinator's state is kept, so that a later process can go on

    A node is whatever site it signs for; the grid's own identities count for nothing. Who does not answer has
    vanished, and is left out for as many rounds as it missed in a row. Where too few sites still know the
    session, the next round begins with a new one.
    """

    def __init__(
        self, grid: Grid, roster: Roster, policy: Policy, *, answer_within: float, directory: Path | None
    ) -> None:
        self._grid = grid
        self._roster = roster
        self._policy = policy
        self._answer_within = answer_within
        self._path = directory / "session.state" if directory is not None else None
        self._nodes: dict[str, int] = {}
        self._asked: Counter[tuple[str, int]] = Counter()
        self._coordinator: Coordinator | None = None
        self._lost_touch: set[str] = set()
        self._missed: Counter[str] = Counter()
        self._rests: Counter[str] = Counter()
        self._records = RecordDict()
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

    def sum(self, kind: str, records: RecordDict, nodes: Iterable[int], deadline: float) -> Result:
        """Ask the question `kind` with `records` at these nodes; their sites have `deadline` seconds.

        Where the policy freezes the participants, all of them are asked. Raises `RoundAborted` if there is no
        sum, and `StateError` where the directory cannot be written, before anything is asked.
        """
        coordinator = self.prepared()
        frozen = self._policy.across_rounds == "freeze"
        chosen = None if frozen else self._choose(coordinator, set(nodes))
        self._records, self._deadline = records, deadline
        before, started, number = self._exchanges, time.monotonic(), coordinator.round
        result, lost = None, ""
        try:
            coordinator.open_round(kind, body_of(records), chosen)
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
            self._records = RecordDict()
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

    def _choose(self, coordinator: Coordinator, nodes: set[int]) -> list[str]:
        """Who takes part: asked by the strategy, in touch, and not made to rest for what it missed."""
        asked = [name for name in self._in_touch(coordinator) if self._nodes[name] in nodes]
        resting = [name for name in asked if self._rests[name]]
        self._rests.subtract(resting)
        if len(asked) - len(resting) < self._policy.smallest_cohort:
            return asked
        return [name for name in asked if name not in resting]

    def _set_up(self) -> Coordinator:
        coordinator = Coordinator(self._roster, self._policy)
        self._nodes.clear()
        self._lost_touch.clear()
        self._missed.clear()
        self._rests.clear()
        self._refusals: list[str] = []
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

        A node may work on two messages side by side, and would then lose the state of one of them.
        """
        if self._coordinator is None or not requests:
            return []
        if (phase := self._coordinator.phase) == "advertise":
            return self._advertise(requests)
        upload = phase == "upload"
        kind = wire_kind(requests[0], len(self._roster)) if upload else self._policy.plan[0].kind
        records = self._records if upload else RecordDict()
        replies: list[Reply | None] = [None] * len(requests)
        for places in _turns(requests):
            messages = [
                Message(seal_request(requests[place].data, records), self._nodes[requests[place].site], kind)
                for place in places
            ]
            seconds = self._deadline if upload else self._answer_within
            for place, reply in zip(places, self._exchange(messages, seconds), strict=True):
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
        """Offer the session to every node there is, and take each for the site that it signs for."""
        until = time.monotonic() + self._answer_within
        while len(nodes := list(self._grid.get_node_ids())) < len(requests) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        offer = requests[0].data
        message = wire.read_at_site(offer, len(self._roster))
        if not isinstance(message, m.Offer):
            raise InvalidArgument("a session begins with an offer")
        kind = self._policy.plan[0].kind
        replies = self._exchange(
            [Message(seal_request(offer, {}), node, kind) for node in nodes], until - time.monotonic()
        )
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
        """The site that a node's advertisement is signed by; `PeerError` if there is none."""
        if reply is None:
            raise PeerError("no answer")
        answer = wire.read_at_coordinator(reply.data, len(self._roster))
        if isinstance(answer, m.Refusal):
            raise PeerError(f"site {answer.site!r} refused: {answer.reason}")
        if not isinstance(answer, m.Advertisement):
            raise PeerError(f"a {type(answer).__name__} in answer to an offer")
        check_advertisement(answer, offer.session_id, self._roster, self._policy)
        return answer.site

    def _refuse(self, node: int, reason: str) -> None:
        self._refusals.append(f"node {node}: {reason}")
        _log.warning("node %d has no part in the session: %s", node, reason)

    # Messages --------------------------------------------------------------------------------------------

    def _exchange(self, messages: list[Message], seconds: float) -> list[Reply | None]:
        """Send messages and wait for their answers; None for who does not answer in time, or cannot."""
        self._exchanges += 1
        places = {number: place for place, number in enumerate(self._push(messages)) if number is not None}
        until = time.monotonic() + seconds
        replies: list[Reply | None] = [None] * len(messages)
        while places:
            for answer in self._pull(list(places)):
                place = places.pop(answer.metadata.reply_to_message_id, None)
                if place is not None and answer.has_content():
                    replies[place] = open_reply(answer.content)
            if not places or time.monotonic() >= until:
                break
            time.sleep(_POLL_SECONDS)
        return replies

    def _push(self, messages: list[Message]) -> list[str | None]:
        """Hand messages to the SuperLink; a site that gets one twice gives the same answer twice."""
        for attempt in range(1, _PUSHES + 1):
            try:
                return list(self._grid.push_messages(messages))
            except (httpx.HTTPError, OSError) as error:
                if attempt == _PUSHES:
                    raise RoundAborted(f"the SuperLink takes no messages: {error}") from None
                _log.warning("messages are sent once more: %s", error)
                time.sleep(_POLL_SECONDS * 2**attempt)
        raise AssertionError

    def _pull(self, numbers: list[str]) -> list[Message]:
        try:
            return list(self._grid.pull_messages(numbers))
        except (httpx.HTTPError, OSError) as error:
            _log.warning("answers are asked for once more: %s", error)
            return []

    # Files -----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if self._path is None or self._coordinator is None:
            return
        asked = [(kind, size, times) for (kind, size), times in self._asked.items()]
        saved = msgspec.msgpack.encode(_Saved(self._coordinator.save(), self._nodes, asked))
        save(self._path, saved)

    def _load(self) -> None:
        if self._path is None or not self._path.exists():
            return
        saved = read(self._path, _Saved)
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


def save(path: Path, data: bytes) -> None:
    """Write a state; `StateError`, naming the file, where it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, seal_state(STATE_VERSION, data))
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from None


def read(path: Path, kind: type[T]) -> T:
    """Read what `save` wrote; `StateError`, naming the file, for anything else."""
    try:
        return msgspec.msgpack.decode(open_state(STATE_VERSION, path.read_bytes()), type=kind)
    except (OSError, msgspec.MsgspecError, StateError) as error:
        raise StateError(f"{path}: {error}") from None


def wire_kind(request: Request, sites: int) -> str:
    """The kind of question that an upload request asks."""
    message = wire.read_at_site(request.data, sites)
    return message.kind if isinstance(message, m.UploadRequest) else ""


def _nobody(_: Request) -> None:
    """`_each` asks all sites at once, so that no single one is."""
