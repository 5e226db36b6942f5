# SPDX-License-Identifier: Apache-2.0

"""The secure sum in one process: every site and the coordinator run the real protocol, message by message."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from sordino import _core
from sordino.aggregation.base import (
    STEPS,
    Aggregate,
    Aggregator,
    Contributor,
    Step,
    Traffic,
    check_lose,
)
from sordino.aggregation.ends import read_total, upload_contribution
from sordino.aggregation.vector import ONLY_EVERYONE
from sordino.errors import BudgetExceeded, InvalidArgument, PeerError, PolicyRefused, RoundAborted, StateError
from sordino.files.durable import write_durably
from sordino.files.identity import read_identity, write_identity
from sordino.files.journal import FileJournal
from sordino.files.settings import read_roster, write_roster
from sordino.log import tell
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.coordinator import Coordinator, Fault, Request
from sordino.protocol.exchange import Ask, finish_round, set_up
from sordino.protocol.journal import Journal, MemoryJournal, Reply
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.noise import Guard
from sordino.protocol.policy import Floor, Policy
from sordino.protocol.site import DATASET, Site

SIMULATION_FLOOR = Floor(
    min_colluders=0,
    semi_honest=True,
    across_rounds=("freeze", "accept", "noise"),
    max_rounds=1_000_000,
    max_lanes=2**40,
)
"""The floor of simulated sites: whoever simulates has all the data anyway."""


class MaskedAggregator(Aggregator):
    """Sums that nobody can open, over simulated sites.

    policy, sites   the terms, and the names of the roster
    directory       where to keep keys, journals and states, so that a later process can go on; by default
                    everything is in memory. If it holds a session of the same policy and sites, that goes on
    floor           what every site accepts; `SIMULATION_FLOOR` by default
    groups          the lane groups that each site has besides "all"
    schemas         the hash of each site's data schema, where the policy has one
    guard           makes, by name, what a site has between a question and its patients; by default without a
                    budget
    lose            sites that vanish during set-up: name -> the first message that they do not send

    Raises `PolicyRefused` if a site refuses the policy, and `RoundAborted` if too few complete set-up.
    """

    def __init__(
        self,
        policy: Policy,
        sites: Sequence[str],
        *,
        directory: Path | None = None,
        floor: Floor = SIMULATION_FLOOR,
        groups: Mapping[str, Collection[str]] | None = None,
        schemas: Mapping[str, bytes] | None = None,
        guard: Callable[[str], Guard] | None = None,
        lose: Mapping[str, Step] | None = None,
    ) -> None:
        if len(sites) != policy.sites or len(set(sites)) != policy.sites:
            raise InvalidArgument(f"sites must be {policy.sites} distinct names, got {list(sites)}")
        self.policy = policy
        self.sites = tuple(sorted(sites))
        self._groups = {name: frozenset((groups or {}).get(name, ())) | ONLY_EVERYONE for name in sites}
        self._directory = directory
        identities = {name: self._identity(name) for name in self.sites}
        self._journals = {name: self._journal(name) for name in self.sites}
        roster = Roster({name: identity.public_key for name, identity in identities.items()})
        # Sites answer side by side, each on a core of its own: one's kernels run while another's Python does.
        self._workers = _core.default_threads()
        self._members = {
            name: Site(
                identity,
                roster,
                floor,
                self._journals[name],
                groups=tuple(self._groups[name]),
                schema=(schemas or {}).get(name, b""),
                guard=BudgetGuard(None) if guard is None else guard(name),
                threads=max(1, self._workers // len(self.sites)),
            )
            for name, identity in identities.items()
        }
        self._sent: dict[str, int] = defaultdict(int)
        self._received: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)
        self._contributors: Mapping[str, Contributor] = {}
        self._lose: Mapping[str, Step] = lose or {}
        self._coordinator = self._resume(roster) or Coordinator(roster, policy)
        set_up(self._coordinator, self._ask, self._each)
        self._save_coordinator()
        tell("set-up done", study=policy.study, able=self.able, consistency=policy.consistency)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What peers did wrong in this session."""
        return self._coordinator.faults

    @property
    def charges(self) -> Mapping[str, Mapping[bytes, int]]:
        """By site: how often each price was charged for its data, as its own journal has it."""
        charged = {}
        for name, journal in self._journals.items():
            with journal.open() as book:
                charged[name] = dict(book.index.asked(DATASET).charges)
        return charged

    @property
    def able(self) -> tuple[str, ...]:
        """The sites that completed set-up with each other."""
        return self._coordinator.able()

    def aggregate(
        self,
        kind: str,
        body: bytes,
        contributors: Mapping[str, Contributor],
        *,
        lose: Mapping[str, Step] | None = None,
    ) -> Aggregate:
        """Run one round; see `Aggregator.aggregate`. Sites that did not complete set-up are left out."""
        started = time.perf_counter()
        if unknown := sorted(set(contributors) - set(self.sites)):
            raise InvalidArgument(f"contributors name sites outside the roster: {unknown}")
        check_lose(lose or {}, self.sites)
        self._contributors, self._lose = contributors, lose or {}
        self._sent.clear()
        self._received.clear()
        self._seconds.clear()
        able = self._coordinator.able()
        frozen = self.policy.across_rounds == "freeze"
        chosen = None if frozen else [name for name in able if name in contributors]
        self._coordinator.open_round(kind, body, chosen)
        self._save_coordinator()
        tell(
            "round opened",
            round=self._coordinator.round,
            kind=kind,
            asked=able if chosen is None else tuple(chosen),
        )
        try:
            result = finish_round(self._coordinator, self._ask, self._each)
        except RoundAborted as error:
            tell("round aborted", round=self._coordinator.round, reason=str(error))
            raise
        finally:
            self._save_coordinator()
        tell(
            "sum made",
            round=result.round,
            survivors=result.survivors,
            dropped=result.dropped,
            rebuilt=result.vanished,
        )
        total = read_total(self.policy, result)
        return Aggregate(
            round=result.round,
            sums=total.sums,
            weights=total.weights,
            integers=total.integers,
            survivors=result.survivors,
            dropped={name: self._lose.get(name, "upload") for name in result.dropped},
            vanished=result.vanished,
            traffic={
                name: Traffic(self._sent[name], self._received[name], self._seconds[name])
                for name in result.participants
            },
            seconds=time.perf_counter() - started,
            noise=total.noise,
        )

    def close(self) -> None:
        """Have every site wipe the keys of the open round; a later process may still go on."""
        for request in self._coordinator.close_requests(final=False):
            site = self._members[request.site]
            with suppress(PeerError, StateError):  # a site that is not in the session has nothing to wipe
                site.handle(request.data)
            self._save_site(site)

    def _each(self, ask: Ask, requests: Sequence[Request]) -> Iterator[Reply | None]:
        """Ask several sites at once; the answers, and the first error, come in the order of the requests."""
        if self._workers == 1 or len(requests) == 1:
            yield from map(ask, requests)
            return
        running: deque[Future[Reply | None]] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for request in requests:
                    try:
                        work = self._prepare(request)
                    except BaseException:
                        while running:
                            running.popleft().result()
                        raise
                    running.append(pool.submit(work))
                    if len(running) > self._workers:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()

    def _ask(self, request: Request) -> Reply | None:
        """Deliver a request to its simulated site, unless it has vanished."""
        return self._prepare(request)()

    def _prepare(self, request: Request) -> Callable[[], Reply | None]:
        """Do the contributor's part, in order and on the caller's thread; the rest may be done on another."""
        name, phase = request.site, self._coordinator.phase
        if name in self._lose and STEPS.index(self._lose[name]) <= STEPS.index(phase):
            return _no_answer
        if phase == "upload" and name not in self._contributors:
            return _no_answer
        site = self._members[name]
        if phase != "upload":
            return partial(self._deliver, site, request, lambda: Reply(site.handle(request.data)))
        started = time.perf_counter()
        try:
            task = site.begin(request.data, request.body)
            contribution = self._contributors[name](task.body)
        except PolicyRefused:
            raise
        except (PeerError, StateError, BudgetExceeded) as error:
            answer = partial(_refuse, error)
        else:
            groups = self._groups[name]
            answer = partial(
                upload_contribution, site, self.policy, request, task, contribution, groups=groups
            )
        self._seconds[name] += time.perf_counter() - started
        return partial(self._deliver, site, request, answer)

    def _deliver(self, site: Site, request: Request, answer: Callable[[], Reply]) -> Reply:
        """The site's answer or refusal, its state kept and its time and bytes counted."""
        started, refusal = time.perf_counter(), None
        try:
            reply = answer()
        except PolicyRefused:
            raise
        except (PeerError, StateError, BudgetExceeded) as error:
            reply, refusal = Reply(site.refusal(error)), str(error)
        self._save_site(site)
        seconds = time.perf_counter() - started
        received, sent = len(request.data) + len(request.body), len(reply.data) + len(reply.payload)
        self._seconds[site.name] += seconds
        self._received[site.name] += received
        self._sent[site.name] += sent
        tell(
            self._coordinator.phase,
            site=site.name,
            received=received,
            sent=sent,
            seconds=seconds,
            refused=refusal,
        )
        return reply

    # Files -----------------------------------------------------------------------------------------------

    def _site_directory(self, name: str) -> Path:
        if self._directory is None:
            raise StateError("this aggregator keeps nothing on disk")
        return self._directory / "sites" / name

    def _identity(self, name: str) -> Identity:
        if self._directory is None:
            return Identity.generate(name)
        directory = self._site_directory(name)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "identity.key"
        return read_identity(path, name) if path.exists() else write_identity(path, name)

    def _journal(self, name: str) -> Journal:
        if self._directory is None:
            return MemoryJournal()
        # A simulation may be killed and go on, but need not outlive a loss of power.
        return FileJournal(self._site_directory(name) / "journal", sync=False)

    def _resume(self, roster: Roster) -> Coordinator | None:
        """The coordinator and site states of an earlier process, if they are of this policy and roster."""
        if self._directory is None:
            return None
        pinned, state = self._directory / "roster.toml", self._directory / "coordinator.state"
        if not state.exists():
            write_roster(pinned, roster)
            return None
        if read_roster(pinned).digest != roster.digest:
            raise StateError(f"{self._directory} holds a session of other sites")
        with _named(state):
            coordinator = Coordinator.load(roster, state.read_bytes())
        if coordinator.policy != self.policy:
            raise StateError(f"{self._directory} holds a session under another policy")
        for name, site in self._members.items():
            saved = self._site_directory(name) / "session.state"
            if saved.exists():
                with _named(saved):
                    site.load(saved.read_bytes())
        return coordinator

    def _save_site(self, site: Site) -> None:
        if self._directory is not None and site.state is not None:
            write_durably(self._site_directory(site.name) / "session.state", site.save(), sync=False)

    def _save_coordinator(self) -> None:
        if self._directory is not None:
            write_durably(self._directory / "coordinator.state", self._coordinator.save(), sync=False)


def _no_answer() -> None:
    return None


def _refuse(error: Exception) -> Reply:
    raise error


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Has a complaint about a saved state begin with its file."""
    try:
        yield
    except StateError as error:
        raise StateError(f"{path}: {error}") from None
