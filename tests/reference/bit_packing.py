# SPDX-License-Identifier: Apache-2.0

"""Packed lanes as one big integer: lane i is its digit i to the base 2^bits."""

from __future__ import annotations

from collections.abc import Sequence


def packed_size(lanes: int, bits: int) -> int:
    """Give the bytes that hold so many lanes."""
    return (lanes * bits + 7) // 8


def pack(lanes: Sequence[int], *, bits: int) -> bytes:
    """Write the low bits of each lane."""
    number = sum((lane % 2**bits) << (i * bits) for i, lane in enumerate(lanes))
    return number.to_bytes(packed_size(len(lanes), bits), "little")


def unpack(data: bytes, count: int, *, bits: int) -> list[int]:
    """Read lanes; refuse what `pack` does not write."""
    number = int.from_bytes(data, "little")
    lanes = [(number >> (i * bits)) % 2**bits for i in range(count)]
    if pack(lanes, bits=bits) != data:
        raise ValueError("not canonical")
    return lanes
