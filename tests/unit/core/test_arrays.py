# SPDX-License-Identifier: Apache-2.0

"""Arrays are taken as they are, or refused by name: no conversion, no copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sordino import _core
from sordino.errors import InvalidArgument


def read_only() -> np.ndarray:
    array = np.zeros(8, np.uint32)
    array.flags.writeable = False
    return array


def unaligned() -> np.ndarray:
    return np.frombuffer(bytearray(4 * 8 + 1), np.uint8)[1:].view(np.uint32)


MAKERS: dict[str, Callable[[], Any]] = {
    "a list": lambda: [0] * 8,
    "bytes": lambda: bytearray(32),
    "None": lambda: None,
    "two dimensions": lambda: np.zeros((2, 4), np.uint32),
    "no dimension": lambda: np.zeros((), np.uint32),
    "strided": lambda: np.zeros(16, np.uint32)[::2],
    "reversed": lambda: np.zeros(8, np.uint32)[::-1],
    "signed": lambda: np.zeros(8, np.int32),
    "16 bits": lambda: np.zeros(8, np.uint16),
    "floats": lambda: np.zeros(8, np.float64),
    "other byte order": lambda: np.zeros(8, np.dtype(np.uint32).newbyteorder(">")),
    "unaligned": unaligned,
}
WRITTEN = MAKERS | {"read-only": read_only}

READERS: dict[str, Callable[[Any], object]] = {
    "decode": lambda lanes: _core.decode(lanes, bits=8, scale=1.0),
    "signed": lambda lanes: _core.signed(lanes, bits=8),
    "pack": lambda lanes: _core.pack(lanes, bits=8),
}
WRITERS: dict[str, Callable[[Any], object]] = {
    "add_masks": lambda lanes: _core.add_masks(lanes, b"a" * 32, b""),
    "encode": lambda lanes: _core.encode(
        np.ones(8, np.float32), lanes, clip=1.0, scale=1.0, weight=1, saturate=False
    ),
    "add_noise": lambda lanes: _core.add_noise(lanes, b"a" * 32, [9.0]),
    "subtract_noise": lambda lanes: _core.subtract_noise(lanes, b"a" * 32, [9.0]),
    "unpack_add": lambda lanes: _core.unpack_add(b"abcdefgh", lanes, bits=8),
    "unpack_subtract": lambda lanes: _core.unpack_subtract(b"abcdefgh", lanes, bits=8),
}


@pytest.mark.parametrize("function", READERS)
@pytest.mark.parametrize("what", MAKERS)
def test_lanes_that_are_read(function: str, what: str) -> None:
    with pytest.raises(InvalidArgument, match="^lanes: must "):
        READERS[function](MAKERS[what]())


@pytest.mark.parametrize("function", WRITERS)
@pytest.mark.parametrize("what", WRITTEN)
def test_lanes_that_are_written(function: str, what: str) -> None:
    lanes = WRITTEN[what]()
    with pytest.raises(InvalidArgument, match="^lanes: must "):
        WRITERS[function](lanes)
    if isinstance(lanes, np.ndarray):
        assert not lanes.any()


@pytest.mark.parametrize("function", READERS)
def test_read_only_lanes_can_be_read(function: str) -> None:
    READERS[function](read_only())


@pytest.mark.parametrize(
    "values",
    [[0.0] * 8, np.zeros(8, np.float16), np.zeros(8, np.int64), np.zeros((2, 4)), np.zeros(16)[::2]],
)
def test_values(values: Any) -> None:
    lanes = np.zeros(8, np.uint32)
    with pytest.raises(InvalidArgument, match="^values: must "):
        _core.encode(values, lanes, clip=1.0, scale=1.0, weight=1, saturate=False)


@pytest.mark.parametrize("out", [b"constant", np.zeros(4, np.uint32), np.zeros(16, np.uint8)[::2], 5])
def test_keystream_output(out: Any) -> None:
    with pytest.raises(InvalidArgument, match="^out: must "):
        _core.keystream(b"s" * 32, out)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_seed_length(length: int) -> None:
    with pytest.raises(InvalidArgument, match=f"^seed: must have 32 bytes, got {length}$"):
        _core.keystream(bytes(length), bytearray(4))


def test_overlap_is_refused() -> None:
    memory = np.zeros(64, np.uint64)
    floats = memory.view(np.float64)
    with pytest.raises(InvalidArgument, match="^values: must not share"):
        _core.encode(floats[:8], memory[7:15], clip=1.0, scale=1.0, weight=1, saturate=False)
    for unpack in (_core.unpack_add, _core.unpack_subtract):
        with pytest.raises(InvalidArgument, match="^data: must not share"):
            unpack(memory.view(np.uint8)[:8], memory[:8], bits=8)
    with pytest.raises(InvalidArgument, match="^seed: must not share"):
        _core.keystream(memory.view(np.uint8)[:32], memory.view(np.uint8)[31:40])
    _core.encode(floats[:8], memory[8:16], clip=1.0, scale=1.0, weight=1, saturate=False)
