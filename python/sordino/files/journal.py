# SPDX-License-Identifier: Apache-2.0

"""The journal on disk: one hash-chained line an entry, locked while held, flushed before any message leaves.

A directory holds `journal.jsonl`, `lock`, and `replies/SESSION/`, where the answers of each session's open
round are kept so that an identical request gets identical bytes. Nothing in it opens a site's vector beyond
what the answers themselves did; still it belongs to the site alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from sordino.errors import JournalError
from sordino.files.durable import sync_directory, write_durably
from sordino.protocol.journal import Book, Entry, Index, Journal, Reply

KEEP_BYTES = 2**28
"""The largest payload that is kept beside the journal; a repeat of a larger one is refused."""

_DECODER = msgspec.json.Decoder(Entry)


class FileJournal(Journal):
    """A site's journal in `directory`, shared by all its processes on one machine.

    keep_bytes    the largest payload that is kept for a repeated request
    sync          whether entries outlive a loss of power; only simulated sites do without

    Raises `JournalError` if the directory cannot be made or written.
    """

    def __init__(self, directory: Path, *, keep_bytes: int = KEEP_BYTES, sync: bool = True) -> None:
        self._directory = directory
        try:
            (directory / "replies").mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        except OSError as error:
            raise JournalError(
                f"the journal directory {directory} cannot be made: {error.strerror}"
            ) from None
        self._book = _FileBook(directory, keep_bytes, sync=sync)

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._directory

    @contextmanager
    def open(self) -> Iterator[Book]:
        """Hold the journal exclusively, waiting for other processes, with all entries read and checked."""
        try:
            lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(
                f"the journal in {self._directory} cannot be locked: {error.strerror}"
            ) from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise JournalError(
                    f"the journal in {self._directory} cannot be locked: {error.strerror}"
                ) from None
            self._book.catch_up()
            yield self._book
        finally:
            os.close(lock)


class _FileBook(Book):
    def __init__(self, directory: Path, keep_bytes: int, *, sync: bool) -> None:
        self.index = Index()
        self._path = directory / "journal.jsonl"
        self._replies = directory / "replies"
        self._keep_bytes = keep_bytes
        self._sync = sync
        self._read = 0
        self._last_line = b""

    def catch_up(self) -> None:
        """Read what was appended since the last look; raises `JournalError` for a chain that is broken."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read - len(self._last_line))
                if file.read(len(self._last_line)) != self._last_line:
                    raise JournalError(f"the journal {self._path} was truncated or replaced")
                *lines, torn = file.read().split(b"\n")
                if lines and self._sync:
                    # Whoever wrote them may have died before they were on disk.
                    os.fsync(file.fileno())
                    if self._read == 0:
                        sync_directory(self._path.parent)
        except FileNotFoundError:
            if self._read:
                raise JournalError(f"the journal {self._path} is gone") from None
            return
        except OSError as error:
            raise JournalError(f"the journal {self._path} cannot be read: {error.strerror}") from None
        for line in lines:
            try:
                self.index.add(read_line(line))
            except JournalError as error:
                raise JournalError(
                    f"{self._path}, line {self.index.length + 1}: damaged, or does not follow: {error}"
                ) from None
            self._passed(line + b"\n")
        if torn:
            self._set_aside(torn)

    def append(self, entry: Entry, reply: Reply, *, payload: bytes | None = None) -> Entry:
        """See `Book.append`. If this is interrupted, the next look at the file tells how far it came."""
        written = super().append(entry, reply, payload=payload)
        self._passed(line_of(written))
        if written.opens:
            self._forget_before(written)
        return written

    def entries(self) -> Iterator[Entry]:
        """See `Book.entries`."""
        try:
            with self._path.open("rb") as file:
                data = file.read(self._read)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise JournalError(f"the journal {self._path} cannot be read: {error.strerror}") from None
        if len(data) != self._read:
            raise JournalError(f"the journal {self._path} was truncated or replaced")
        return map(read_line, data.split(b"\n")[:-1])

    def _passed(self, line: bytes) -> None:
        """The index has this line, and so does the file."""
        self._read += len(line)
        self._last_line = line

    def _set_aside(self, torn: bytes) -> None:
        """A last line without its end was being written when the process died, so no message followed it."""
        try:
            write_durably(self._path.with_name(f"torn-{self._read}"), torn)
            os.truncate(self._path, self._read)
        except OSError as error:
            raise JournalError(f"the journal {self._path} cannot be mended: {error.strerror}") from None

    def _write(self, entry: Entry, reply: Reply) -> None:
        directory = self._replies / entry.session.hex()
        try:
            if not directory.exists():
                directory.mkdir(mode=0o700)
                if self._sync:
                    sync_directory(self._replies)
            write_durably(directory / f"{entry.sequence}.data", reply.data, sync=self._sync)
            payload = directory / f"{entry.sequence}.payload"
            payload.unlink(missing_ok=True)  # one may be left of an entry that was never written
            if reply.payload and len(reply.payload) <= self._keep_bytes:
                write_durably(payload, reply.payload, sync=self._sync)
            self._append(line_of(entry))
        except OSError as error:
            raise JournalError(f"the journal {self._path} cannot be written: {error.strerror}") from None

    def _append(self, line: bytes) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            try:
                if os.write(handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self._sync:
                    os.fsync(handle)
                    if self._read == 0:
                        sync_directory(self._path.parent)
            except OSError:
                # What may not be on disk must not be found by the next reader: it would answer unflushed.
                os.ftruncate(handle, self._read)
                raise
        finally:
            os.close(handle)

    def _forget_before(self, entry: Entry) -> None:
        """The entry is written already, so an answer that cannot be deleted is left where it is."""
        with suppress(OSError):
            for file in (self._replies / entry.session.hex()).iterdir():
                number = file.name.split(".")[0]
                if number.isdecimal() and int(number) < entry.sequence:
                    file.unlink()

    def _read_reply(self, entry: Entry) -> Reply | None:
        directory = self._replies / entry.session.hex()
        try:
            data = (directory / f"{entry.sequence}.data").read_bytes()
            payload = directory / f"{entry.sequence}.payload"
            reply = Reply(data, payload.read_bytes() if payload.exists() else b"")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"an answer in {directory} cannot be read: {error.strerror}") from None
        # A payload that was too large to keep leaves a message whose digest cannot match.
        return reply if payload.exists() or reply.digest == entry.reply else None


def line_of(entry: Entry) -> bytes:
    """An entry as a line of the file, with its end."""
    return msgspec.json.encode(entry) + b"\n"


def read_line(line: bytes) -> Entry:
    """The entry in a line without its end; raises `JournalError` if there is none."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalError(str(error)) from None
