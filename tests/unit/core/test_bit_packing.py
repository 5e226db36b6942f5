# SPDX-License-Identifier: Apache-2.0

"""Exactly b bits a lane on the wire, in one canonical form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import bit_packing
from sordino import _core
from sordino.errors import InvalidArgument, MalformedMessage

CASES = [(np.uint32, bits) for bits in range(1, 33)] + [(np.uint64, bits) for bits in range(1, 65)]


def lanes_of(count: int, dtype: Any) -> np.ndarray:
    return np.random.default_rng(count).integers(0, np.iinfo(dtype).max, count, dtype, endpoint=True)


@pytest.mark.parametrize(("dtype", "bits"), CASES)
def test_equals_the_reference_and_comes_back(dtype: Any, bits: int) -> None:
    limit = 2 ** np.iinfo(dtype).bits
    for count in (0, 1, 2, 3, 7, 8, 9, 17, 64, 65):
        lanes = lanes_of(count, dtype)
        data = _core.pack(lanes, bits=bits)
        assert data == bit_packing.pack(lanes.tolist(), bits=bits)
        assert len(data) == _core.packed_size(count, bits) == bit_packing.packed_size(count, bits)

        start = lanes_of(count, dtype)[::-1].copy()
        plus, minus = start.copy(), start.copy()
        _core.unpack_add(data, plus, bits=bits)
        _core.unpack_subtract(data, minus, bits=bits)
        low = bit_packing.unpack(data, count, bits=bits)
        assert plus.tolist() == [(a + b) % limit for a, b in zip(start.tolist(), low, strict=True)]
        assert minus.tolist() == [(a - b) % limit for a, b in zip(start.tolist(), low, strict=True)]


@settings(deadline=None)
@given(data=st.binary(max_size=60), bits=st.integers(1, 64), count=st.integers(0, 40))
def test_any_bytes_are_accepted_only_in_canonical_form(data: bytes, bits: int, count: int) -> None:
    lanes = np.zeros(count, np.uint64)
    try:
        expected = bit_packing.unpack(data, count, bits=bits)
    except ValueError:
        with pytest.raises(MalformedMessage, match="^data: "):
            _core.unpack_add(data, lanes, bits=bits)
        assert not lanes.any()
    else:
        _core.unpack_add(data, lanes, bits=bits)
        assert lanes.tolist() == expected
        assert _core.pack(lanes, bits=bits) == data


@pytest.mark.parametrize("unpack", [_core.unpack_add, _core.unpack_subtract])
@pytest.mark.parametrize("spare", range(3, 8))
def test_every_spare_bit_must_be_zero(unpack: Any, spare: int) -> None:
    lanes = np.zeros(9, np.uint32)  # 9 lanes of 3 bits: 27 bits, five spare
    data = bytearray(4)
    data[3] |= 1 << spare
    with pytest.raises(MalformedMessage, match="spare bit"):
        unpack(data, lanes, bits=3)
    assert not lanes.any()


@pytest.mark.parametrize("length", [0, 3, 5, 40])
def test_wrong_length(length: int) -> None:
    lanes = np.zeros(9, np.uint32)
    with pytest.raises(MalformedMessage, match=f"^data: packed lanes have {length} bytes instead of 4$"):
        _core.unpack_add(bytes(length), lanes, bits=3)


@pytest.mark.parametrize(
    ("lanes", "bits", "name"),
    [
        (1, 0, "bits"),
        (1, 65, "bits"),
        (-1, 8, "lanes"),
        (2**64, 8, "lanes"),
        (2**63, 8, "lanes"),
        (1.0, 8, "lanes"),
    ],
)
def test_packed_size_refuses(lanes: Any, bits: int, name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.packed_size(lanes, bits)


@pytest.mark.parametrize("bits", [0, 33, 64])
def test_bits_wider_than_the_lane(bits: int) -> None:
    with pytest.raises(InvalidArgument, match="^bits: "):
        _core.pack(np.zeros(3, np.uint32), bits=bits)
    with pytest.raises(InvalidArgument, match="^bits: "):
        _core.unpack_add(b"", np.zeros(3, np.uint32), bits=bits)
