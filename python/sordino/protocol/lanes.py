"""Lanes: integers mod 2**bits, held in uint32 up to 32 bits and in uint64 beyond."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument

Lanes: TypeAlias = NDArray[np.uint32] | NDArray[np.uint64]


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
