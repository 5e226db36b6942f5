# SPDX-License-Identifier: Apache-2.0

"""The coordinator's sum: packed uploads added and masks taken off in one pass."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from reference import bit_packing
from sordino import _core
from sordino.errors import InvalidArgument, MalformedMessage

TILE = 16 * 1024  # bytes


def step_by_step(payloads: list[bytes], count: int, bits: int, add: bytes, subtract: bytes) -> np.ndarray:
    """The same sum by kernels that have references of their own."""
    lanes = np.zeros(count, np.uint32 if bits <= 32 else np.uint64)
    for payload in payloads:
        _core.unpack_add(payload, lanes, bits=bits)
    _core.add_masks(lanes, add, subtract, threads=1)
    return lanes & lanes.dtype.type(2**bits - 1)


def uploads(count: int, bits: int, number: int) -> list[bytes]:
    dtype: Any = np.uint32 if bits <= 32 else np.uint64
    rng = np.random.default_rng(count + bits)
    return [
        _core.pack(rng.integers(0, 2**64, count, np.uint64).astype(dtype), bits=bits) for _ in range(number)
    ]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("bits", [1, 7, 8, 27, 31, 32, 33, 53, 63, 64])
@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_the_sum_is_that_of_all_steps(bits: int, threads: int | None) -> None:
    tile = TILE // (4 if bits <= 32 else 8)
    add, subtract = os.urandom(3 * 32), os.urandom(2 * 32)
    for count in (0, 1, 2, 15, 17, tile - 1, tile, tile + 1, 3 * tile - 3, 3 * tile + 5):
        payloads = uploads(count, bits, 3)
        lanes = np.full(count, 3, np.uint32 if bits <= 32 else np.uint64)  # what was there is overwritten
        _core.sum_uploads(payloads, lanes, bits=bits, add=add, subtract=subtract, threads=threads)
        assert np.array_equal(lanes, step_by_step(payloads, count, bits, add, subtract))


def test_packed_lanes_are_read_as_the_reference_reads_them() -> None:
    for bits in (3, 13, 29, 47):
        payloads = uploads(101, bits, 2)
        lanes = np.zeros(101, np.uint32 if bits <= 32 else np.uint64)
        _core.sum_uploads(payloads, lanes, bits=bits, add=b"", subtract=b"")
        columns = zip(*(bit_packing.unpack(payload, 101, bits=bits) for payload in payloads), strict=True)
        assert lanes.tolist() == [sum(column) % 2**bits for column in columns]


def test_thousands_of_seeds_cancel() -> None:
    seeds = os.urandom(3000 * 32)
    payloads = uploads(1000, 32, 2)
    lanes = np.zeros(1000, np.uint32)
    _core.sum_uploads(payloads, lanes, bits=32, add=seeds, subtract=seeds)
    assert np.array_equal(lanes, step_by_step(payloads, 1000, 32, b"", b""))


def test_no_uploads_and_no_seeds_give_zeros() -> None:
    lanes = np.full(10, 7, np.uint32)
    _core.sum_uploads([], lanes, bits=32, add=b"", subtract=b"")
    assert not lanes.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"payloads": [bytes(40), bytes(39)]}, r"^payloads\[1\]: packed lanes have 39 bytes instead of 40"),
        ({"bits": 31, "payloads": [bytes(38) + b"\x40"]}, r"^payloads\[0\]: a spare bit"),
    ],
)
def test_a_malformed_payload_is_named_and_nothing_is_written(change: dict[str, Any], message: str) -> None:
    lanes = np.full(10, 7, np.uint32)
    arguments: dict[str, Any] = {"payloads": [bytes(40)], "bits": 32, "add": bytes(32), "subtract": b""}
    arguments |= change
    with pytest.raises(MalformedMessage, match=message):
        _core.sum_uploads(arguments.pop("payloads"), lanes, **arguments)
    assert (lanes == 7).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"payloads": 3}, "^payloads: must be a sequence"),
        ({"payloads": ["text"]}, r"^payloads\[0\]: must be a C-contiguous buffer"),
        ({"payloads": [np.zeros(40, np.uint32)]}, r"^payloads\[0\]: must be a buffer of single bytes"),
        ({"bits": 33}, "^bits: must be between 1 and 32"),
        ({"bits": 0}, "^bits: "),
        ({"add": bytes(31)}, "^add: the length must be a multiple of 32 bytes"),
        ({"subtract": bytes(33)}, "^subtract: the length must be a multiple of 32 bytes"),
        ({"threads": 0}, "^threads: must be at least 1"),
        ({"lanes": np.zeros(10, np.int32)}, "^lanes: must have dtype uint32 or uint64"),
        ({"lanes": np.zeros(20, np.uint32)[::2]}, "^lanes: must be C-contiguous"),
    ],
)
def test_unusable_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "payloads": [bytes(40)],
        "lanes": np.full(10, 7, np.uint32),
        "bits": 32,
        "add": bytes(32),
        "subtract": b"",
    } | change
    payloads, lanes = arguments.pop("payloads"), arguments.pop("lanes")
    before = lanes.copy()
    with pytest.raises(InvalidArgument, match=message):
        _core.sum_uploads(payloads, lanes, **arguments)
    assert np.array_equal(lanes, before)


def test_lanes_may_not_share_memory_with_what_is_summed() -> None:
    lanes = np.zeros(16, np.uint32)
    memory = memoryview(lanes).cast("B")
    for change in ({"payloads": [memory]}, {"add": memory[:32]}, {"subtract": memory[32:]}):
        arguments: dict[str, Any] = {"payloads": [bytes(64)], "add": b"", "subtract": b""} | change
        payloads = arguments.pop("payloads")
        with pytest.raises(InvalidArgument, match="must not share memory with the result"):
            _core.sum_uploads(payloads, lanes, bits=32, **arguments)


def test_read_only_lanes_are_refused() -> None:
    lanes = np.zeros(10, np.uint32)
    lanes.flags.writeable = False
    with pytest.raises(InvalidArgument, match="^lanes: must be writable"):
        _core.sum_uploads([], lanes, bits=32, add=b"", subtract=b"")
