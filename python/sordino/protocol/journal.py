# SPDX-License-Identifier: Apache-2.0

"""The journal of a site: what it has done, in a place that restoring a session state cannot change.

This is the port and its rules. `Book` is what a site sees while it holds the journal exclusively; `Index`
is everything that follows from the entries. Where entries live is an adapter's matter: `MemoryJournal` here
for one process, `sordino.files.journal.FileJournal` on disk.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct, structs

from sordino.errors import JournalError
from sordino.protocol.encoding import DIGEST_BYTES, digest
from sordino.protocol.messages import Digest, Names, Round, Signature, Statement
from sordino.protocol.policy import Name

FIRST = bytes(DIGEST_BYTES)
"""What the first entry has as its previous digest."""


MAX_CHARGE_BYTES = 2**16

CHARGE = "Charge"
"""The action of an entry that answers nothing: it only spends."""

PLAIN = b""
"""Stands among the charges for every upload without noise, of which no price says what it cost."""


class Terms(Struct, frozen=True, forbid_unknown_fields=True):
    """Among whom data was asked about; under `freeze` it may never change for one data set.

    `groups` is the hash of the lane groups that could be asked for, and of who among the participants has
    which: sums over other groups could be subtracted from these.
    """

    roster: Digest
    threshold: int
    colluders: int
    groups: Digest
    participants: Names


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that a site did, written down before any message about it leaves.

    sequence    place in the journal, from 0
    previous    digest of the entry before
    session     the session id that the coordinator offered
    dataset     the operator's name for the data; data sets that share a patient share a name
    action      the request that was answered
    step        the site's step afterwards
    round       the session's round (0 during set-up)
    request     digest of the request's bytes
    reply       digest of the answer's bytes and of its payload's digest
    terms       for an upload without noise: among whom
    freeze      for an upload: whether the policy froze them
    statement   the round's statement, once one was accepted, with this site's signature if it gave one
    vanished    for a recovery: whose shares were given
    charge      the privacy cost of the upload that may follow, spent for good; what it says is the guard's
    """

    sequence: int
    previous: Digest
    session: Digest
    dataset: str
    action: Annotated[str, Meta(max_length=32)]
    step: Annotated[str, Meta(max_length=32)]
    round: Round
    request: Digest
    reply: Digest
    terms: Terms | None = None
    freeze: bool = False
    statement: Statement | None = None
    signature: Signature | None = None
    vanished: Name | None = None
    charge: Annotated[bytes, Meta(max_length=MAX_CHARGE_BYTES)] | None = None

    @property
    def opens(self) -> bool:
        """Whether it ends the round before it: nothing of that one is answered any more."""
        return self.action in (CHARGE, "UploadRequest", "Close")

    @property
    def digest(self) -> bytes:
        """The link of the hash chain that this entry makes."""
        return digest("journal entry", self)


class Reply(NamedTuple):
    """An answer's bytes and the payload that travels beside it (empty if none)."""

    data: bytes
    payload: bytes = b""

    @property
    def digest(self) -> bytes:
        """What an entry says of the answer."""
        return reply_digest(self.data, hashlib.sha256(self.payload).digest())


def reply_digest(data: bytes, payload: bytes) -> bytes:
    """The digest of an answer whose payload has the digest `payload`."""
    return digest("reply", data, payload)


class Asked:
    """What has been asked about one data set.

    terms, survivors, frozen    what freezing rests on
    charges                     how often each privacy cost was charged, uploads without noise as `PLAIN`
    """

    def __init__(self) -> None:
        self.charges: Counter[bytes] = Counter()
        self.terms: set[Terms] = set()
        self.survivors: set[tuple[str, ...]] = set()
        self.frozen = False


class Session:
    """What the journal knows of one session."""

    def __init__(self) -> None:
        self.last: Entry | None = None
        self.answers: dict[bytes, Entry] = {}
        self.statement: Statement | None = None
        self.signature: bytes | None = None
        self.recovered: set[str] = set()
        self.counted = False

    def add(self, entry: Entry) -> None:
        """Take in the session's next entry; a new round, or the end of one, closes the one before."""
        if entry.opens:
            self.answers, self.recovered = {}, set()
            self.statement = self.signature = None
            self.counted = entry.terms is not None
        self.last = entry
        if entry.action == CHARGE:
            return
        self.answers[entry.request] = entry
        self.statement = entry.statement or self.statement
        self.signature = entry.signature or self.signature
        if entry.vanished is not None:
            self.recovered.add(entry.vanished)


class Index:
    """All that follows from the entries so far. Raises `JournalError` for an entry that does not follow."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._sessions: dict[bytes, Session] = {}
        self._asked: dict[str, Asked] = {}

    @property
    def length(self) -> int:
        """How many entries there are."""
        return len(self._digests)

    @property
    def head(self) -> bytes:
        """Digest of the last entry."""
        return self._digests[-1] if self._digests else FIRST

    def digest_at(self, length: int) -> bytes | None:
        """The head when the journal had `length` entries; None if it is shorter than that."""
        if length > len(self._digests):
            return None
        return self._digests[length - 1] if length else FIRST

    def session(self, session_id: bytes) -> Session:
        """What is known of a session; an empty one if nothing is."""
        return self._sessions.get(session_id, Session())

    def asked(self, dataset: str) -> Asked:
        """What has been asked about a data set."""
        return self._asked.get(dataset, Asked())

    def add(self, entry: Entry) -> None:
        """Take in the next entry."""
        if entry.sequence != self.length or entry.previous != self.head:
            raise JournalError(f"journal entry {self.length} does not follow from the one before it")
        self._digests.append(entry.digest)
        self._sessions.setdefault(entry.session, Session()).add(entry)
        asked = self._asked.setdefault(entry.dataset, Asked())
        if entry.terms is not None:
            asked.terms.add(entry.terms)
            asked.charges[PLAIN] += 1
            asked.frozen |= entry.freeze
        if entry.charge is not None:
            asked.charges[entry.charge] += 1
        if entry.statement is not None and self._sessions[entry.session].counted:
            asked.survivors.add(entry.statement.names)


class Book(ABC):
    """An open journal, held exclusively."""

    index: Index

    def append(self, entry: Entry, reply: Reply, *, payload: bytes | None = None) -> Entry:
        """Write `entry` at the end, with `reply` kept beside it, and return it as written.

        payload    the SHA-256 digest of the reply's payload, if it is known: payloads are large

        The entry's `sequence`, `previous` and `reply` are filled in here. When this returns, the entry would
        survive a loss of power.
        """
        answer = reply.digest if payload is None else reply_digest(reply.data, payload)
        written = structs.replace(entry, sequence=self.index.length, previous=self.index.head, reply=answer)
        self._write(written, reply)
        self.index.add(written)
        return written

    def stored(self, entry: Entry) -> Reply | None:
        """The answer that was kept beside an entry, checked against it; None if it was too large to keep."""
        reply = self._read_reply(entry)
        if reply is not None and reply.digest != entry.reply:
            raise JournalError(f"the answer kept beside journal entry {entry.sequence} was altered")
        return reply

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """All entries, in order, read anew; raises `JournalError` where they cannot be."""

    @abstractmethod
    def _write(self, entry: Entry, reply: Reply) -> None: ...

    @abstractmethod
    def _read_reply(self, entry: Entry) -> Reply | None: ...


class Journal(ABC):
    """A place for the journal."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Book]:
        """Hold the journal exclusively, all entries read; raises `JournalError` if it is damaged."""


class MemoryJournal(Journal):
    """A journal that lasts as long as the process: for simulations and tests."""

    def __init__(self) -> None:
        self._book = _MemoryBook()

    @contextmanager
    def open(self) -> Iterator[Book]:
        """Hold the journal; there is nobody else."""
        yield self._book


class _MemoryBook(Book):
    def __init__(self) -> None:
        self.index = Index()
        self._entries: list[Entry] = []
        self._replies: dict[bytes, dict[int, Reply]] = {}

    def entries(self) -> Iterator[Entry]:
        """See `Book.entries`."""
        return iter(self._entries)

    def _write(self, entry: Entry, reply: Reply) -> None:
        kept = self._replies.setdefault(entry.session, {})
        if entry.opens:
            kept.clear()
        kept[entry.sequence] = reply
        self._entries.append(entry)

    def _read_reply(self, entry: Entry) -> Reply | None:
        return self._replies.get(entry.session, {}).get(entry.sequence)


def draft(
    *,
    session: bytes,
    dataset: str,
    action: str,
    step: str,
    round_number: int,
    request: bytes,
    terms: Terms | None = None,
    freeze: bool = False,
    statement: Statement | None = None,
    signature: bytes | None = None,
    vanished: str | None = None,
    charge: bytes | None = None,
) -> Entry:
    """An entry that still lacks its place in the chain, which `Book.append` gives it."""
    return Entry(
        sequence=0,
        previous=FIRST,
        session=session,
        dataset=dataset,
        action=action,
        step=step,
        round=round_number,
        request=request,
        reply=FIRST,
        terms=terms,
        freeze=freeze,
        statement=statement,
        signature=signature,
        vanished=vanished,
        charge=charge,
    )
