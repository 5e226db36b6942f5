# SPDX-License-Identifier: Apache-2.0

"""A site in one session: bytes in, bytes out, nothing revealed that docs/protocol.md does not allow.

No clock, no socket, no file. Every answer is written into the journal before it is returned, so that what a
site has done does not depend on a state that can be restored from a backup.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from sordino.errors import (
    BudgetExceeded,
    InvalidArgument,
    JournalError,
    MalformedMessage,
    PeerError,
    PolicyError,
    PolicyRefused,
    RequestRefused,
    StateError,
    UnreadableCharge,
)
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.encoding import digest
from sordino.protocol.enrolment import advertise, check_advertisements, open_pairs, seal_pairs
from sordino.protocol.groups import planned_groups
from sordino.protocol.harary import Graph, session_graph
from sordino.protocol.journal import CHARGE, Asked, Book, Entry, Journal, Reply, Session, Terms, draft
from sordino.protocol.keys import BoxKey, Entropy, Identity, Roster, RoundContext, draw_secret
from sordino.protocol.lanes import Lanes, Vector, check_lanes
from sordino.protocol.masking import make_upload, masked_payload, step_pairs
from sordino.protocol.noise import Guard
from sordino.protocol.policy import EVERYONE, Floor, Policy, Question
from sordino.protocol.revealing import give_shares, unmask
from sordino.protocol.secret import Secret, wipe
from sordino.protocol.state import OpenRound, SiteState, dump_state, load_state
from sordino.protocol.transcript import (
    body_digest,
    check_certificate,
    check_statement,
    round_context,
    session_digest,
)
from sordino.protocol.transitions import transition

MAX_SKIPPED_ROUNDS = 2_000
"""The most rounds that a site steps its pair secrets forward at once."""


DATASET = "default"
"""The name of the data where an operator gives none."""


class Task(NamedTuple):
    """What a round asks of a site, checked; `participants` include the site itself."""

    round: int
    question: Question
    body: bytes
    participants: tuple[str, ...]
    tolerated: int


class Site:
    """One site's side of one session.

    identity, roster    who it is, and whom it knows; the coordinator can add nobody
    floor               the least that it accepts
    journal             what it has done, across sessions
    dataset             the operator's name for the data; data sets that share a patient share a name
    groups              the lane groups that it has besides "all"
    schema              hash of what its data looks like, compared with the policy's if that has one
    guard               judges the noise of policies and keeps to the budget of the data; without one a policy
                        with noise is refused
    entropy             a source of random bytes: count -> bytes
    threads             how many threads a kernel takes; by default as many as `_core.add_masks` does
    """

    def __init__(
        self,
        identity: Identity,
        roster: Roster,
        floor: Floor,
        journal: Journal,
        *,
        dataset: str = DATASET,
        groups: Sequence[str] = (),
        schema: bytes = b"",
        guard: Guard | None = None,
        entropy: Entropy = os.urandom,
        threads: int | None = None,
    ) -> None:
        if identity.name not in roster or roster.key(identity.name) != identity.public_key:
            raise PolicyError(f"the pinned roster does not have {identity.name!r} with its own key")
        self.name = identity.name
        self._identity = identity
        self._roster = roster
        self._floor = floor
        self._journal = journal
        self._dataset = dataset
        self._groups = tuple(sorted({EVERYONE, *groups}))
        self._schema = schema
        self._guard = guard
        self._entropy = entropy
        self._threads = threads
        self._state: SiteState | None = None

    # State ---------------------------------------------------------------------------------------------

    @property
    def step(self) -> str:
        """Where the site stands: one of `transitions.STEPS`."""
        return self._state.step if self._state else "new"

    @property
    def state(self) -> SiteState | None:
        """The session's state, None before an offer was taken."""
        return self._state

    def save(self) -> bytes:
        """The session's state, secrets included; raises `StateError` before an offer was taken."""
        return dump_state(self._need_state())

    def load(self, data: bytes) -> None:
        """Go on from a saved state; raises `StateError` if it is damaged, another site's or roster's."""
        state = load_state(data)
        if state.site != self.name:
            raise StateError(f"the session state is of site {state.site!r}, not of {self.name!r}")
        if state.roster != self._roster.digest:
            raise StateError("the session state is of another roster than is pinned: start a new session")
        self._state = state

    # Messages ------------------------------------------------------------------------------------------

    def handle(self, data: bytes) -> bytes:
        """Answer any message but an upload request.

        Raises a `PeerError` for what an honest coordinator would not send and a `LocalError` for trouble on
        this side; the state is then as before and nothing was revealed. `refusal` makes the answer to send.
        """
        request = wire.read_at_site(data, len(self._roster))
        with self._journal.open() as book:
            if (stored := self._stored(book, data)) is not None:
                return stored.data
            match request:
                case m.Offer():
                    return self._take_offer(book, data, request)
                case m.Advertisements():
                    return self._take_advertisements(book, data, request)
                case m.Boxes():
                    return self._take_boxes(book, data, request)
                case m.ConfirmRequest():
                    return self._confirm(book, data, request)
                case m.UnmaskRequest():
                    return self._unmask(book, data, request)
                case m.RecoverRequest():
                    return self._recover(book, data, request)
                case m.Close():
                    return self._close(book, data, request)
                case m.UploadRequest():
                    raise StateError("an upload request needs the site's vector: call `read` and `upload`")

    def repeat(self, data: bytes) -> Reply | None:
        """The answer that an identical request got already, payload included; None if it is a new one."""
        wire.read_at_site(data, len(self._roster))
        with self._journal.open() as book:
            return self._stored(book, data)

    def read(self, data: bytes, body: bytes = b"") -> Task:
        """Check an upload request and say what it asks; nothing changes.

        Raises `RequestRefused` where the site must not take part, naming the peers that it cannot mask with.
        """
        request = self._upload_request(data)
        with self._journal.open() as book:
            if self._stored(book, data) is None:
                self._check_upload(book, request, data, body)
        return self._task(request, body)

    def begin(self, data: bytes, body: bytes = b"") -> Task:
        """Check an upload request, spend what its answer costs, and say what it asks.

        Where the question has noise this comes before anything is drawn: noise, a batch, a rounding. What is
        spent stays spent, whatever becomes of the round; the round before ends here. What is drawn for it is
        drawn once, so a round that was begun and not finished is lost here. Without noise it is `read`.

        Raises `BudgetExceeded` where the budget of the data does not allow it; then nothing changes.
        """
        request = self._upload_request(data)
        with self._journal.open() as book:
            if self._stored(book, data) is None:
                self._check_upload(book, request, data, body)
                if self._need_question(request).noise is not None:
                    if self._is_charged(book, data):
                        # A second draw could be chosen over the first by when it is asked for.
                        raise RequestRefused(f"round {request.round} was begun here before, and not finished")
                    self._charge(book, request, data)
        return self._task(request, body)

    def _task(self, request: m.UploadRequest, body: bytes) -> Task:
        state = self._need_state()
        return Task(
            round=request.round,
            question=state.policy.question(request.kind),
            body=body,
            participants=request.participants,
            tolerated=state.policy.tolerated(len(request.participants)),
        )

    def upload(
        self,
        data: bytes,
        body: bytes,
        vector: Lanes | Vector,
        *,
        link: Secret | None = None,
    ) -> Reply:
        """Mask `vector` and answer an upload request (R1): the message and the packed payload.

        vector   lanes that the aggregator encoded, which are masked in place: shape (question.lanes,), uint32
                 for up to 32 bits, else uint64; or a `Vector` that becomes a payload without them
        link     the first of the further secrets, where the policy has a chain

        An identical request gets the identical bytes, whatever the vector is now. What a `Vector` raises
        passes through, and nothing changes.
        """
        request = self._upload_request(data)
        with self._journal.open() as book:
            if (stored := self._stored(book, data)) is not None:
                return stored
            context = self._check_upload(book, request, data, body)
            state = self._need_state()
            question = self._need_question(request)
            if question.noise is not None and not self._is_charged(book, data):
                raise StateError("this upload is not paid for: call `begin` before anything is drawn for it")
            if not isinstance(vector, Vector):
                check_lanes(vector, question.lanes, state.policy.bits)
            if (link is not None) != state.policy.chain:
                raise InvalidArgument("link must be given exactly where the policy has a chain")
            peers = self._graph(state).among(self.name, request.participants)
            pairs, keys = step_pairs(state.pairs, state.ratchet, context, self.name, peers)
            opened = OpenRound(
                context=context,
                participants=request.participants,
                upload=b"",
                self_seed=draw_secret(self._entropy),
                mask_keys={peer: keys[peer].mask for peer in peers},
                incoming={peer: keys[peer].incoming for peer in keys},
                link=link,
            )
            try:
                payload = masked_payload(
                    opened,
                    self._roster,
                    self.name,
                    vector,
                    lanes=question.lanes,
                    bits=state.policy.bits,
                    threads=self._threads,
                )
            except BaseException:
                wipe(opened.self_seed, *pairs.values(), *(key for kept in keys.values() for key in kept))
                raise
            upload = make_upload(
                opened,
                payload,
                {peer: keys[peer].outgoing for peer in keys},
                identity=self._identity,
                roster=self._roster,
                policy=state.policy,
                entropy=self._entropy,
                threads=self._threads,
            )
            wipe(*(key.outgoing for key in keys.values()))
            reply = Reply(wire.to_bytes(upload), payload.data)
            then = transition(state.step, request).then
            entry = self._entry(
                request,
                data,
                then,
                round_number=request.round,
                terms=self._terms(request.participants) if question.noise is None else None,
                freeze=state.policy.across_rounds == "freeze",
            )
            written = book.append(entry, reply, payload=upload.summary.payload)
            state.wipe_round()
            wipe(*state.pairs.values())
            state.pairs, state.ratchet, state.open = pairs, request.round + 1, opened
            self._move(book, written)
            return reply

    def refusal(self, error: Exception) -> bytes:
        """The message that tells the coordinator of an error, and where this site stands.

        What went wrong on this side is the site's own business, and so is its floor: of a `LocalError` and a
        `PolicyRefused` only the fact is told.
        """
        session_id = self._state.session_id if self._state else b""
        with self._journal.open() as book:
            known = book.index.session(session_id)
            frozen = self._frozen(book.index.asked(self._dataset))
        last = known.last
        if isinstance(error, BudgetExceeded):
            reason = "the privacy budget of this site's data does not allow this round"
        elif isinstance(error, PolicyRefused):
            reason = "the policy is not one that this site accepts"
        else:
            reason = str(error) if isinstance(error, PeerError) else "this site cannot take part"
        return wire.to_bytes(
            m.Refusal(
                site=self.name,
                session=self._state.session if self._state else b"",
                round=last.round if last else 0,
                step=last.step if last else "new",
                reason=reason[:1024],
                peers=error.peers if isinstance(error, PeerError) else (),
                statement=known.statement,
                signature=known.signature,
                frozen=frozen,
            )
        )

    def _frozen(self, asked: Asked) -> m.Frozen | None:
        """What the data is frozen to, for a coordinator of the same roster that has forgotten it."""
        if not asked.frozen or any(terms.roster != self._roster.digest for terms in asked.terms):
            return None
        (terms,) = asked.terms
        return m.Frozen(terms.participants, next(iter(asked.survivors), ()))

    # Set-up --------------------------------------------------------------------------------------------

    def _take_offer(self, book: Book, data: bytes, offer: m.Offer) -> bytes:
        then = transition(self.step, offer).then
        policy = offer.policy
        if offer.roster != self._roster.digest or policy.sites != len(self._roster):
            raise PolicyRefused("the offer is for another roster than the one pinned here")
        self._floor.check(policy)
        if self._guard is not None:
            self._guard.check(policy)
        elif policy.across_rounds == "noise":
            raise PolicyRefused(f"site {self.name!r} has no budget and nobody to guard it")
        if policy.schema and policy.schema != self._schema:
            raise PolicyRefused(f"site {self.name!r} has data of another schema than the study")
        if book.index.session(offer.session_id).last is not None:
            raise StateError("the session is known to the journal but its state is lost: offer a new session")
        box_key, advertisement = advertise(self._identity, offer, self._groups, self._entropy)
        self._state = SiteState(
            site=self.name,
            session_id=offer.session_id,
            roster=offer.roster,
            policy=policy,
            step="new",
            box_key=Secret(box_key.private_bytes()),
            journal_length=0,
            journal_head=b"",
            last=-1,
        )
        try:
            return self._record(book, offer, data, then, advertisement)
        except BaseException:
            self._state = None
            raise

    def _take_advertisements(self, book: Book, data: bytes, message: m.Advertisements) -> bytes:
        state = self._fresh_state(book)
        then = transition(state.step, message).then
        listing = check_advertisements(
            message,
            me=self.name,
            box_key=self._box_key(state),
            session_id=state.session_id,
            roster=self._roster,
            policy=state.policy,
        )
        session = session_digest(state.session_id, self._roster, state.policy, listing)
        graph = session_graph(self._roster.names, state.policy.neighbours, session)
        peers = graph.among(self.name, [line.site for line in listing])
        if [a.site for a in message.advertisements] != sorted((self.name, *peers)):
            raise RequestRefused("the advertisements shown are not this site's and its neighbours'")
        pairs, boxes = seal_pairs(
            self._identity, self._roster, session, message.advertisements, self._entropy
        )
        reply = m.SealedPairs(session=session, site=self.name, boxes=boxes)
        answer = self._record(book, message, data, then, reply)
        state.session = session
        state.pairs = pairs
        state.graph = graph
        # On the sparse graph there are no other lane groups.
        state.groups = {line.site: (EVERYONE,) for line in listing}
        state.groups |= {a.site: a.groups for a in message.advertisements}
        return answer

    def _take_boxes(self, book: Book, data: bytes, message: m.Boxes) -> bytes:
        state = self._fresh_state(book)
        then = transition(state.step, message).then
        if message.session != state.session:
            raise RequestRefused("the boxes are of another session")
        received = open_pairs(
            message.boxes,
            me=self.name,
            box_key=self._box_key(state),
            session=state.session,
            roster=self._roster,
            peers=self._graph(state).among(self.name, state.groups),
        )
        peers = tuple(sorted({*state.pairs, *received}))
        receipt = m.Receipt(
            session=state.session,
            site=self.name,
            peers=peers,
            signature=self._identity.sign("receipt", state.session, self.name, peers),
        )
        answer = self._record(book, message, data, then, receipt)
        state.pairs = {peer: received.get(peer) or state.pairs[peer] for peer in peers}
        wipe(state.box_key)
        state.box_key = None
        return answer

    # Upload (R1) ---------------------------------------------------------------------------------------

    def _upload_request(self, data: bytes) -> m.UploadRequest:
        request = wire.read_at_site(data, len(self._roster))
        if not isinstance(request, m.UploadRequest):
            raise StateError(f"this is no upload request but a {type(request).__name__}: call `handle`")
        return request

    def _need_question(self, request: m.UploadRequest) -> Question:
        return self._need_state().policy.question(request.kind)

    def _is_charged(self, book: Book, data: bytes) -> bool:
        """Whether the last thing done in this session was to pay for the answer to this very request."""
        last = book.index.session(self._need_state().session_id).last
        return last is not None and last.action == CHARGE and last.request == _request_digest(data)

    def _charge(self, book: Book, request: m.UploadRequest, data: bytes) -> None:
        state = self._need_state()
        if self._guard is None:
            raise StateError("this site has nobody to guard its budget")
        charges = book.index.asked(self._dataset).charges
        try:
            cost = self._guard.price(
                state.policy, self._need_question(request), len(request.participants), charges
            )
        except UnreadableCharge as error:
            line = next((e.sequence + 1 for e in book.entries() if e.charge == error.charge), "?")
            raise UnreadableCharge(f"line {line}: {error}", error.charge) from None
        entry = self._entry(request, data, "ready", round_number=request.round)
        written = book.append(structs.replace(entry, action=CHARGE, charge=cost), Reply(b""))
        state.wipe_round()
        self._move(book, written)

    def _check_upload(self, book: Book, request: m.UploadRequest, data: bytes, body: bytes) -> RoundContext:
        state = self._need_state()
        known = self._check_journal(book, state)
        if not self._is_stale(known, state):
            transition(state.step, request)
        elif known.last is not None and known.last.step == "closed":
            raise RequestRefused("the session was closed for good")
        elif state.box_key is not None or not state.pairs:
            raise StateError("the session state is from before the set-up was over: start a new session")
        if request.session != state.session:
            raise RequestRefused("the request is of another session")
        last = known.last.round if known.last else 0
        paid = self._is_charged(book, data) and not self._is_stale(known, state)
        if request.round <= last and not paid:
            raise RequestRefused(f"round {request.round} is not after round {last}, the last here")
        if request.round > state.policy.rounds:
            raise RequestRefused(f"round {request.round} is beyond the {state.policy.rounds} of the policy")
        if request.round - state.ratchet > MAX_SKIPPED_ROUNDS:
            raise RequestRefused(f"round {request.round} skips more than {MAX_SKIPPED_ROUNDS} rounds")
        try:
            question = state.policy.question(request.kind)
        except PolicyError as error:
            raise RequestRefused(str(error)) from None
        if body_digest(body) != request.body:
            raise MalformedMessage("the body of the question is not the one that the request names")
        participants = request.participants
        if list(participants) != sorted(set(participants)):
            raise RequestRefused("the participants are not sorted and distinct")
        if self.name not in participants:
            raise RequestRefused("this site is not among the participants")
        if len(participants) < state.policy.smallest_cohort:
            raise RequestRefused(
                f"the round has {len(participants)} participants, at least "
                f"{state.policy.smallest_cohort} are needed"
            )
        peers = self._graph(state).among(self.name, participants)
        strangers = set(participants) - set(state.groups)
        if missing := tuple(sorted(strangers | (set(peers) - set(state.pairs)))):
            raise RequestRefused(f"this site holds no pair secret with {list(missing)}", peers=missing)
        self._check_neighbours(state, len(peers))
        context = round_context(
            state.session, request.round, state.policy, question, request.body, participants
        )
        self._check_terms(book.index.asked(self._dataset), state.policy, self._terms(participants))
        if question.noise is None and self._guard is not None:
            self._guard.check(state.policy)  # the data may have got a budget since the offer
        return context

    @staticmethod
    def _check_neighbours(state: SiteState, count: int) -> None:
        """Fewer than t of them could all be corrupt, and then nobody else's mask would be on this vector."""
        if count < state.policy.least_neighbours:
            raise RequestRefused(
                f"{count} neighbours of this site take part, at least {state.policy.least_neighbours} "
                f"are needed"
            )

    def _terms(self, participants: Sequence[str]) -> Terms:
        state = self._need_state()
        planned = planned_groups(state.policy)
        # Everyone has "all": who has nothing else need not be listed.
        declared = tuple(
            (name, has)
            for name in participants
            if (has := tuple(g for g in planned if g != EVERYONE and g in state.groups[name]))
        )
        return Terms(
            roster=self._roster.digest,
            threshold=state.policy.threshold,
            colluders=state.policy.colluders,
            groups=digest("lane groups", planned, declared),
            participants=tuple(participants),
        )

    def _check_terms(self, asked: Asked, policy: Policy, terms: Terms) -> None:
        if policy.across_rounds == "noise":
            return  # whatever other sums show, this one's noise hides it
        frozen = asked.frozen or policy.across_rounds == "freeze"
        if frozen and asked.terms - {terms}:
            raise RequestRefused(
                "the data set is frozen: it was asked about with another roster, threshold, number of "
                "colluders, lane groups or participants, and the two sums could differ by a few sites"
            )

    def _check_survivors(self, asked: Asked, policy: Policy, statement: m.Statement) -> None:
        if policy.across_rounds == "noise":
            return
        frozen = asked.frozen or policy.across_rounds == "freeze"
        if frozen and asked.survivors - {statement.names}:
            raise RequestRefused(
                "the data set is frozen: it was summed with other survivors, and the two sums could differ "
                "by a few sites"
            )

    # Confirm (R2), unmask (R3), recover (R4) -------------------------------------------------------------

    def _confirm(self, book: Book, data: bytes, request: m.ConfirmRequest) -> bytes:
        state = self._fresh_state(book)
        then = transition(state.step, request).then
        if not state.policy.consistency:
            raise RequestRefused("the semi-honest mode has nothing to confirm")
        statement = request.statement
        self._accept(book, state, statement, in_it=True)
        signed = statement.digest
        signature = self._identity.sign("statement", signed)
        reply = m.Confirmation(site=self.name, statement=signed, signature=signature)
        return self._record(book, request, data, then, reply, statement=statement, signature=signature)

    def _unmask(self, book: Book, data: bytes, request: m.UnmaskRequest) -> bytes:
        state = self._fresh_state(book)
        then = transition(state.step, request).then
        statement = request.certificate.statement
        opened = self._accept(book, state, statement, in_it=True)
        check_certificate(request.certificate, self._roster, state.policy)
        reply = unmask(opened, self.name, statement, state.policy)
        return self._record(book, request, data, then, reply, statement=statement)

    def _recover(self, book: Book, data: bytes, request: m.RecoverRequest) -> bytes:
        state = self._fresh_state(book)
        then = transition(state.step, request).then
        statement, vanished = request.certificate.statement, request.vanished.site
        opened = self._accept(book, state, statement, in_it=False)
        check_certificate(request.certificate, self._roster, state.policy)
        if vanished in book.index.session(state.session_id).recovered:
            raise RequestRefused(f"site {vanished!r} was recovered here already, by another request")
        reply = give_shares(
            opened,
            self.name,
            statement,
            request.vanished,
            request.box,
            policy=state.policy,
            graph=self._graph(state),
        )
        return self._record(book, request, data, then, reply, statement=statement, vanished=vanished)

    def _accept(self, book: Book, state: SiteState, statement: m.Statement, *, in_it: bool) -> OpenRound:
        """Check a statement as R2 demands and give the round that it closes.

        in_it    whether this site must be a survivor; if it is one, its upload must be its own either way
        """
        opened = state.open
        if opened is None:
            raise RequestRefused("no round is open")
        graph = self._graph(state)
        check_statement(statement, opened.context, opened.participants, state.policy, state.groups, graph)
        own = [survivor.upload for survivor in statement.survivors if survivor.site == self.name]
        if own and own != [opened.upload]:
            raise RequestRefused("the statement has another upload of this site than its own")
        if in_it and not own:
            raise RequestRefused("the statement leaves this site out")
        if own:
            self._check_neighbours(state, len(graph.among(self.name, statement.names)))
        accepted = book.index.session(state.session_id).statement
        if accepted is not None and accepted != statement:
            raise RequestRefused("another statement was accepted for this round")
        self._check_survivors(book.index.asked(self._dataset), state.policy, statement)
        return opened

    def _close(self, book: Book, data: bytes, request: m.Close) -> bytes:
        state = self._need_state()
        known = self._check_journal(book, state)
        if request.session != state.session:
            raise RequestRefused("the request is of another session")
        closed = m.Closed(state.session, self.name, request.final)
        if request.final and known.last is not None and known.last.step == "closed":
            state.wipe_session()  # a state restored from before the end has its keys still
            return wire.to_bytes(closed)
        self._fresh_state(book)
        then = "closed" if request.final else transition(state.step, request).then
        if state.open is None and not request.final:
            return wire.to_bytes(closed)  # nothing to wipe, so nothing to write down either
        answer = self._record(book, request, data, then, closed)
        state.wipe_round()
        if request.final:
            state.wipe_session()
        return answer

    # Journal -------------------------------------------------------------------------------------------

    def _stored(self, book: Book, data: bytes) -> Reply | None:
        """The stored answer to an identical request of the open round or of set-up."""
        session_id = self._state.session_id if self._state else _offered_session(data, len(self._roster))
        entry = book.index.session(session_id).answers.get(_request_digest(data))
        if entry is None:
            return None
        if entry.step == "closed" and self._state is not None:
            self._state.wipe_session()
        reply = book.stored(entry)
        if reply is None:
            raise RequestRefused("this was answered already, and the answer was too large to keep")
        return reply

    def _entry(
        self,
        request: m.Message,
        data: bytes,
        then: str,
        *,
        round_number: int,
        terms: Terms | None = None,
        freeze: bool = False,
        statement: m.Statement | None = None,
        signature: bytes | None = None,
        vanished: str | None = None,
    ) -> Entry:
        return draft(
            session=self._need_state().session_id,
            dataset=self._dataset,
            action=type(request).__name__,
            step=then,
            round_number=round_number,
            request=_request_digest(data),
            terms=terms,
            freeze=freeze,
            statement=statement,
            signature=signature,
            vanished=vanished,
        )

    def _record(
        self,
        book: Book,
        request: m.Message,
        data: bytes,
        then: str,
        reply: m.ToCoordinator,
        *,
        statement: m.Statement | None = None,
        signature: bytes | None = None,
        vanished: str | None = None,
    ) -> bytes:
        """Write the answer into the journal, take the step, and give the bytes to send."""
        answer = Reply(wire.to_bytes(reply))
        known = book.index.session(self._need_state().session_id)
        entry = self._entry(
            request,
            data,
            then,
            round_number=known.last.round if known.last else 0,
            statement=statement,
            signature=signature,
            vanished=vanished,
        )
        self._move(book, book.append(entry, answer))
        return answer.data

    def _move(self, book: Book, written: Entry) -> None:
        state = self._need_state()
        state.step, state.last = written.step, written.sequence
        state.journal_length, state.journal_head = book.index.length, book.index.head

    def _fresh_state(self, book: Book) -> SiteState:
        """The state, if the journal does not know of anything later in this session."""
        state = self._need_state()
        known = self._check_journal(book, state)
        if self._is_stale(known, state):
            raise StateError(
                "the session state is older than the journal: this site can only enter a later round"
            )
        return state

    def _check_journal(self, book: Book, state: SiteState) -> Session:
        if book.index.digest_at(state.journal_length) != state.journal_head:
            raise JournalError(
                "the journal was lost or rolled back: it lacks what this session has done. An operator "
                "must decide about the budget, and a new session is needed"
            )
        known = book.index.session(state.session_id)
        if known.last is not None and known.last.dataset != self._dataset:
            raise StateError("the session was begun over another data set than this site is set to now")
        return known

    @staticmethod
    def _is_stale(known: Session, state: SiteState) -> bool:
        return known.last is None or known.last.sequence != state.last

    def _need_state(self) -> SiteState:
        if self._state is None:
            raise StateError("no session: the site has taken no offer")
        return self._state

    @staticmethod
    def _graph(state: SiteState) -> Graph:
        if state.graph is None:
            raise StateError("the advertisements of this session are not known yet")
        return state.graph

    @staticmethod
    def _box_key(state: SiteState) -> BoxKey:
        if state.box_key is None:
            raise StateError("the ephemeral key of this session is wiped")
        return BoxKey.from_private_bytes(state.box_key.reveal())


def _request_digest(data: bytes) -> bytes:
    return digest("request", data)


def _offered_session(data: bytes, sites: int) -> bytes:
    request = wire.read_at_site(data, sites)
    return request.session_id if isinstance(request, m.Offer) else b""
