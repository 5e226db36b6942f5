# SPDX-License-Identifier: Apache-2.0

"""A journal looked at from outside: whole, or with its first bad line named; and nothing is written."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, make_policy
from sordino.errors import JournalError, StateError
from sordino.files import chain as chains
from sordino.files.chain import read_chain, read_state
from sordino.files.journal import FileJournal, line_of, read_line
from sordino.protocol.journal import FIRST
from sordino.protocol.state import SiteState, load_state

SITE = "site02"
ROUNDS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """The journal of a site after a few rounds, and the session state that it has then."""
    directory = tmp_path_factory.mktemp("run")
    study = Study(make_policy(), journals=lambda name: FileJournal(directory / name, sync=False))
    for _ in range(ROUNDS):
        study.round()
    return directory / SITE, study.saved(SITE)


@pytest.fixture
def journal(run: tuple[Path, bytes], tmp_path: Path) -> Path:
    """A copy to damage."""
    (tmp_path / "journal").mkdir()
    path = tmp_path / "journal" / "journal.jsonl"
    path.write_bytes((run[0] / "journal.jsonl").read_bytes())
    return path


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_whole_journal_is_read_as_its_site_reads_it(run: tuple[Path, bytes], journal: Path) -> None:
    with FileJournal(run[0]).open() as book:
        entries, head = tuple(book.entries()), book.index.head
        assert len(entries) == book.index.length
    for path in (run[0], journal, journal.parent):
        found = read_chain(path)
        assert (found.entries, found.head, found.torn) == (entries, head, 0)
    found.check_state(read_state_of(run))


def read_state_of(run: tuple[Path, bytes]) -> SiteState:
    return load_state(run[1])


# Bad lines ------------------------------------------------------------------------------------------------


def damaged(path: Path, change: Callable[[list[bytes]], object]) -> int:
    """The line that is named for a damage, counted from 1; FileJournal refuses it as well."""
    lines = lines_of(path)
    change(lines)
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError) as caught:
        read_chain(path)
    with pytest.raises(JournalError, match="line"), FileJournal(path.parent).open():
        pass
    return int(str(caught.value).split(", line ")[1].split(":")[0])


def altered(line: bytes, **changes: object) -> bytes:
    return line_of(replace(read_line(line.strip()), **changes))


PLACES = range(3 + 3 * ROUNDS)


@pytest.mark.parametrize("place", PLACES[:-1])
@pytest.mark.parametrize("field", ["dataset", "sequence", "previous", "action", "round"])
def test_an_altered_line_is_named(journal: Path, place: int, field: str) -> None:
    value = {"dataset": "x", "sequence": 77, "previous": b"?" * 32, "action": "Offered", "round": 9}[field]

    def change(lines: list[bytes]) -> None:
        lines[place] = altered(lines[place], **{field: value})

    assert damaged(journal, change) == place + 1


@pytest.mark.parametrize("place", PLACES)
def test_a_line_that_is_no_entry_is_named(journal: Path, place: int) -> None:
    def change(lines: list[bytes]) -> None:
        lines[place] = lines[place][:-5] + b"\n"

    assert damaged(journal, change) == place + 1


@pytest.mark.parametrize("place", PLACES[:-1])
def test_a_removed_line_is_named_by_where_it_was(journal: Path, place: int) -> None:
    assert damaged(journal, lambda lines: lines.pop(place)) == place + 1
    with pytest.raises(JournalError, match=rf"removed: entry {place} is missing"):
        read_chain(journal)


def test_several_removed_lines_are_told_together(journal: Path) -> None:
    def change(lines: list[bytes]) -> None:
        del lines[2:5]

    assert damaged(journal, change) == 3
    with pytest.raises(JournalError, match="removed: entries 2 to 4 are missing"):
        read_chain(journal)


@pytest.mark.parametrize("place", PLACES[1:])
def test_an_inserted_line_is_named(journal: Path, place: int) -> None:
    """One that follows well, so that the chain breaks only after it; and a copy of another."""
    whole = journal.read_bytes()

    def forged(lines: list[bytes]) -> None:
        lines.insert(place, altered(lines[place], dataset="x"))

    named = damaged(journal, forged)
    # Of two that claim the last place nobody can say which came first.
    assert named == place + 1 or (place == PLACES[-1] and named == place + 2)
    journal.write_bytes(whole)
    assert damaged(journal, lambda lines: lines.insert(place, lines[place - 1])) == place + 1
    with pytest.raises(JournalError, match="inserted"):
        read_chain(journal)


@pytest.mark.parametrize("place", PLACES[:-1])
def test_swapped_lines_are_named_by_the_first(journal: Path, place: int) -> None:
    def change(lines: list[bytes]) -> None:
        lines[place], lines[place + 1] = lines[place + 1], lines[place]

    assert damaged(journal, change) == place + 1
    with pytest.raises(JournalError, match="swapped"):
        read_chain(journal)


def test_a_line_that_says_the_same_otherwise_was_not_written_so(journal: Path) -> None:
    """The chain is over what entries say; that bytes are another's is seen all the same."""
    lines = lines_of(journal)
    lines[4] = lines[4].replace(b'":', b'": ', 1)
    journal.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match="line 5: altered"):
        read_chain(journal)


def test_any_byte_that_changes_is_found_in_its_line(run: tuple[Path, bytes], journal: Path) -> None:
    """In the last line, which nothing follows, by what the session state has seen."""
    whole, chance, state = journal.read_bytes(), random.Random(3), read_state_of(run)
    for _ in range(400):
        place = chance.randrange(len(whole))
        byte = bytes([chance.choice([*b'0123456789abcXYZ"{}, ', chance.randrange(256)])])
        if whole[place : place + 1] == byte:
            continue
        journal.write_bytes(whole[:place] + byte + whole[place + 1 :])
        line = whole.count(b"\n", 0, place) + 1
        with pytest.raises(JournalError) as caught:
            read_chain(journal).check_state(state)
        assert f"line {line}" in str(caught.value)


# The end --------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_none_of_the_chain(run: tuple[Path, bytes], journal: Path) -> None:
    lines = lines_of(journal)
    for kept in range(len(lines[-1])):
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
        found = read_chain(journal)
        assert (len(found.entries), found.torn) == (len(lines) - 1, kept)
        with pytest.raises(JournalError, match=f"line {len(lines)}: removed, with all that followed"):
            found.check_state(read_state_of(run))


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_truncated_journal_is_told_by_the_head_in_a_session_state(
    run: tuple[Path, bytes], journal: Path, kept: int
) -> None:
    journal.write_bytes(b"".join(lines_of(journal)[:kept]))
    found = read_chain(journal)
    assert len(found.entries) == kept
    with pytest.raises(
        JournalError, match=rf"line {kept + 1}: removed, .* has seen {max(PLACES) + 1} entries"
    ):
        found.check_state(read_state_of(run))


def test_a_journal_that_was_written_anew_is_told_by_the_state(run: tuple[Path, bytes], journal: Path) -> None:
    """Whoever may write to it can make a chain that holds; what a state has seen is then not in it."""
    lines, head = lines_of(journal), FIRST
    for place, line in enumerate(lines):
        entry = replace(read_line(line.strip()), previous=head, dataset="lighter")
        lines[place], head = line_of(entry), entry.digest
    journal.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match=f"line {len(lines)}: altered, or one before it"):
        read_chain(journal).check_state(read_state_of(run))


def test_a_state_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "session.state").write_bytes(b"no state")
    with pytest.raises(StateError, match="version"):
        read_state(tmp_path / "session.state")


# Reading --------------------------------------------------------------------------------------------------


def test_nothing_is_written_and_a_lock_that_is_not_there_is_not_made(journal: Path) -> None:
    before = sorted(path.name for path in journal.parent.iterdir())
    journal.write_bytes(journal.read_bytes() + b"torn")
    stamp = journal.stat()
    assert read_chain(journal.parent).torn == 4
    assert sorted(path.name for path in journal.parent.iterdir()) == before
    assert (journal.stat().st_mtime_ns, journal.stat().st_size) == (stamp.st_mtime_ns, stamp.st_size)


READ_ONLY = """
    import os, sys
    from sordino.cli import main

    def look():
        for command in ("show", "verify"):
            sys.argv = ["sordino", "ledger", command, "."]
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, ended.code

    os.chdir(sys.argv[1])
    look()  # once with the rights to import what it needs
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    assert not os.access(".", os.W_OK)
    look()
"""


def test_a_folder_that_may_only_be_read_will_do(journal: Path) -> None:
    """In a process without the rights, since the owner of everything may write everywhere."""
    (journal.parent / "lock").touch()
    journal.chmod(0o444)
    journal.parent.chmod(0o555)
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(journal.parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    journal.parent.chmod(0o755)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count(f"{len(PLACES)} entries, intact") == 2
    assert {path.name for path in journal.parent.iterdir()} == {"journal.jsonl", "lock"}


def test_a_journal_that_is_held_is_read_without_waiting_for_long(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "PATIENCE", 0.05)
    handle = os.open(journal.parent / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert len(read_chain(journal).entries) == len(PLACES)
    finally:
        os.close(handle)


def test_who_reads_lets_go_of_the_journal(run: tuple[Path, bytes]) -> None:
    read_chain(run[0])
    handle = os.open(run[0] / "lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)


def test_what_is_no_journal_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"nothing/?.* cannot be read: No such file"):
        read_chain(tmp_path / "nothing")
    with pytest.raises(JournalError, match=r"journal.jsonl cannot be read: No such file"):
        read_chain(tmp_path)
    FileJournal(tmp_path / "new")
    assert read_chain(tmp_path / "new").entries == ()
