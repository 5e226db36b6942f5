# SPDX-License-Identifier: Apache-2.0

"""The journal on a failing disk: nothing leaves before it is written, and what failed was never asked."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adversarial.toolkit import Study, make_policy
from sordino.errors import JournalError
from sordino.files import durable
from sordino.files.journal import FileJournal, _FileBook
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.journal import FIRST, Book, Entry, Reply, draft

SITE = "site02"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """After set-up, all journals on disk."""
    return Study(make_policy(), journals=lambda name: FileJournal(tmp_path / name)).set_up()


def file_of(study: Study) -> Path:
    return study.journals[SITE]._directory / "journal.jsonl"


def reopened(study: Study) -> int:
    """How many entries a new process finds; raises if the journal is damaged."""
    with FileJournal(study.journals[SITE]._directory).open() as book:
        return book.index.length


def name_of(handle: int) -> str:
    return Path(f"/proc/self/fd/{handle}").readlink().name


@contextmanager
def watched_fsync(monkeypatch: pytest.MonkeyPatch, fail: Callable[[str], bool]) -> Iterator[list[str]]:
    """Gives the names of the files that were flushed; flushing those of `fail` raises an I/O error."""
    flushed: list[str] = []
    really = os.fsync

    def fsync(handle: int) -> None:
        name = name_of(handle)
        if fail(name):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(handle)
        flushed.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield flushed


# Flushing -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell what is flushed")
def test_an_entry_that_was_not_flushed_is_not_there_and_is_written_when_asked_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.to("upload")
    request, before = study.requests()[SITE], file_of(study).read_bytes()
    state = study.saved(SITE)
    with (
        watched_fsync(monkeypatch, lambda name: name == "journal.jsonl"),
        pytest.raises(JournalError, match="cannot be written: Input/output error"),
    ):
        study.deliver(SITE, request.data)
    assert file_of(study).read_bytes() == before
    assert study.saved(SITE) == state
    with watched_fsync(monkeypatch, lambda _: False) as flushed:
        study.deliver(SITE, request.data)
    assert flushed[-1] == "journal.jsonl", "nothing leaves before the entry is on disk"
    assert reopened(study) == before.count(b"\n") + 1
    assert study.round().survivors == study.names


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell what is flushed")
@pytest.mark.parametrize("failing", ["journal.jsonl", SITE])
def test_the_first_entry_is_there_only_with_the_journals_own_name_flushed(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(make_policy(), journals=lambda name: FileJournal(tmp_path / name))
    request = study.requests()[SITE]
    with watched_fsync(monkeypatch, lambda name: name == failing), pytest.raises(JournalError):
        study.deliver(SITE, request.data)
    assert reopened(study) == 0
    assert study.sites[SITE].step == "new"
    with watched_fsync(monkeypatch, lambda _: False) as flushed:
        study.deliver(SITE, request.data)
    assert flushed[-2:] == ["journal.jsonl", SITE]
    assert reopened(study) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell what is flushed")
@pytest.mark.parametrize("first", [True, False])
def test_what_a_killed_process_wrote_is_flushed_before_it_is_believed(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is in the file but perhaps not on the disk: the stored answer must not leave before it is."""
    study = Study(make_policy(), journals=lambda name: FileJournal(tmp_path / name))
    study.to("advertise" if first else "upload")
    state = None if first else study.saved(SITE)
    request = study.requests()[SITE]

    def killed(_: str) -> bool:
        raise SystemExit

    with (
        watched_fsync(monkeypatch, lambda name: name == "journal.jsonl" and killed(name)),
        pytest.raises(SystemExit),
    ):
        study.deliver(SITE, request.data)
    study.journals[SITE] = FileJournal(tmp_path / SITE)
    study.restore(SITE, state)
    with watched_fsync(monkeypatch, lambda _: False) as flushed, study.journals[SITE].open():
        pass
    assert flushed == ["journal.jsonl", SITE]


def test_a_short_write_leaves_no_part_of_an_entry(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.to("upload")
    request, before = study.requests()[SITE], file_of(study).read_bytes()
    really = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: really(handle, data[: len(data) // 2]))
        with pytest.raises(JournalError, match="No space left"):
            study.deliver(SITE, request.data)
    assert file_of(study).read_bytes() == before
    study.deliver(SITE, request.data)
    assert reopened(study) == before.count(b"\n") + 1


def test_an_answer_that_cannot_be_kept_writes_no_entry(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.to("upload")
    request, before = study.requests()[SITE], file_of(study).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("sordino.files.journal.write_durably", full)
        with study.nothing_changes(), pytest.raises(JournalError, match="cannot be written: No space left"):
            study.deliver(SITE, request.data)
    assert file_of(study).read_bytes() == before
    assert study.round().survivors == study.names


# Payloads beside entries ----------------------------------------------------------------------------------


def test_a_payload_left_by_an_entry_that_was_never_written_is_not_taken_for_anothers(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.round()
    study.to("upload")

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(_FileBook, "_append", killed)
        with pytest.raises(SystemExit):
            study.deliver(SITE, study.requests()[SITE].data)
    kept = study.journals[SITE]._directory / "replies"
    assert len(list(kept.glob("*/*.payload"))) == 2
    closing = wire.to_bytes(m.Close(study.session, final=False))
    first = study.deliver(SITE, closing)
    assert study.deliver(SITE, closing) == first
    assert not list(kept.glob("*/*.payload"))


def test_an_interruption_after_an_entry_is_written_does_not_part_memory_and_disk(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while old answers are deleted: the same process must not do the step a second time."""
    study.round()
    study.to("upload")
    request = study.requests()[SITE]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_FileBook, "_forget_before", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.deliver(SITE, request.data)
    written = reopened(study)
    first = study.deliver(SITE, request.data)
    assert study.deliver(SITE, request.data) == first
    assert reopened(study) == written, "the stored answer, not a second upload of one round"
    result = study.round()
    assert (result.survivors, result.vanished) == (study.names, (SITE,))
    assert study.round().vanished == ()
    assert reopened(study) > written


# Locking and opening --------------------------------------------------------------------------------------


def test_a_lock_that_cannot_be_had_is_the_sites_own_trouble(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.to("upload")
    request = study.requests()[SITE]

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    handles = len(list(Path("/proc/self/fd").glob("*"))) if Path("/proc/self/fd").exists() else None
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(JournalError, match="cannot be locked: No locks available"):
            study.deliver(SITE, request.data)
    if handles is not None:
        assert len(list(Path("/proc/self/fd").glob("*"))) == handles, "the lock file is closed"
    study.deliver(SITE, request.data)


def test_a_directory_that_cannot_be_made_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"journal directory .*file/journal cannot be made"):
        FileJournal(tmp_path / "file" / "journal")


def test_a_lock_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    (tmp_path / "journal" / "lock").mkdir()
    with pytest.raises(JournalError, match="cannot be locked: Is a directory"), journal.open():
        pass


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    (tmp_path / "journal" / "journal.jsonl").mkdir()
    with pytest.raises(JournalError, match="cannot be read: Is a directory"), journal.open():
        pass


def test_a_torn_line_that_cannot_be_set_aside_is_told(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with file_of(study).open("ab") as file:
        file.write(b'{"torn')

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("sordino.files.journal.write_durably", full)
        with pytest.raises(JournalError, match="cannot be mended: No space left"):
            reopened(study)
    assert reopened(study) == 3
    assert not file_of(study).read_bytes().endswith(b"torn")


# The book itself ------------------------------------------------------------------------------------------


def entry(number: int, **changes: object) -> Entry:
    fields = {
        "session": bytes(32),
        "dataset": "d",
        "action": "Offer",
        "step": "advertised",
        "round_number": 0,
        "request": bytes([number]) * 32,
    }
    return draft(**{**fields, **changes})


def stored(book: Book, number: int) -> Reply | None:
    return book.stored(book.index.session(bytes(32)).answers[bytes([number]) * 32])


def test_what_is_appended_is_found_by_the_next_reader(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    replies = [Reply(b"one"), Reply(b"two", b"payload"), Reply(b"", b"")]
    for number, reply in enumerate(replies):
        with journal.open() as book:
            written = book.append(entry(number), reply)
        assert (written.sequence, written.reply) == (number, reply.digest)
    with FileJournal(tmp_path).open() as book:
        assert book.index.length == len(replies)
        assert [stored(book, number) for number in range(3)] == replies
        assert book.index.digest_at(0) == FIRST
        assert book.index.digest_at(4) is None


def test_an_answer_altered_on_disk_is_told(tmp_path: Path) -> None:
    with FileJournal(tmp_path).open() as book:
        book.append(entry(0), Reply(b"said", b"masked"))
        (data,) = tmp_path.glob("replies/*/0.data")
        data.write_bytes(b"SAID")
        with pytest.raises(JournalError, match="kept beside journal entry 0 was altered"):
            stored(book, 0)


def test_a_payload_too_large_to_keep_has_no_stored_answer(tmp_path: Path) -> None:
    with FileJournal(tmp_path, keep_bytes=4).open() as book:
        book.append(entry(0), Reply(b"said", b"12345"))
        book.append(entry(1), Reply(b"said", b"1234"))
        assert stored(book, 0) is None
        assert stored(book, 1) == Reply(b"said", b"1234")


def test_nothing_of_the_journal_is_open_to_others(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    with journal.open() as book:
        book.append(entry(0), Reply(b"said", b"payload"))
    for path in [tmp_path / "journal", *(tmp_path / "journal").rglob("*")]:
        if path.name != "replies":  # inside a directory that nobody else may enter
            assert not path.stat().st_mode & 0o077, path


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    durable.write_durably(path, b"old")

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            durable.write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    durable.write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
