# SPDX-License-Identifier: Apache-2.0

"""The folder of one run: one process at a time, and after a crash the last finished sum is still there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct

from sordino.course.arrays import Arrays, pack_arrays, unpack_arrays
from sordino.errors import ConfigError, MalformedMessage, StateError
from sordino.files.durable import write_durably

VERSION = 1


class Checkpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a run stands after its last finished sum.

    study     digest of the study, its policy and its rows
    repeat    which split is trained, from 0 on; with all of them done, their number
    position  the next sum of that training, from 0 on
    state     the state before it, packed
    results   what the finished repeats came to
    sums      sums made so far, and how many of them were compared with a plain one
    epsilons  of a private study, after each of them
    left_out  by site and kind of question, the sums that were made without it
    seconds   by site, its own working time in those sums
    reports   each site's own performance in the finished repeats, which is for that site
    """

    study: bytes
    version: int = VERSION
    repeat: int = 0
    position: int = 0
    state: bytes = b""
    results: list[dict[str, Any]] = []
    model: bytes = b""
    sums: int = 0
    compared: int = 0
    equal: int = 0
    epsilons: list[float] = []
    left_out: dict[str, dict[str, list[int]]] = {}
    seconds: dict[str, float] = {}
    reports: dict[str, list[dict[str, Any] | None]] = {}

    def arrays(self) -> dict[str, Any]:
        """The state, unpacked."""
        return unpack_arrays(self.state)

    def moved(self, *, position: int, state: Arrays, **counts: Any) -> Checkpoint:
        """The checkpoint after one more sum."""
        return msgspec.structs.replace(self, position=position, state=pack_arrays(state), **counts)


class FileMemory:
    """What a site remembers, in a file of its own beside its journal."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Arrays:
        """See `Memory`. Raises `StateError` if it is damaged."""
        try:
            return unpack_arrays(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except MalformedMessage as error:
            raise StateError(f"{self._path}: is damaged: {error}") from None

    def keep(self, arrays: Arrays) -> None:
        """See `Memory`."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A simulation may be killed and go on, but need not outlive a loss of power.
        write_durably(self._path, pack_arrays(arrays), sync=False)


class RunDirectory:
    """`out` with the results, `out/state` with what a run needs to go on: private, and locked while open.

    Raises `StateError` if another process has it open and `ConfigError` if it cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.private = out / "state"
        try:
            self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.private / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateError(f"{out}: another run is using it") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    @property
    def session(self) -> Path:
        """Keys, journals and states of the simulated sites."""
        return self.private / "session"

    def memory(self, site: str, repeat: int, what: str = "memory") -> FileMemory:
        """What a simulated site remembers in this repeat."""
        return FileMemory(self.session / "sites" / site / f"{what}-{repeat}")

    def load(self, study: bytes) -> Checkpoint | None:
        """The last checkpoint, None before the first.

        Raises `StateError` if it is of another study, or damaged.
        """
        try:
            raw = (self.private / "checkpoint").read_bytes()
        except FileNotFoundError:
            if any((self.out / name).exists() for name in ("model.json", "metrics.json", "transcript.jsonl")):
                raise StateError(
                    f"{self.out}: holds results of another run; choose an empty folder"
                ) from None
            return None
        try:
            found = msgspec.msgpack.decode(raw, type=Checkpoint)
            if found.state:
                found.arrays()
        except (msgspec.DecodeError, MalformedMessage) as error:
            raise StateError(f"{self.private / 'checkpoint'}: is damaged: {error}") from None
        if found.version != VERSION:
            raise StateError(f"{self.private / 'checkpoint'}: is of version {found.version}")
        if found.study != study:
            raise StateError(
                f"{self.out}: holds a run of another study, or its study file or data have changed since; "
                "choose another folder"
            )
        return found

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint in one step."""
        write_durably(self.private / "checkpoint", msgspec.msgpack.encode(checkpoint))

    def write_own(self, site: str, name: str, content: Mapping[str, Any] | Struct) -> None:
        """Write what is a site's alone into a folder that only its owner may read."""
        (self.out / "sites" / site).mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.write_json(f"sites/{site}/{name}", content)
        path.chmod(0o600)

    def write_json(self, name: str, content: Mapping[str, Any] | Struct) -> Path:
        """Write `content` to `name` in one step, indented."""
        path = self.out / name
        write_durably(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        return path
