# SPDX-License-Identifier: Apache-2.0

"""The journal's port: one suite for the one in memory and the one on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from sordino.errors import JournalError
from sordino.files.journal import FileJournal
from sordino.protocol.journal import FIRST, Entry, Index, Journal, MemoryJournal, Reply, Terms, draft
from sordino.protocol.messages import Statement, Survivor

MakeJournal = Callable[[], Journal]
ONE, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture(params=["memory", "disk"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return MemoryJournal() if request.param == "memory" else FileJournal(tmp_path / "journal")


def terms(*participants: str, threshold: int = 3) -> Terms:
    return Terms(bytes(32), threshold, 1, bytes(32), participants)


def statement(*names: str) -> Statement:
    survivors = tuple(Survivor(name, bytes(32)) for name in names)
    return Statement(bytes(32), bytes(32), 1, bytes(32), bytes(32), survivors)


def entry(action: str = "Boxes", *, session: bytes = ONE, request: int = 0, **changes: object) -> Entry:
    drafted = draft(
        session=session,
        dataset="lungs",
        action=action,
        step="ready",
        round_number=0,
        request=request.to_bytes(32, "big"),
    )
    return replace(drafted, **changes)


def test_entries_form_a_chain(journal: Journal) -> None:
    with journal.open() as book:
        first = book.append(entry(), Reply(b"one"))
        second = book.append(entry(request=1), Reply(b"two"))
        assert (first.sequence, first.previous) == (0, FIRST)
        assert (second.sequence, second.previous) == (1, first.digest)
        assert book.index.head == second.digest
        assert [book.index.digest_at(length) for length in range(4)] == [
            FIRST,
            first.digest,
            second.digest,
            None,
        ]


def test_an_answer_is_kept_beside_its_entry(journal: Journal) -> None:
    replies = [Reply(b"one"), Reply(b"two", b"payload"), Reply(b"")]
    with journal.open() as book:
        written = [book.append(entry(request=place), reply) for place, reply in enumerate(replies)]
        assert [book.stored(line) for line in written] == replies
        assert [line.reply for line in written] == [reply.digest for reply in replies]


@pytest.mark.parametrize("action", ["UploadRequest", "Close"])
def test_a_new_round_or_a_close_forgets_the_answers_before(journal: Journal, action: str) -> None:
    with journal.open() as book:
        old = book.append(entry(statement=statement("a"), signature=bytes(64), vanished="b"), Reply(b"one"))
        other = book.append(entry(session=OTHER), Reply(b"kept"))
        known = book.index.session(ONE)
        assert (known.statement, known.signature) == (statement("a"), bytes(64))
        assert known.recovered == {"b"}
        new = book.append(entry(action, request=1), Reply(b"two"))
        assert book.stored(old) is None
        assert book.stored(new) == Reply(b"two")
        assert book.stored(other) == Reply(b"kept"), "another session is untouched"
        known = book.index.session(ONE)
        assert set(known.answers) == {new.request}
        assert (known.statement, known.signature, known.recovered) == (None, None, set())
        assert known.last == new


def test_what_was_asked_of_a_data_set_is_known_across_sessions(journal: Journal) -> None:
    with journal.open() as book:
        assert (book.index.asked("lungs").terms, book.index.asked("lungs").frozen) == (set(), False)
        book.append(entry("UploadRequest", terms=terms("a", "b")), Reply(b""))
        book.append(entry("UploadRequest", session=OTHER, terms=terms("a"), freeze=True), Reply(b""))
        book.append(entry("ConfirmRequest", session=OTHER, statement=statement("a", "b")), Reply(b""))
        book.append(entry("UploadRequest", dataset="brains", terms=terms("c")), Reply(b""))
        lungs, brains = book.index.asked("lungs"), book.index.asked("brains")
    assert lungs.terms == {terms("a", "b"), terms("a")}
    assert lungs.survivors == {("a", "b")}
    assert lungs.frozen
    assert (brains.terms, brains.survivors, brains.frozen) == ({terms("c")}, set(), False)


def test_an_index_takes_no_entry_that_does_not_follow() -> None:
    index = Index()
    first = entry()
    index.add(first)
    for wrong in (
        first,
        replace(first, sequence=1),
        replace(first, previous=first.digest),
        replace(first, sequence=2, previous=first.digest),
    ):
        with pytest.raises(JournalError, match="does not follow"):
            index.add(wrong)
    assert index.length == 1
    index.add(replace(first, sequence=1, previous=first.digest))


def test_every_field_of_an_entry_is_in_its_digest() -> None:
    base = entry(
        "UploadRequest", terms=terms("a"), statement=statement("a"), signature=bytes(64), vanished="b"
    )
    changes = {
        "sequence": 9,
        "previous": ONE,
        "session": OTHER,
        "dataset": "brains",
        "action": "Close",
        "step": "sealed",
        "round": 9,
        "request": ONE,
        "reply": ONE,
        "terms": terms("b"),
        "freeze": True,
        "statement": statement("b"),
        "signature": b"1" * 64,
        "vanished": "c",
        "charge": b"price",
    }
    assert set(changes) == set(base.__struct_fields__)
    digests = {replace(base, **{field: value}).digest for field, value in changes.items()}
    assert len(digests | {base.digest}) == len(changes) + 1
