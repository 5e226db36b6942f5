# SPDX-License-Identifier: Apache-2.0

"""A whole study in one process whose every message the test sees, and may alter, drop, repeat or invent.

The test holds all identities, so that it can sign lies in the name of a colluding site.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from msgspec.structs import replace

from sordino.aggregation.masked import SIMULATION_FLOOR
from sordino.errors import BudgetExceeded, PeerError, SordinoError, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator, Request, Result
from sordino.protocol.exchange import run_phase, set_up
from sordino.protocol.journal import Journal, MemoryJournal, Reply
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.lanes import Lanes, empty_lanes
from sordino.protocol.noise import Guard
from sordino.protocol.policy import Block, Floor, Policy, Question, plan_policy
from sordino.protocol.secret import Secret
from sordino.protocol.site import Site
from sordino.protocol.transcript import body_digest

FLOOR = Floor(
    min_colluders=0,
    across_rounds=("freeze", "accept", "noise"),
    semi_honest=True,
    max_rounds=1_000_000,
    max_lanes=2**40,
)
assert FLOOR.across_rounds == SIMULATION_FLOOR.across_rounds

STEPS = ("advertise", "seal", "receipt", "upload", "confirm", "unmask", "recover")

Alter: TypeAlias = Callable[[Request, Reply], Reply | None]
M = TypeVar("M", bound=m.Message)


class Exchange(NamedTuple):
    """One request and what came back, as it was on the wire."""

    phase: str
    request: Request
    reply: Reply


def site_names(count: int) -> tuple[str, ...]:
    return tuple(f"site{place:02}" for place in range(count))


def question(length: int = 6, *, kind: str = "sum", clip: float = 1000.0, **terms: Any) -> Question:
    terms.setdefault("max_weight", 1)
    return Question(kind=kind, blocks=(Block("vector", length, clip, 0),), **terms)


def make_policy(sites: int = 6, **terms: Any) -> Policy:
    """Six sites by default, of which one may collude: t = 4, so two dropouts are tolerated."""
    terms.setdefault("plan", [question()])
    terms.setdefault("across_rounds", "accept")
    terms.setdefault("rounds", 50)
    terms.setdefault("colluders", 1 if sites < 9 else None)
    return plan_policy(study="test", sites=sites, **terms)


def sparse_policy(sites: int = 24, **terms: Any) -> Policy:
    """On a graph with 6 neighbours, of which 3 rebuild: two sites may collude, two be missing."""
    terms.setdefault("colluders", 2)
    terms.setdefault("max_dropouts", 2)
    return make_policy(sites, graph="sparse", consistency=False, **terms)


@functools.cache
def identity(name: str) -> Identity:
    return Identity.from_secret(name, hashlib.sha256(name.encode()).digest())


def roster_of(names: Sequence[str]) -> Roster:
    return Roster({name: identity(name).public_key for name in names})


def read(data: bytes, kind: type[M], sites: int = 100) -> M:
    """A message from either side, of the kind that is expected."""
    reader = wire.read_at_site if kind in m.ToSite.__args__ else wire.read_at_coordinator
    message = reader(data, sites)
    assert isinstance(message, kind), f"{type(message).__name__} instead of {kind.__name__}: {message}"
    return message


def altered(reply: Reply, kind: type[M], change: Callable[[M], m.Message]) -> Reply:
    """The same answer with its message changed; other kinds of message pass as they are."""
    message = wire.read_at_coordinator(reply.data, 100)
    if not isinstance(message, kind):
        return reply
    return Reply(wire.to_bytes(change(message)), reply.payload)


class Study:
    """Sites, journals and a coordinator, and the log of all that went over the wire."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        floor: Floor = FLOOR,
        groups: Mapping[str, Sequence[str]] | None = None,
        journals: Callable[[str], Journal] | None = None,
        shared: Study | None = None,
        dataset: str = "default",
        guard: Guard | None = None,
        entropy: Callable[[str], Callable[[int], bytes]] | None = None,
    ) -> None:
        """`shared` lends its journals, for a second session of the same sites."""
        self.policy = policy or make_policy()
        self.names = site_names(self.policy.sites)
        self.roster = roster_of(self.names)
        self.floor = floor
        self.groups = dict(groups or {})
        self.dataset = dataset
        make = journals or (lambda _: MemoryJournal())
        self.journals: dict[str, Journal] = (
            shared.journals if shared is not None else {name: make(name) for name in self.names}
        )
        self._guard = guard
        self._entropy = entropy
        self.sites = {name: self.new_site(name) for name in self.names}
        extra = {} if entropy is None else {"entropy": entropy("coordinator")}
        self.coordinator = Coordinator(self.roster, self.policy, **extra)
        self.log: list[Exchange] = []
        self.links: dict[str, bytes] = {}
        self.kept: dict[str, bytes] = {}
        self.vectors = {name: self._vector(place) for place, name in enumerate(self.names)}

    def _vector(self, place: int) -> Lanes:
        lanes = empty_lanes(self.policy.plan[0].lanes, self.policy.bits)
        lanes[:] = [(7 * place + 3 * lane + 1) % 1000 for lane in range(len(lanes))]
        lanes[-1] = 1
        return lanes

    def new_site(self, name: str, state: bytes | None = None) -> Site:
        """A site as a new process has it: the same journal, and a saved state if one is given."""
        extra = {} if self._entropy is None else {"entropy": self._entropy(name)}
        site = Site(
            identity(name),
            self.roster,
            self.floor,
            self.journals[name],
            dataset=self.dataset,
            groups=self.groups.get(name, ()),
            guard=self._guard,
            **extra,
        )
        if state is not None:
            site.load(state)
        return site

    # Delivering ------

    def deliver(self, name: str, message: m.Message | bytes, body: bytes = b"") -> Reply:
        """Hand a request to a site; what it raises passes through."""
        data = message if isinstance(message, bytes) else wire.to_bytes(message)
        site, phase = self.sites[name], self.coordinator.phase
        try:
            if isinstance(wire.read_at_site(data, len(self.names)), m.UploadRequest):
                reply = self.upload(site, data, body)
            else:
                reply = Reply(site.handle(data))
        except SordinoError as error:
            with suppress(SordinoError):
                self.log.append(Exchange(phase, Request(name, data, body), Reply(site.refusal(error))))
            raise
        self.log.append(Exchange(phase, Request(name, data, body), reply))
        return reply

    def upload(self, site: Site, data: bytes, body: bytes) -> Reply:
        site.begin(data, body)
        link = None
        if self.policy.chain:
            self.links[site.name] = hashlib.sha256(b"link " + site.name.encode() + data).digest()
            link = Secret(self.links[site.name])
        return site.upload(data, body, self.vectors[site.name].copy(), link=link)

    def ask(self, request: Request) -> Reply:
        """Deliver, and turn an error into the refusal that a site sends."""
        try:
            return self.deliver(request.site, request.data, request.body)
        except (PeerError, StateError, BudgetExceeded) as error:
            return Reply(self.sites[request.site].refusal(error))

    def phase(self, *, lose: Sequence[str] = (), alter: Alter | None = None) -> str:
        """One phase, without the sites in `lose`, and with answers altered on their way."""

        def ask(request: Request) -> Reply | None:
            if request.site in lose:
                return None
            reply = self.ask(request)
            return reply if alter is None else alter(request, reply)

        return run_phase(self.coordinator, ask)

    def to(
        self,
        phase: str,
        *,
        lose: Mapping[str, str] | None = None,
        alter: Alter | None = None,
        body: bytes = b"",
        participants: Sequence[str] | None = None,
    ) -> Study:
        """Go on until the coordinator is at `phase`; a round is opened where there is none.

        lose    site -> the first message that it no longer sends (set-up, or this round)
        """
        lose = lose or {}
        if self.coordinator.phase == phase and phase != "done":
            return self
        if self.coordinator.phase in ("ready", "done"):
            self.coordinator.open_round(self.policy.plan[0].kind, body, participants)
        while self.coordinator.phase != phase:
            if self.coordinator.phase == "ready":
                self.coordinator.open_round(self.policy.plan[0].kind, body, participants)
                continue
            now = STEPS.index(self.coordinator.phase)
            gone = [name for name, step in lose.items() if STEPS.index(step) <= now]
            self.phase(lose=gone, alter=alter)
        return self

    def set_up(self, *, lose: Mapping[str, str] | None = None, alter: Alter | None = None) -> Study:
        return self.to("ready", lose=lose, alter=alter)

    def round(
        self,
        *,
        lose: Mapping[str, str] | None = None,
        alter: Alter | None = None,
        body: bytes = b"",
        participants: Sequence[str] | None = None,
    ) -> Result:
        """A whole round; its sum is checked against the survivors' plain sum."""
        self.to("done", lose=lose, alter=alter, body=body, participants=participants)
        result = self.coordinator.result
        self.check_sum(result)
        return result

    def check_sum(self, result: Result) -> None:
        assert result.lanes.tolist() == self.plain_sum(result.survivors).tolist()

    def plain_sum(self, survivors: Sequence[str]) -> Lanes:
        total = empty_lanes(self.policy.plan[0].lanes, self.policy.bits)
        for name in survivors:
            total += self.vectors[name]
        total &= total.dtype.type(2**self.policy.bits - 1)
        return total

    # Looking ---------

    def requests(self) -> dict[str, Request]:
        return {request.site: request for request in self.coordinator.requests()}

    def answers(self, since: int = 0) -> list[m.ToCoordinator]:
        """All that sites have sent since the log had this length."""
        sent = self.log[since:]
        return [wire.read_at_coordinator(exchange.reply.data, len(self.names)) for exchange in sent]

    def replies(self, kind: type[M]) -> dict[str, M]:
        """The last message of this kind that each site sent."""
        found: dict[str, M] = {}
        for exchange in self.log:
            message = wire.read_at_coordinator(exchange.reply.data, len(self.names))
            if isinstance(message, kind):
                found[exchange.request.site] = message
        return found

    def request(self, kind: type[M], name: str) -> M:
        """The last request of this kind that a site was sent."""
        for exchange in reversed(self.log):
            message = wire.read_at_site(exchange.request.data, len(self.names))
            if exchange.request.site == name and isinstance(message, kind):
                return message
        raise AssertionError(f"{name} was sent no {kind.__name__}")

    def fingerprint(self, name: str) -> tuple[object, ...]:
        """All that a refused request must leave as it was: state, journal, and what the refusal tells."""
        site = self.sites[name]
        with self.journals[name].open() as book:
            journal = (book.index.length, book.index.head)
        return (site.save() if site.state is not None else b"", *journal)

    @contextmanager
    def nothing_changes(self, *names: str) -> Iterator[None]:
        """No site's state or journal differs afterwards, and no site has answered anything."""
        watched = names or self.names
        before = {name: self.fingerprint(name) for name in watched}
        said = len(self.log)
        yield
        assert {name: self.fingerprint(name) for name in watched} == before
        for exchange in self.log[said:]:
            if exchange.request.site in watched:
                read(exchange.reply.data, m.Refusal)

    # Inventing -------

    @property
    def session(self) -> bytes:
        state = next(site.state for site in self.sites.values() if site.state is not None)
        return state.session

    def statement(self, names: Sequence[str] | None = None, **changes: Any) -> m.Statement:
        """What an honest coordinator would state, or with `names` as survivors, or otherwise changed."""
        uploads = self.replies(m.Upload)
        some = next(iter(uploads.values())).summary
        survivors = sorted(uploads) if names is None else names
        statement = m.Statement(
            session=some.session,
            policy=self.policy.digest,
            round=some.round,
            question=some.question,
            cohort=some.cohort,
            survivors=tuple(
                m.Survivor(name, uploads[name].summary.digest if name in uploads else bytes(32))
                for name in survivors
            ),
        )
        return replace(statement, **changes)

    def certificate(self, statement: m.Statement, signers: Sequence[str] | None = None) -> m.Certificate:
        """Signed by whom the test says; by default, by t survivors."""
        if signers is None:
            signers = statement.names[: self.policy.threshold] if self.policy.consistency else ()
        return m.Certificate(
            statement,
            tuple(
                m.Endorsement(name, identity(name).sign("statement", statement.digest)) for name in signers
            ),
        )

    def recover_request(
        self, asked: str, vanished: str, certificate: m.Certificate | None = None
    ) -> m.RecoverRequest:
        upload = self.replies(m.Upload)[vanished]
        opened, graph = self.coordinator._state.open, self.coordinator._state.graph
        peers = graph.among(vanished, opened.participants if opened else self.names)
        place = peers.index(asked) if asked in peers else 0
        return m.RecoverRequest(
            certificate=certificate or self.certificate(self.statement()),
            vanished=upload.summary,
            box=upload.boxes[place],
        )

    def upload_request(self, **changes: Any) -> m.UploadRequest:
        request = m.UploadRequest(
            session=self.session,
            round=self.coordinator.round + 1,
            kind=self.policy.plan[0].kind,
            body=body_digest(b""),
            participants=self.names,
        )
        return replace(request, **changes)

    # Saving ---------------------------------------------------------------------------------------------

    def saved(self, name: str) -> bytes:
        return self.sites[name].save()

    def restore(self, name: str, state: bytes | None) -> None:
        """The site's process starts anew from a saved state, with the journal as it is now."""
        self.sites[name] = self.new_site(name, state)

    def restart_all(self) -> None:
        """Every process dies and comes back from what it last saved."""
        for name, site in self.sites.items():
            self.restore(name, site.save() if site.state is not None else None)
        self.coordinator = Coordinator.load(self.roster, self.coordinator.save())


@functools.cache
def _prepared(policy: Policy, groups: tuple[tuple[str, tuple[str, ...]], ...]) -> Study:
    return Study(policy, groups=dict(groups)).set_up()


def ready(policy: Policy | None = None, *, groups: Mapping[str, Sequence[str]] | None = None) -> Study:
    """A study after its set-up: made once for each policy, then copied."""
    frozen = tuple(sorted((name, tuple(has)) for name, has in (groups or {}).items()))
    model = _prepared(policy or make_policy(), frozen)
    study = Study(model.policy, groups=model.groups)
    study.journals = copy.deepcopy(model.journals)
    study.coordinator = Coordinator.load(model.roster, model.coordinator.save())
    study.log = list(model.log)
    for name in study.names:
        study.restore(name, model.sites[name].save())
    return study


def random_lanes(study: Study, seed: int) -> None:
    """Give every site a uniformly random vector."""
    generator = np.random.default_rng(seed)
    for lanes in study.vectors.values():
        lanes[:] = generator.integers(0, 2**study.policy.bits, lanes.size, dtype=np.uint64)


def finish_set_up(study: Study) -> None:
    set_up(study.coordinator, study.ask)
