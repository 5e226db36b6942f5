# SPDX-License-Identifier: Apache-2.0

"""Lanes: integers mod 2**bits, held in uint32 up to 32 bits and in uint64 beyond."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument

Lanes: TypeAlias = NDArray[np.uint32] | NDArray[np.uint64]


class Payload:
    """A packed vector as it travels; its digest may be made beside other work."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def digest(self) -> bytes:
        """SHA-256 of `data`."""
        return hashlib.sha256(self.data).digest()


class Vector(ABC):
    """Lanes that are not there yet: they become a masked payload without being held all at once."""

    @abstractmethod
    def write(self, add: bytearray, subtract: bytearray, *, bits: int, threads: int | None = None) -> Payload:
        """What `_core.pack` gives of the lanes once `_core.add_masks` took the seeds in `add` and `subtract`.

        The seeds are wiped after the call and must not be kept.
        """


def empty_lanes(count: int, bits: int) -> Lanes:
    """Zero lanes of the width that holds `bits`."""
    if bits <= 32:
        return np.zeros(count, np.uint32)
    return np.zeros(count, np.uint64)


def check_lanes(lanes: object, count: int, bits: int) -> None:
    """Raise `InvalidArgument` unless `lanes` are `count` lanes of the width that holds `bits`."""
    dtype = np.dtype(np.uint32 if bits <= 32 else np.uint64)
    if not isinstance(lanes, np.ndarray) or lanes.dtype != dtype or lanes.shape != (count,):
        found = f"{lanes.dtype} {lanes.shape}" if isinstance(lanes, np.ndarray) else type(lanes).__name__
        raise InvalidArgument(f"lanes must be {dtype} of shape ({count},), got {found}")
