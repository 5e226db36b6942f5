# SPDX-License-Identifier: Apache-2.0

"""A malicious coordinator with colluders drives honest sites in any order; its knowledge never opens one.

The machine keeps every site's identity at hand and signs for colluders whatever it likes. It asks any subset
for any round, forges statements over any survivors, certifies them with whatever signatures it has gathered,
replays old messages, restores old states, and asks for recoveries. After every step `Adversary.check` holds
the design's invariant against what honest sites really sent. SORDINO_SOAK=N runs N times as many examples.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adversarial.adversary import Adversary
from sordino.errors import PeerError, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator
from sordino.protocol.exchange import set_up
from sordino.protocol.journal import MemoryJournal, Reply
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.policy import Block, Floor, Policy, Question, plan_policy
from sordino.protocol.secret import Secret
from sordino.protocol.site import Site
from sordino.protocol.transcript import round_context

NAMES = tuple("abcdefg")
IDENTITIES = {name: Identity.from_secret(name, hashlib.sha256(name.encode()).digest()) for name in NAMES}
ROSTER = Roster({name: identity.public_key for name, identity in IDENTITIES.items()})
COLLUDERS = ("b", "f")
HONEST = tuple(name for name in NAMES if name not in COLLUDERS)
FLOOR = Floor(across_rounds=("freeze", "accept"))
QUESTION = Question("sum", (Block("vector", 3, 4.0, 4),))
BODIES = (b"model one", b"model two")
Draw = Callable[[st.SearchStrategy[Any]], Any]


def lanes_of(name: str, round_number: int) -> np.ndarray:
    """A site's own lanes in a round: fixed, so that sums can be checked."""
    rng = np.random.default_rng([NAMES.index(name), round_number])
    return rng.integers(0, 64, QUESTION.lanes, dtype=np.uint32)


class Study:
    """Seven sites after an honest set-up, two of them colluding with whoever holds this object."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.journals = {name: MemoryJournal() for name in NAMES}
        self.sites = {name: self.site(name) for name in NAMES}
        self.coordinator = Coordinator(ROSTER, policy)
        set_up(self.coordinator, lambda request: Reply(self.sites[request.site].handle(request.data)))
        state = self.sites["a"].state
        assert state is not None
        self.session = state.session

    def site(self, name: str) -> Site:
        return Site(IDENTITIES[name], ROSTER, FLOOR, self.journals[name])

    def upload(self, name: str, data: bytes, body: bytes) -> Reply:
        task = self.sites[name].read(data, body)
        link = Secret(bytes([task.round % 256]) * 31 + name.encode()) if self.policy.chain else None
        return self.sites[name].upload(data, body, lanes_of(name, task.round), link=link)


def policy_for(across_rounds: str, *, chain: bool) -> Policy:
    return plan_policy(
        study="machine", sites=7, plan=[QUESTION], across_rounds=across_rounds, rounds=50, chain=chain
    )


subsets = st.sets(st.sampled_from(NAMES), min_size=3).map(lambda names: tuple(sorted(names)))
most = st.sets(st.sampled_from(NAMES), max_size=2).map(
    lambda left_out: tuple(name for name in NAMES if name not in left_out)
)
mostly_all = st.just(NAMES) | st.just(NAMES) | most
participants = st.just(NAMES) | st.just(NAMES) | most | subsets


class MaliciousCoordinator(RuleBasedStateMachine):
    """Every rule is one thing that a lying coordinator can do to one site or to all."""

    across_rounds = "accept"

    @initialize(chain=st.booleans())
    def start(self, chain: bool) -> None:
        self.study = Study(policy_for(self.across_rounds, chain=chain))
        self.adversary = Adversary(self.study.policy, COLLUDERS)
        self.saved = {name: [self.study.sites[name].save()] for name in NAMES}
        self.sent: dict[str, list[tuple[bytes, bytes]]] = defaultdict(list)
        self.asked: list[tuple[int, bytes, tuple[str, ...]]] = []
        self.statements: list[m.Statement] = []
        self.signatures: dict[bytes, dict[str, bytes]] = defaultdict(dict)
        self.uploads: dict[tuple[str, int], Reply] = {}

    # What is sent -----------------------------------------------------------------------------------------

    def _ask_upload(self, name: str, data: bytes, body: bytes) -> None:
        self.sent[name].append((data, body))
        try:
            reply = self.study.upload(name, data, body)
        except (PeerError, StateError):
            return
        upload = wire.read_at_coordinator(reply.data, 7)
        assert isinstance(upload, m.Upload)
        self.uploads[name, upload.summary.round] = reply
        if name in HONEST:
            request = wire.read_at_site(data, 7)
            assert isinstance(request, m.UploadRequest)
            self.adversary.sees_upload(reply.data, request.participants)
        self.saved[name].append(self.study.sites[name].save())

    def _ask(self, name: str, message: m.ToSite) -> None:
        data = wire.to_bytes(message)
        self.sent[name].append((data, b""))
        self._deliver(name, data, message)

    def _deliver(self, name: str, data: bytes, message: m.ToSite) -> None:
        try:
            answer = self.study.sites[name].handle(data)
        except (PeerError, StateError):
            return
        reply = wire.read_at_coordinator(answer, 7)
        if isinstance(reply, m.Confirmation):
            self.signatures[reply.statement][name] = reply.signature
        elif isinstance(message, m.UnmaskRequest | m.RecoverRequest) and name in HONEST:
            self.adversary.sees_answer(answer, message.certificate.statement)
        self.saved[name].append(self.study.sites[name].save())

    def _certificate(self, statement: m.Statement, signers: tuple[str, ...]) -> m.Certificate:
        known = dict(self.signatures[statement.digest])
        for name in COLLUDERS:
            known[name] = IDENTITIES[name].sign("statement", statement.digest)
        return m.Certificate(
            statement,
            tuple(
                m.Endorsement(name, known[name])
                for name in [n for n in signers if n in statement.names]
                if name in known
            ),
        )

    # Rules ------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        """One act of the coordinator; a single rule, since Hypothesis would else leave whole rules out."""
        acts = [
            self.ask_for_uploads,
            *[self.make_a_statement, self.ask_for_confirmations, self.ask_to_unmask] * 3,
            *[self.ask_to_recover] * 2,
            self.replay,
            self.restore_an_older_state,
            self.close_a_round,
        ]
        data.draw(st.sampled_from(acts))(data.draw)

    def ask_for_uploads(self, draw: Draw) -> None:
        """Open a round; one time in four, show the latest to some sites in another way."""
        latest = max((number for number, _, _ in self.asked), default=0)
        number = max(1, latest + (draw(st.integers(0, 3)) > 0))
        body, cohort = draw(st.sampled_from(BODIES)), draw(participants)
        self.asked.append((number, body, cohort))
        request = m.UploadRequest(self.study.session, number, "sum", hashlib.sha256(body).digest(), cohort)
        for name in draw(mostly_all):
            self._ask_upload(name, wire.to_bytes(request), body)

    def make_a_statement(self, draw: Draw) -> None:
        """Name survivors of the latest question, or of the one before it."""
        if not self.asked:
            return
        number, body, cohort = self.asked[-min(draw(st.sampled_from((1, 1, 1, 2))), len(self.asked))]
        digest = hashlib.sha256(body).digest()
        context = round_context(self.study.session, number, self.study.policy, QUESTION, digest, cohort)
        wrong = draw(st.integers(0, 9)) == 0
        listed = tuple(
            m.Survivor(name, bytes(32) if wrong else self._upload(name, number).summary.digest)
            for name in draw(mostly_all)
            if (name, number) in self.uploads
        )
        self.statements.append(
            m.Statement(
                context.session, context.policy, context.round, context.question, context.cohort, listed
            )
        )

    def ask_for_confirmations(self, draw: Draw) -> None:
        """Ask for signatures on the latest statement, or the one before it."""
        if self.statements:
            statement = self._statement(draw)
            for name in draw(mostly_all):
                self._ask(name, m.ConfirmRequest(statement))

    def ask_to_unmask(self, draw: Draw) -> None:
        """Ask to unmask with every signature at hand, or with some."""
        if self.statements:
            statement, signers = self._statement(draw), draw(mostly_all)
            for name in draw(mostly_all):
                self._ask(name, m.UnmaskRequest(self._certificate(statement, signers)))

    def ask_to_recover(self, draw: Draw) -> None:
        """Ask for the shares of one site, each peer with its own box."""
        vanished = draw(st.sampled_from(NAMES))
        if not self.statements:
            return
        statement = self._statement(draw)
        if (vanished, statement.round) not in self.uploads:
            return
        upload, certificate = self._upload(vanished, statement.round), self._certificate(statement, NAMES)
        cohort = next(cohort for number, _, cohort in reversed(self.asked) if number == statement.round)
        names = draw(mostly_all)
        for name, box in zip([name for name in cohort if name != vanished], upload.boxes, strict=False):
            if name in names:
                self._ask(name, m.RecoverRequest(certificate, upload.summary, box))

    def replay(self, draw: Draw) -> None:
        """Send something old again."""
        name = draw(st.sampled_from(NAMES))
        if self.sent[name]:
            old, body = draw(st.sampled_from(self.sent[name]))
            message = wire.read_at_site(old, 7)
            if isinstance(message, m.UploadRequest):
                self._ask_upload(name, old, body)
            else:
                self._deliver(name, old, message)

    def restore_an_older_state(self, draw: Draw) -> None:
        """Bring a site back from any state that was ever saved; its journal stays."""
        name = draw(st.sampled_from(HONEST))
        self.study.sites[name] = self.study.site(name)
        self.study.sites[name].load(draw(st.sampled_from(self.saved[name])))

    def close_a_round(self, draw: Draw) -> None:
        """Have one site wipe its round."""
        self._ask(draw(st.sampled_from(HONEST)), m.Close(self.study.session, final=False))

    def _statement(self, draw: Draw) -> m.Statement:
        return self.statements[-min(draw(st.integers(1, 2)), len(self.statements))]

    def _upload(self, name: str, number: int) -> m.Upload:
        upload = wire.read_at_coordinator(self.uploads[name, number].data, 7)
        assert isinstance(upload, m.Upload)
        return upload

    # What must hold ---------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_open_that_must_not_be(self) -> None:
        if hasattr(self, "adversary"):
            self.adversary.check()


class MaliciousCoordinatorUnderFreeze(MaliciousCoordinator):
    """Under `freeze`, every sum that is ever open over one data set is over the same sites."""

    across_rounds = "freeze"

    @invariant()
    def one_cohort_for_good(self) -> None:
        if hasattr(self, "adversary"):
            opened = set(self.adversary.check())
            assert len(opened) <= 1, f"sums over different sites are open: {opened}"


_SETTINGS = settings(
    max_examples=20 * int(os.environ.get("SORDINO_SOAK", "1")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes long enough without shrinking
)
TestMaliciousCoordinator = MaliciousCoordinator.TestCase
TestMaliciousCoordinator.settings = _SETTINGS
TestMaliciousCoordinatorUnderFreeze = MaliciousCoordinatorUnderFreeze.TestCase
TestMaliciousCoordinatorUnderFreeze.settings = _SETTINGS
