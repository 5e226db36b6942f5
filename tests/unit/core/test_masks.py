# SPDX-License-Identifier: Apache-2.0

"""Masks: the sum of many keystreams, added in place."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference import masks
from sordino import _core
from sordino.errors import InvalidArgument

TILE = 16 * 1024  # bytes
WIDTHS = [np.uint32, np.uint64]


def seeds_of(count: int, label: int = 0) -> list[bytes]:
    return [bytes([label, k % 256, k // 256] * 11)[:32] for k in range(count)]


def oracle(
    lanes: np.ndarray, add: list[bytes], subtract: list[bytes], *, stream: int, offset: int
) -> np.ndarray:
    """The definition, with another library's AES and NumPy's wrapping integers."""
    size = lanes.itemsize
    block, skip = divmod(offset * size, 16)
    iv = stream.to_bytes(8, "big") + block.to_bytes(8, "big")
    result = lanes.copy()
    for seeds, accumulate in ((add, np.add), (subtract, np.subtract)):
        for seed in seeds:
            cipher = Cipher(algorithms.AES(seed), modes.CTR(iv)).encryptor()
            pad = cipher.update(bytes(skip + result.nbytes))[skip:]
            accumulate(result, np.frombuffer(pad, lanes.dtype), out=result)
    return result


def ramp(count: int, dtype: Any) -> np.ndarray:
    return np.arange(count, dtype=dtype) * dtype(0x9E3779B1)


def check(
    count: int,
    dtype: Any,
    add: int,
    subtract: int,
    *,
    stream: int = 0,
    offset: int = 0,
    threads: int | None = 1,
) -> None:
    lanes = ramp(count, dtype)
    plus, minus = seeds_of(add), seeds_of(subtract, 1)
    expected = oracle(lanes, plus, minus, stream=stream, offset=offset)
    _core.add_masks(lanes, b"".join(plus), b"".join(minus), stream=stream, offset=offset, threads=threads)
    assert np.array_equal(lanes, expected)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
def test_every_small_length_and_offset(dtype: Any) -> None:
    for count in range(80):
        for offset in range(6):
            check(count, dtype, 1, 1, offset=offset)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("around", [TILE, 2 * TILE])
def test_lengths_and_offsets_around_tiles(dtype: Any, around: int) -> None:
    lanes = around // np.dtype(dtype).itemsize
    for count in (lanes - 1, lanes, lanes + 1):
        for offset in (0, 1, lanes - 1, lanes + 3):
            check(count, dtype, 2, 1, offset=offset, stream=2**63 + 1)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize(("add", "subtract"), [(0, 0), (1, 0), (0, 1), (5, 0), (300, 200)])
def test_number_of_seeds(dtype: Any, add: int, subtract: int) -> None:
    check(50, dtype, add, subtract)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
def test_offset_at_the_end_of_the_range(dtype: Any) -> None:
    check(10, dtype, 1, 1, offset=2**64 - 11, stream=2**64 - 1)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("width", [32, 64])
def test_equals_the_reference(width: int) -> None:
    dtype = np.dtype(f"uint{width}").type
    lanes = ramp(30, dtype)
    plus, minus = seeds_of(2), seeds_of(1, 1)
    expected = masks.add_masks(lanes.tolist(), plus, minus, width=width, stream=3, offset=5)
    _core.add_masks(lanes, b"".join(plus), b"".join(minus), stream=3, offset=5)
    assert lanes.tolist() == expected


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("threads", [2, 3, 4, 7, 1000])
def test_any_number_of_threads_gives_the_same_lanes(dtype: Any, threads: int) -> None:
    for count, offset in ((1, 0), (20_000, 0), (20_001, 3), (4097, 4095)):
        check(count, dtype, 2, 2, offset=offset, threads=threads)


@pytest.mark.parametrize("variable", [None, "", "1", "5"])
def test_without_a_number_of_threads_the_environment_tells(
    variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is None:
        monkeypatch.delenv("SORDINO_THREADS", raising=False)
    else:
        monkeypatch.setenv("SORDINO_THREADS", variable)
    check(20_001, np.uint32, 2, 1, offset=3, threads=None)


@pytest.mark.parametrize("variable", ["0", "-1", "two", "1.5", " 2", "2 ", "+2", "0x2", "9" * 30])
def test_a_wrong_number_of_threads_in_the_environment_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORDINO_THREADS", variable)
    lanes = np.zeros(10, np.uint32)
    with pytest.raises(InvalidArgument, match="^SORDINO_THREADS: "):
        _core.add_masks(lanes, b"a" * 32, b"")
    assert not lanes.any()
    _core.add_masks(lanes, b"a" * 32, b"", threads=1)
    assert lanes.all()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.sampled_from(WIDTHS),
    cuts=st.lists(st.integers(0, 6000), max_size=5),
    offset=st.integers(0, 2**60),
    threads=st.integers(1, 3),
)
@pytest.mark.usefixtures("backend")
def test_a_vector_may_be_masked_in_pieces(width: Any, cuts: list[int], offset: int, threads: int) -> None:
    add, subtract = b"".join(seeds_of(2)), b"".join(seeds_of(1, 1))
    whole = ramp(6000, width)
    pieces = whole.copy()
    _core.add_masks(whole, add, subtract, offset=offset)
    edges = sorted([0, *cuts, 6000])
    for start, stop in pairwise(edges):
        _core.add_masks(pieces[start:stop], add, subtract, offset=offset + start, threads=threads)
    assert np.array_equal(whole, pieces)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
def test_a_mask_taken_away_leaves_the_vector(dtype: Any) -> None:
    lanes = ramp(5000, dtype)
    add, subtract = b"".join(seeds_of(3)), b"".join(seeds_of(2, 1))
    _core.add_masks(lanes, add, subtract, stream=1)
    assert not np.array_equal(lanes, ramp(5000, dtype))
    _core.add_masks(lanes, subtract, add, stream=1)
    assert np.array_equal(lanes, ramp(5000, dtype))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", WIDTHS)
def test_neighbours_of_a_slice_are_left_alone(dtype: Any) -> None:
    lanes = np.zeros(300, dtype)
    for start, stop in ((1, 2), (3, 40), (5, 298)):
        lanes[:] = 0
        _core.add_masks(lanes[start:stop], b"".join(seeds_of(2)), b"")
        assert lanes[start:stop].all()
        assert not lanes[:start].any()
        assert not lanes[stop:].any()


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"add": b"x" * 31}, "add"),
        ({"add": b"x" * 33}, "add"),
        ({"subtract": b"x"}, "subtract"),
        ({"threads": 0}, "threads"),
        ({"threads": -1}, "threads"),
        ({"offset": 2**64 - 9}, "offset"),
        ({"offset": -1}, "offset"),
        ({"offset": 2**64}, "offset"),
        ({"offset": 1.5}, "offset"),
        ({"stream": 2**64}, "stream"),
        ({"stream": "0"}, "stream"),
        ({"add": "text"}, "add"),
        ({"add": np.zeros(32, np.int32)}, "add"),
        ({"add": np.zeros(64, np.uint8)[::2]}, "add"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(changed: dict[str, Any], name: str) -> None:
    lanes = np.zeros(10, np.uint32)
    arguments = {"add": b"a" * 32, "subtract": b"b" * 32, "stream": 0, "offset": 0, "threads": 1} | changed
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.add_masks(lanes, arguments.pop("add"), arguments.pop("subtract"), **arguments)
    assert not lanes.any()


@pytest.mark.parametrize("side", ["add", "subtract"])
def test_seeds_must_not_lie_in_the_lanes(side: str) -> None:
    lanes = np.zeros(16, np.uint32)
    seeds: dict[str, Any] = {"add": b"", "subtract": b""} | {side: lanes.view(np.uint8)[:32]}
    with pytest.raises(InvalidArgument, match=f"^{side}: must not share memory"):
        _core.add_masks(lanes, **seeds)
    assert not lanes.any()
