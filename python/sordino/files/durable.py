# SPDX-License-Identifier: Apache-2.0

"""Writing a file so that after a crash there is the old content or the new, never half of one."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace `path` by `data` in one step, readable by its owner only; with `sync`, on disk on return."""
    beside = path.with_name(path.name + ".new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)
    beside.replace(path)
    if sync:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
