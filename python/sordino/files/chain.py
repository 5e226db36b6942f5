# SPDX-License-Identifier: Apache-2.0

"""Looking at a journal on disk without being its site: nothing is written, and what is wrong is named.

`FileJournal` stops at the first line that does not follow. Here the lines around it are asked too, so that it
can be said which line was altered, removed, inserted or swapped.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sordino.errors import JournalError
from sordino.files.journal import line_of, read_line
from sordino.protocol.journal import FIRST, Entry
from sordino.protocol.state import SiteState, load_state

PATIENCE = 2.0
"""Seconds that a look waits for whoever holds the journal; the file only grows, so it may go without."""


class Chain(NamedTuple):
    """A journal that is whole.

    entries    all of them, in order
    digests    the head after each
    torn       bytes of a last line without its end: it was being written when its process died, no message
               followed it, and it is none of the chain
    """

    path: Path
    entries: tuple[Entry, ...]
    digests: tuple[bytes, ...]
    torn: int

    @property
    def head(self) -> bytes:
        """Digest of the last entry."""
        return self.digests[-1] if self.digests else FIRST

    def check_state(self, state: SiteState) -> None:
        """Raise `JournalError` where the journal lacks what a session state has seen of it."""
        length, head = state.journal_length, state.journal_head
        if length > len(self.digests):
            raise JournalError(
                f"{self.path}, line {len(self.digests) + 1}: removed, with all that followed: the session "
                f"state has seen {length} entries, here are {len(self.digests)}"
            )
        if (self.digests[length - 1] if length else FIRST) != head:
            raise JournalError(
                f"{self.path}, line {length}: altered, or one before it: the session state has seen another "
                f"entry there"
            )


def read_chain(path: Path) -> Chain:
    """Read and check a journal: its directory, or its file itself.

    Raises `JournalError` that names the first bad line, or that nothing is there.
    """
    file = path / "journal.jsonl" if path.is_dir() else path
    try:
        with _held(file.with_name("lock")):
            data = file.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_dir() and (path / "replies").is_dir():
            data = b""  # of a site that has done nothing yet
        else:
            raise JournalError(f"the journal {file} cannot be read: {error.strerror}") from None
    *lines, torn = data.split(b"\n")
    entries = [_parsed(line) for line in lines]
    digests: list[bytes] = []
    for place, entry in enumerate(entries):
        head = digests[-1] if digests else FIRST
        if entry is None or (entry.sequence, entry.previous) != (place, head):
            number, what = _fault(entries, place)
            raise JournalError(f"{file}, line {number}: {what}")
        digests.append(entry.digest)
    whole = tuple(entry for entry in entries if entry is not None)
    return Chain(file, whole, tuple(digests), len(torn))


def read_state(path: Path) -> SiteState:
    """A session state as a site saved it; raises `StateError` if it is damaged or none."""
    return load_state(path.read_bytes())


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Keep writers out for a moment, if that can be had soon; a lock that is not there is not made."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
            break
        yield
    finally:
        os.close(handle)


def _parsed(line: bytes) -> Entry | None:
    """The entry, if the line is exactly as it would be written."""
    try:
        entry = read_line(line)
    except JournalError:
        return None
    return entry if line_of(entry) == line + b"\n" else None


def _fault(entries: Sequence[Entry | None], place: int) -> tuple[int, str]:
    """The first bad line, counted from 1, and what is wrong with it, where line place + 1 does not follow."""
    entry = entries[place]
    if entry is None:
        return place + 1, "altered: it is no entry as a site writes it"
    after = entries[place + 1] if place + 1 < len(entries) else None
    sound = after is not None and after.previous == entry.digest  # the line after it vouches for it
    if entry.sequence > place:
        if any(other is not None and other.sequence == place for other in entries[place + 1 :]):
            return place + 1, f"swapped: entry {entry.sequence} stands where {place} belongs"
        if sound or after is None or after.sequence == entry.sequence + 1:
            last = entry.sequence - 1
            missing = f"entry {place} is" if last == place else f"entries {place} to {last} are"
            return place + 1, f"removed: {missing} missing before it"
    elif entry.sequence < place:
        # Two lines claim one place: what comes after tells which of them is of the chain.
        before = entries[place - 1]
        if sound and before is not None and before.sequence == entry.sequence and before != entry:
            return place, f"inserted: line {place + 1} is entry {entry.sequence} as the chain goes on"
        return place + 1, f"inserted: entry {entry.sequence} was there before"
    elif sound or after is None:
        if place:
            certain = "" if sound else f", or line {place + 1} was"
            return place, f"altered: line {place + 1} does not follow from it{certain}"
        return 1, "altered, or what was before it removed: nothing stands before the first entry"
    return place + 1, "altered: it does not follow from the line before"
