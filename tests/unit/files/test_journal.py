# SPDX-License-Identifier: Apache-2.0

"""The journal on disk: many writers at once, for its owner only, and where nothing can be written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sordino.errors import JournalError
from sordino.files.journal import FileJournal
from sordino.protocol.journal import Entry, Reply, draft


def entry(number: int, action: str = "Boxes") -> Entry:
    return draft(
        session=bytes(32),
        dataset="lungs",
        action=action,
        step="ready",
        round_number=0,
        request=number.to_bytes(32, "big"),
    )


def append(journal: FileJournal, number: int) -> None:
    with journal.open() as book:
        book.append(entry(number), Reply(str(number).encode(), b"payload"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_writers_in_many_threads_with_journals_of_their_own_make_one_chain(tmp_path: Path) -> None:
    journals = [FileJournal(tmp_path, sync=False) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: append(journals[number % 4], number), range(40)))
    with FileJournal(tmp_path).open() as book:
        assert book.index.length == 40
        answers = book.index.session(bytes(32)).answers.values()
        assert {book.stored(line).data for line in answers} == {str(number).encode() for number in range(40)}
    for journal in journals:
        with journal.open() as book:
            assert book.index.length == 40


def test_writers_in_one_thread_pool_with_one_journal_make_one_chain(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, sync=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: append(journal, number), range(20)))
    with FileJournal(tmp_path).open() as book:
        assert book.index.length == 20


def test_all_that_is_kept_is_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        append(FileJournal(tmp_path / "deep" / "journal"), 1)
    finally:
        os.umask(before)
    root = tmp_path / "deep" / "journal"
    assert mode(root) == 0o700
    for path in root.rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert {path.name for path in root.iterdir()} == {"journal.jsonl", "lock", "replies"}


def test_a_directory_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    FileJournal(tmp_path)
    assert mode(tmp_path) == 0o700


def test_foreign_files_beside_the_answers_do_no_harm(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    append(journal, 1)
    (kept,) = (tmp_path / "replies").iterdir()
    (kept / ".DS_Store").write_bytes(b"x")
    (kept / "note.txt").write_bytes(b"x")
    (kept / "0.data.new").write_bytes(b"left by a crash")
    with journal.open() as book:
        book.append(entry(2, "Close"), Reply(b"closed"))
    assert {path.name for path in kept.iterdir()} == {".DS_Store", "note.txt", "1.data"}


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "journal"):
        with pytest.raises(JournalError, match="cannot be made"):
            FileJournal(path)


READ_ONLY = """
    import os, sys
    from pathlib import Path
    from sordino.errors import JournalError
    from sordino.files.journal import FileJournal
    from sordino.protocol.journal import Reply, draft

    os.chdir(sys.argv[1])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

    def make():
        FileJournal(Path("closed") / "journal")

    def open_it():
        with FileJournal(Path("unlockable")).open():
            pass

    def write():
        entry = draft(
            session=bytes(32), dataset="d", action="Offer", step="new", round_number=0, request=bytes(32)
        )
        with FileJournal(Path("unwritable")).open() as book:
            try:
                book.append(entry, Reply(b"reply"))
            finally:
                print(book.index.length)

    for attempt in (make, open_it, write):
        try:
            attempt()
        except JournalError as error:
            print(str(error).split(" cannot be ")[1].split(":")[0])
"""


def test_where_nothing_can_be_written_it_is_told_and_nothing_is_counted(tmp_path: Path) -> None:
    """In a process without the rights, since the owner of everything may write everywhere."""
    for name in ("closed", "unlockable", "unwritable"):
        (tmp_path / name).mkdir()
    for name in ("unlockable", "unwritable"):
        (tmp_path / name / "replies").mkdir()
    (tmp_path / "unwritable" / "lock").touch()
    if os.geteuid() == 0:
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.chown(path, 65534, 65534)
    (tmp_path / "unlockable" / "lock").touch()
    if os.geteuid() == 0:
        os.chown(tmp_path / "unlockable" / "lock", 65534, 65534)
    (tmp_path / "unlockable" / "lock").chmod(0)
    (tmp_path / "closed").chmod(0o500)
    (tmp_path / "unwritable" / "replies").chmod(0o500)
    try:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        for path in (tmp_path / "closed", tmp_path / "unwritable" / "replies", tmp_path / "unlockable"):
            path.chmod(0o700)
    assert done.stderr == ""
    assert done.stdout == "made\nlocked\n0\nwritten\n"
