# SPDX-License-Identifier: Apache-2.0

"""The coordinator: relays, sums, and recovers; it can open nothing but the sum.

No clock, no socket: whoever drives it sends what `requests` gives, hands every answer to `receive`, and calls
`proceed` when it will wait no longer. A site that did not answer by then has vanished for this step.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from sordino.errors import (
    InvalidArgument,
    MalformedMessage,
    PeerError,
    PolicyError,
    RoundAborted,
    ShareError,
    StateError,
)
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.encoding import DIGEST_BYTES
from sordino.protocol.enrolment import check_advertisement
from sordino.protocol.graph import smallest_cover
from sordino.protocol.groups import planned_groups, thin_group
from sordino.protocol.harary import Graph, session_graph, thin_neighbourhood
from sordino.protocol.keys import Entropy, Roster, check_box_key, draw
from sordino.protocol.lanes import Lanes
from sordino.protocol.policy import EVERYONE, Policy, Question
from sordino.protocol.state import STATE_VERSION, open_state, seal_state
from sordino.protocol.tally import (
    Opening,
    OpenTally,
    check_opening,
    check_shares,
    check_upload,
    differing_pairs,
    rebuild,
    unmasked_sum,
)
from sordino.protocol.transcript import body_digest, check_statement, round_context, session_digest

MAX_FAULTS = 256
"""The most faults of one site that are kept: what a liar says must not fill the memory."""


class Request(NamedTuple):
    """A message to one site and the body that travels beside it (empty for all but upload requests)."""

    site: str
    data: bytes
    body: bytes = b""


_TOLD = 200
"""Characters of a site's refusal that are repeated where a round is aborted for it."""


class Fault(Struct, frozen=True):
    """Something that a peer did wrong; where two could be to blame, both are named."""

    peers: tuple[str, ...]
    reason: str


class Result(NamedTuple):
    """The sum of one round.

    lanes      sum of the survivors' lanes mod 2**bits, in the low `bits` bits; shape (question.lanes,)
    links      where the policy has a chain and fewer than T sites dropped: the first surplus link of each
               survivor
    vanished   survivors whose secrets were rebuilt from shares
    """

    round: int
    question: Question
    lanes: Lanes
    participants: tuple[str, ...]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    vanished: tuple[str, ...]
    links: Mapping[str, bytes]
    faults: tuple[Fault, ...]

    def __repr__(self) -> str:
        return (
            f"Result(round={self.round}, kind={self.question.kind!r}, survivors={self.survivors}, "
            f"dropped={self.dropped}, vanished={self.vanished})"
        )


class _State(Struct):
    """All that a coordinator knows; nothing of it opens a site's vector."""

    policy: Policy
    session_id: bytes
    phase: str = "advertise"
    session: bytes = b""
    graph: Graph | None = None
    advertisements: dict[str, m.Advertisement] = {}
    sealed: dict[str, dict[str, m.SealedPair]] = {}
    withheld: set[tuple[str, str]] = set()
    complaints: dict[str, int] = {}
    places: dict[str, int] = {}
    frozen: dict[str, m.Frozen] = {}
    receipts: dict[str, tuple[str, ...]] = {}
    round: int = 0
    cohort: tuple[str, ...] | None = None
    survivors: tuple[str, ...] | None = None
    open: OpenTally | None = None
    faults: list[Fault] = []


PHASES = ("advertise", "seal", "receipt", "ready", "upload", "confirm", "unmask", "recover", "done")


class Coordinator:
    """One session of one study, over the sites of `roster`."""

    def __init__(self, roster: Roster, policy: Policy, *, entropy: Entropy = os.urandom) -> None:
        if policy.sites != len(roster):
            raise PolicyError(f"the policy is for {policy.sites} sites, the roster has {len(roster)}")
        self._roster = roster
        self._state = _State(policy=policy, session_id=draw(entropy, DIGEST_BYTES))
        self._result: Result | None = None

    # State ---------------------------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """The session's terms."""
        return self._state.policy

    @property
    def phase(self) -> str:
        """What is being waited for: one of `PHASES`."""
        return self._state.phase

    @property
    def round(self) -> int:
        """The last round that was opened here or that more than c sites said they were at."""
        return self._state.round

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What peers have done wrong so far in this session."""
        return tuple(self._state.faults)

    @property
    def result(self) -> Result:
        """The sum of the last round; raises `StateError` if it has none."""
        if self._result is None:
            raise StateError(f"the coordinator has no sum at phase {self.phase!r}")
        return self._result

    def save(self) -> bytes:
        """The state as bytes, uploads of the open round included."""
        return seal_state(STATE_VERSION, msgspec.msgpack.encode(self._state))

    @classmethod
    def load(cls, roster: Roster, data: bytes) -> Coordinator:
        """Go on from a saved state; raises `StateError` if it is damaged or for another roster."""
        try:
            state = msgspec.msgpack.decode(open_state(STATE_VERSION, data), type=_State)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(f"the coordinator state is damaged: {error}") from None
        pinned = {advertisement.roster for advertisement in state.advertisements.values()}
        if state.policy.sites != len(roster) or pinned - {roster.digest}:
            raise StateError("the coordinator state is for another roster")
        coordinator = cls(roster, state.policy)
        coordinator._state = state
        return coordinator

    # Driving ---------------------------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        """What is still to be sent in this phase: to every site that has not answered yet."""
        state = self._state
        match state.phase:
            case "advertise":
                offer = m.Offer(state.session_id, self._roster.digest, state.policy)
                return self._to_all(offer, [n for n in self._roster.names if n not in state.advertisements])
            case "seal":
                return self._advertisement_requests()
            case "receipt":
                return [
                    Request(name, wire.to_bytes(self._boxes_for(name)))
                    for name in sorted(state.sealed)
                    if name not in state.receipts
                ]
            case "upload":
                opened = self._open()
                request = m.UploadRequest(
                    session=state.session,
                    round=opened.context.round,
                    kind=opened.kind,
                    body=body_digest(opened.body),
                    participants=opened.participants,
                )
                waiting = [name for name in opened.participants if name not in opened.uploads]
                return [Request(name, wire.to_bytes(request), opened.body) for name in waiting]
            case "confirm":
                statement = self._statement()
                waiting = [name for name in statement.names if name not in self._open().endorsements]
                return self._to_all(m.ConfirmRequest(statement), waiting)
            case "unmask":
                waiting = [name for name in self._statement().names if name not in self._open().openings]
                return self._to_all(m.UnmaskRequest(self._certificate()), waiting)
            case "recover":
                return self._recover_requests()
            case _:
                return []

    def receive(self, site: str, data: bytes, payload: bytes = b"") -> None:
        """Take in what `site` answered; `payload` holds the masked lanes beside an upload.

        Raises a `PeerError` that names the site, with nothing changed but the `faults`, for an answer that
        does not hold; the site may be asked again, or counts as vanished. A refusal is no error: it moves the
        coordinator's place forward where sites are ahead of it, and is kept among the faults.
        """
        try:
            self._receive(site, data, payload)
        except PeerError as error:
            self._fault(error.peers or (site,), str(error))
            raise

    def _receive(self, site: str, data: bytes, payload: bytes) -> None:
        self._roster.index(site)
        message = wire.read_at_coordinator(data, len(self._roster))
        claimed = message.summary.site if isinstance(message, m.Upload) else _sender(message)
        if claimed not in (site, None):
            raise MalformedMessage(f"site {site!r} answered in the name of {claimed!r}", peers=(site,))
        if isinstance(message, m.Refusal):
            self._take_refusal(site, message)
        elif isinstance(message, m.Receipt):
            self._take_receipt(site, message)
        elif isinstance(message, m.Closed):
            self._same_session(site, message.session)
        elif isinstance(message, m.Unmasking) and self.phase == "recover":
            self._take_unmasking(site, message)
        else:
            expected = _ANSWERS.get(self.phase)
            if expected is None or not isinstance(message, expected):
                raise MalformedMessage(
                    f"site {site!r} sent a {type(message).__name__} at phase {self.phase!r}", peers=(site,)
                )
            match message:
                case m.Advertisement():
                    self._take_advertisement(site, message)
                case m.SealedPairs():
                    self._take_sealed(site, message)
                case m.Upload():
                    self._take_upload(site, message, payload)
                case m.Confirmation():
                    self._take_confirmation(site, message)
                case m.Unmasking():
                    self._take_unmasking(site, message)
                case m.Recovery():
                    self._take_recovery(site, message)

    def proceed(self) -> str:
        """Wait no longer: go on with who has answered, and say the new phase.

        Raises `RoundAborted` if too few have; set-up then stays where it is, and a round is over without a
        sum, so that the next may be opened.
        """
        match self.phase:
            case "advertise":
                self._need_cohort(len(self._state.advertisements), "advertised")
                self._state.session = session_digest(
                    self._state.session_id, self._roster, self.policy, self._listing()
                )
                self._state.graph = session_graph(
                    self._roster.names, self.policy.neighbours, self._state.session
                )
                self._state.phase = "seal"
            case "seal":
                self._need_cohort(len(self._state.sealed), "sealed their pair secrets")
                self._state.phase = "receipt"
            case "receipt":
                self._need_cohort(len(self.able()), "hold pair secrets with each other")
                self._state.phase = "ready"
            case "upload":
                self._close_uploads()
            case "confirm":
                self._close_confirmations()
            case "unmask":
                self._close_unmasking()
            case "recover":
                self._close_recovery()
            case other:
                raise StateError(f"there is nothing to proceed from at phase {other!r}")
        return self.phase

    def open_round(self, kind: str, body: bytes = b"", participants: Sequence[str] | None = None) -> None:
        """Start the next round: ask `kind` of `participants` (default: all that hold pairs with each other).

        Raises `RoundAborted` if they are too few or do not all hold pairs with each other, and `StateError`
        during set-up. A round that is still open is given up.
        """
        state = self._state
        if state.phase in ("advertise", "seal", "receipt"):
            raise StateError(f"set-up is not over: the session is at phase {state.phase!r}")
        question = state.policy.question(kind)
        able = self.able()
        chosen = state.cohort or able if participants is None else tuple(sorted(set(participants)))
        if state.cohort and chosen != state.cohort:
            raise InvalidArgument(f"the policy freezes the participants: {list(state.cohort)}")
        if strangers := sorted(set(chosen) - set(state.advertisements)):
            raise RoundAborted(f"{strangers} have no part in this session", peers=tuple(strangers))
        if missing := sorted({site for pair in self._missing_pairs(chosen) for site in pair}):
            raise RoundAborted(
                f"not all of {missing} hold pair secrets with each other", peers=tuple(missing)
            )
        self._need_cohort(len(chosen), "can take part")
        if reason := self._thin_neighbourhood(chosen):
            raise RoundAborted(f"the participants are too few on the sparse graph: {reason}")
        if reason := self._thin_group(chosen):
            declarers = [name for name, groups in self._declared(chosen).items() if set(groups) - {EVERYONE}]
            raise RoundAborted(f"{reason}: leave out who declared it", peers=tuple(declarers))
        if state.round >= state.policy.rounds:
            raise RoundAborted(f"the policy allows {state.policy.rounds} rounds, and all were used")
        state.round += 1
        state.open = OpenTally(
            context=round_context(
                state.session, state.round, state.policy, question, body_digest(body), chosen
            ),
            kind=kind,
            body=body,
            participants=chosen,
            graph=self._graph(),
        )
        if state.policy.across_rounds == "freeze":
            state.cohort = chosen
        state.phase = "upload"
        self._result = None

    def close_requests(self, *, final: bool) -> list[Request]:
        """Ask every participant to wipe the keys of the open round, and with `final` of the session."""
        names = self._state.receipts
        return self._to_all(m.Close(self._state.session, final), sorted(names))

    def able(self) -> tuple[str, ...]:
        """The sites that hold pair secrets with each other, as many as can be."""
        names = sorted(self._state.receipts)
        left_out = smallest_cover(self._missing_pairs(names), self._blame())
        return tuple(name for name in names if name not in left_out)

    def _declared(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return {name: self._state.advertisements[name].groups for name in names}

    def _thin_group(self, names: Sequence[str]) -> str | None:
        return thin_group(planned_groups(self.policy), self._declared(names), names, self.policy.min_cohort)

    def _missing_pairs(self, names: Sequence[str]) -> list[tuple[str, str]]:
        held = {name: frozenset(self._state.receipts.get(name, ())) for name in names}
        return [
            (one, other)
            for one, other in self._graph().pairs(names)
            if other not in held[one] or one not in held[other]
        ]

    def _thin_neighbourhood(self, names: Sequence[str]) -> str | None:
        return thin_neighbourhood(self._graph(), names, self.policy.least_neighbours)

    def _blame(self) -> Counter[str]:
        """How often each site was part of a fault so far: who is in many bad pairs is left out first."""
        return Counter(peer for fault in self._state.faults for peer in fault.peers)

    # Set-up ----------------------------------------------------------------------------------------------

    def _take_advertisement(self, site: str, message: m.Advertisement) -> None:
        check_advertisement(message, self._state.session_id, self._roster, self.policy)
        check_box_key(site, message.box_key)
        self._state.advertisements[site] = message

    def _listing(self) -> tuple[m.Listed, ...]:
        return tuple(message.listed for _, message in sorted(self._state.advertisements.items()))

    def _advertisement_requests(self) -> list[Request]:
        """To each site its own advertisement and its neighbours', and a list of all if these are not all."""
        state, graph = self._state, self._graph()
        listing = self._listing() if self.policy.neighbours else ()
        requests = []
        for name in sorted(state.advertisements):
            if name not in state.sealed:
                shown = sorted((name, *graph.among(name, state.advertisements)))
                message = m.Advertisements(
                    state.session_id, tuple(state.advertisements[site] for site in shown), listing
                )
                requests.append(Request(name, wire.to_bytes(message)))
        return requests

    def _take_sealed(self, site: str, message: m.SealedPairs) -> None:
        self._same_session(site, message.session)
        if site not in self._state.advertisements:
            raise MalformedMessage(f"site {site!r} sealed pairs without an advertisement", peers=(site,))
        expected = [name for name in self._graph().among(site, self._state.advertisements) if name > site]
        if [box.receiver for box in message.boxes] != expected or any(
            b.sender != site for b in message.boxes
        ):
            raise MalformedMessage(f"site {site!r} did not seal one box for each later peer", peers=(site,))
        for box in message.boxes:
            self._roster.verify(
                site, box.signature, "sealed pair", message.session, site, box.receiver, box.sealed
            )
        self._state.sealed[site] = {box.receiver: box for box in message.boxes}

    def _boxes_for(self, site: str) -> m.Boxes:
        boxes = tuple(
            boxes[site]
            for sender, boxes in sorted(self._state.sealed.items())
            if site in boxes and (sender, site) not in self._state.withheld
        )
        return m.Boxes(self._state.session, boxes)

    def _take_receipt(self, site: str, message: m.Receipt) -> None:
        """Receipts may come late: the site then takes part from the next round on."""
        self._same_session(site, message.session)
        self._roster.verify(site, message.signature, "receipt", message.session, site, message.peers)
        self._state.receipts[site] = message.peers
        for peer in self._graph().among(site, self._state.receipts):
            peers = self._state.receipts[peer]
            if (peer in message.peers) != (site in peers):
                one, other = (peer, site) if site in peers else (site, peer)
                self._fault((one, other), f"site {other!r} does not hold the pair that {one!r} holds")

    def _take_refusal(self, site: str, message: m.Refusal) -> None:
        state = self._state
        if self.phase == "confirm" and message.statement is not None and message.signature is not None:
            self._take_older_statement(site, message.statement, message.signature)
        reason = "".join(character for character in message.reason if character.isprintable())
        self._fault((site, *message.peers), f"site {site!r} refused: {reason}")
        if self.phase == "upload":
            self._open().refusals[site] = reason[:_TOLD]
        if message.frozen is not None and self.policy.across_rounds == "freeze":
            self._take_frozen(site, message.frozen)
        if message.session == state.session and state.session:
            # A place is believed once one honest site must be among those that claim it: otherwise a single
            # liar could use up all rounds.
            state.places[site] = message.round
            claims = sorted(state.places.values(), reverse=True)
            if len(claims) > self.policy.colluders:
                state.round = max(state.round, claims[self.policy.colluders])
        if self.phase == "receipt":
            # Boxes that fail are sent once more, and left out the second time.
            state.complaints[site] = state.complaints.get(site, 0) + 1
            if state.complaints[site] > 1:
                state.withheld |= {(sender, site) for sender in message.peers}

    def _take_frozen(self, site: str, frozen: m.Frozen) -> None:
        """Believe what the data is frozen to once an honest site must be among those that say it."""
        state = self._state
        state.frozen[site] = frozen
        if list(state.frozen.values()).count(frozen) > self.policy.colluders:
            state.cohort = frozen.participants
            state.survivors = frozen.survivors or state.survivors

    # A round ---------------------------------------------------------------------------------------------

    def _take_upload(self, site: str, message: m.Upload, payload: bytes) -> None:
        opened = self._open()
        check_upload(opened, site, message, payload, self._roster, self.policy)
        if site in opened.uploads and opened.uploads[site] != message:
            raise PeerError(f"site {site!r} uploaded twice in one round", peers=(site,))
        opened.uploads[site] = message
        opened.payloads[site] = payload

    def _close_uploads(self) -> None:
        opened = self._open()
        kept = self._consistent_uploads()
        if self._state.survivors is not None:
            if missing := sorted(set(self._state.survivors) - set(kept)):
                self._abort(f"the policy freezes the survivors, and {missing} are missing", missing)
            kept = self._state.survivors
        left_out = sorted(set(opened.participants) - set(kept))
        tolerated = self.policy.tolerated(len(opened.participants))
        if len(left_out) > tolerated:
            self._abort(
                f"{len(left_out)} of {len(opened.participants)} sites dropped out, {tolerated} are tolerated"
                f"{opened.refused()}",
                left_out,
            )
        if reason := self._thin_group(kept) or self._thin_neighbourhood(kept):
            self._abort(reason, left_out)
        opened.statement = m.Statement(
            session=opened.context.session,
            policy=opened.context.policy,
            round=opened.context.round,
            question=opened.context.question,
            cohort=opened.context.cohort,
            survivors=tuple(m.Survivor(name, opened.uploads[name].summary.digest) for name in kept),
        )
        if self.policy.across_rounds == "freeze":
            self._state.survivors = kept
        self._state.phase = "confirm" if self.policy.consistency else "unmask"

    def _consistent_uploads(self) -> tuple[str, ...]:
        """The uploads without a smallest set of sites that covers every pair of differing commitments."""
        bad_pairs = differing_pairs(self._open())
        for one, other in bad_pairs:
            self._fault((one, other), f"sites {one!r} and {other!r} commit to different masks")
        left_out = smallest_cover(bad_pairs, self._blame())
        return tuple(name for name in sorted(self._open().uploads) if name not in left_out)

    def _take_confirmation(self, site: str, message: m.Confirmation) -> None:
        statement = self._statement()
        signed = statement.digest
        if site not in statement.names or message.statement != signed:
            raise PeerError(f"site {site!r} confirmed another statement", peers=(site,))
        self._roster.verify(site, message.signature, "statement", signed)
        self._open().endorsements[site] = message.signature

    def _take_older_statement(self, site: str, statement: m.Statement, signature: bytes) -> None:
        """A site has signed another statement of this round: one of ours, from before a restart, or a lie."""
        opened = self._open()
        if (statement.session, statement.round) != (opened.context.session, opened.context.round):
            return
        held = {name: upload.summary.digest for name, upload in opened.uploads.items()}
        self._roster.verify(site, signature, "statement", statement.digest)
        check_statement(
            statement,
            opened.context,
            opened.participants,
            self.policy,
            self._declared(opened.participants),
            opened.graph,
        )
        if all(held.get(survivor.site) == survivor.upload for survivor in statement.survivors):
            opened.signed_before[site] = (statement, signature)

    def _adopt_older_statement(self) -> None:
        """Where t sites have signed one statement already, it is the round's, since they sign no other."""
        opened = self._open()
        signers: dict[bytes, dict[str, bytes]] = {}
        statements: dict[bytes, m.Statement] = {}
        for site, (statement, signature) in opened.signed_before.items():
            if site in statement.names:
                statements[statement.digest] = statement
                signers.setdefault(statement.digest, {})[site] = signature
        for found, signatures in signers.items():
            if len(signatures) >= self.policy.threshold:
                opened.statement, opened.endorsements = statements[found], signatures
                if self.policy.across_rounds == "freeze":
                    self._state.survivors = statements[found].names

    def _close_confirmations(self) -> None:
        if len(self._open().endorsements) < self.policy.threshold:
            self._adopt_older_statement()
        signed, statement = self._open().endorsements, self._statement()
        if len(signed) < self.policy.threshold:
            self._abort(
                f"{len(signed)} sites confirmed the survivors, {self.policy.threshold} are needed",
                [name for name in statement.names if name not in signed],
            )
        self._state.phase = "unmask"

    def _certificate(self) -> m.Certificate:
        """The statement and t of the signatures on it: each site checks all that it is given."""
        signed = sorted(self._open().endorsements.items())[: self.policy.threshold]
        return m.Certificate(self._statement(), tuple(m.Endorsement(*item) for item in signed))

    def _take_unmasking(self, site: str, message: m.Unmasking) -> None:
        opened = self._open()
        if (message.session, message.round) != (opened.context.session, opened.context.round):
            raise PeerError(f"site {site!r} unmasked another round", peers=(site,))
        if site not in self._statement().names:
            raise PeerError(f"site {site!r} unmasked without being a survivor", peers=(site,))
        opening = Opening(message.self_seed, message.pair_keys, message.link)
        check_opening(opened, site, opening, self.policy)
        opened.openings[site] = opening

    def _close_unmasking(self) -> None:
        opened = self._open()
        opened.vanished = tuple(name for name in self._statement().names if name not in opened.openings)
        if opened.vanished:
            opened.shares = {name: {} for name in opened.vanished}
            self._state.phase = "recover"
        else:
            self._finish()

    def _recover_requests(self) -> list[Request]:
        opened, certificate = self._open(), self._certificate()
        requests = []
        for vanished in opened.vanished:
            upload = opened.uploads[vanished]
            peers = opened.peers_of(vanished)
            for name in peers:
                if name in opened.uploads and (name, vanished) not in opened.answered:
                    box = upload.boxes[peers.index(name)]
                    message = m.RecoverRequest(certificate=certificate, vanished=upload.summary, box=box)
                    requests.append(Request(name, wire.to_bytes(message)))
        return requests

    def _take_recovery(self, site: str, message: m.Recovery) -> None:
        opened, vanished = self._open(), message.vanished
        if (message.session, message.round) != (opened.context.session, opened.context.round):
            raise PeerError(f"site {site!r} gave shares of another round", peers=(site,))
        asked = vanished in opened.vanished and site in opened.peers_of(vanished)
        if not asked or site not in opened.uploads:
            raise PeerError(f"site {site!r} gave shares of {vanished!r}, which nobody asked", peers=(site,))
        if message.fault:
            opened.answered.add((site, vanished))
            self._fault(
                (site, vanished),
                f"site {site!r} says that the share box of {vanished!r} is wrong ({message.fault}); which of "
                f"the two is at fault cannot be told",
            )
            return
        check_shares(opened, site, message, self.policy)
        opened.answered.add((site, vanished))
        opened.shares[vanished][site] = tuple(share.share for share in message.shares)

    def _close_recovery(self) -> None:
        opened = self._open()
        for vanished in opened.vanished:
            if vanished not in opened.openings:
                opened.openings[vanished] = self._rebuild(vanished)
        self._finish()

    def _rebuild(self, vanished: str) -> Opening:
        shares = self._open().shares[vanished]
        if len(shares) < self.policy.threshold:
            self._abort(
                f"{len(shares)} sites gave shares of {vanished!r}, {self.policy.threshold} are needed",
                [vanished],
            )
        try:
            return rebuild(self._open(), vanished, self._roster, self.policy)
        except ShareError as error:
            self._fault(error.peers, str(error))
            self._abort(str(error), error.peers)

    def _finish(self) -> None:
        opened = self._open()
        self._result = Result(
            round=opened.context.round,
            question=self.policy.question(opened.kind),
            lanes=unmasked_sum(opened, self._roster, self.policy),
            participants=opened.participants,
            survivors=opened.survivors(),
            dropped=tuple(opened.dropped()),
            vanished=opened.vanished,
            links={name: o.link for name, o in opened.openings.items() if o.link is not None},
            faults=self.faults,
        )
        self._state.open = None
        self._state.phase = "done"

    # Helpers ---------------------------------------------------------------------------------------------

    def _graph(self) -> Graph:
        if self._state.graph is None:
            raise StateError("the advertisements of this session are not known yet")
        return self._state.graph

    def _open(self) -> OpenTally:
        if self._state.open is None:
            raise StateError("no round is open")
        return self._state.open

    def _statement(self) -> m.Statement:
        statement = self._open().statement
        if statement is None:
            raise StateError("the round has no statement yet")
        return statement

    def _same_session(self, site: str, session: bytes) -> None:
        if session != self._state.session:
            raise PeerError(f"site {site!r} answered for another session", peers=(site,))

    def _need_cohort(self, count: int, what: str) -> None:
        if count < self.policy.smallest_cohort:
            raise RoundAborted(f"{count} sites {what}, at least {self.policy.smallest_cohort} are needed")

    def _abort(self, reason: str, peers: Sequence[str]) -> NoReturn:
        self._state.open = None
        self._state.phase = "done"
        raise RoundAborted(reason, peers=tuple(peers))

    def _fault(self, peers: Sequence[str], reason: str) -> None:
        fault = Fault(tuple(name for name in dict.fromkeys(peers) if name in self._roster), reason)
        if fault not in self._state.faults and self._blame()[peers[0]] < MAX_FAULTS:
            self._state.faults.append(fault)

    def _to_all(self, message: m.ToSite, names: Sequence[str]) -> list[Request]:
        data = wire.to_bytes(message)
        return [Request(name, data) for name in names]


_ANSWERS: dict[str, type[m.Message]] = {
    "advertise": m.Advertisement,
    "seal": m.SealedPairs,
    "upload": m.Upload,
    "confirm": m.Confirmation,
    "unmask": m.Unmasking,
    "recover": m.Recovery,
}


def _sender(message: m.ToCoordinator) -> str | None:
    return getattr(message, "site", None)
