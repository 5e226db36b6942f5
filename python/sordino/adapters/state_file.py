# SPDX-License-Identifier: Apache-2.0

"""What a server keeps on its disk for a later process: sealed, with a version, written durably."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from sordino.errors import StateError
from sordino.files.durable import write_durably
from sordino.protocol.state import open_state, seal_state

_VERSION = 1

T = TypeVar("T")


def write_state(path: Path, state: object) -> None:
    """Write a state; `StateError`, naming the file, where it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, seal_state(_VERSION, msgspec.msgpack.encode(state)))
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from None


def read_state(path: Path, kind: type[T]) -> T:
    """Read what `write_state` wrote; `StateError`, naming the file, for anything else."""
    try:
        return msgspec.msgpack.decode(open_state(_VERSION, path.read_bytes()), type=kind)
    except (OSError, msgspec.MsgspecError, StateError) as error:
        raise StateError(f"{path}: {error}") from None
