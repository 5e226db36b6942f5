# SPDX-License-Identifier: Apache-2.0

"""Fixed-point lanes: clip, scale, round, then weight."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reference import fixed_point
from sordino import _core
from sordino.errors import InvalidArgument, ValueOutOfRange

WIDTHS = [np.uint32, np.uint64]
REALS = [np.float32, np.float64]
SEED = b"rounding" * 4


def encode(values: Any, width: Any = np.uint64, **changed: Any) -> np.ndarray:
    lanes = np.full(len(values), 77, width)
    _core.encode(values, lanes, **({"clip": 8.0, "scale": 16.0, "weight": 1, "saturate": False} | changed))
    return lanes


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("width", WIDTHS)
def test_rounds_half_to_even_then_weights(real: Any, width: Any) -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 0.0, -0.0, 3.0], real)
    lanes = encode(values, width, scale=1.0, weight=1000)
    assert _core.signed(lanes, bits=np.iinfo(width).bits).tolist() == [
        0, 2000, 2000, 0, -2000, -2000, 0, 0, 0, 3000,
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    real=st.sampled_from(REALS),
    width=st.sampled_from(WIDTHS),
    clip=st.floats(1e-3, 1e3),
    scale=st.floats(1e-3, 1e6),
    weight=st.integers(0, 1000),
    data=st.data(),
)
def test_equals_the_reference(
    real: Any, width: Any, clip: float, scale: float, weight: int, data: st.DataObject
) -> None:
    bits = np.iinfo(width).bits
    assume(-(-Fraction(clip * scale) // 1) * weight < 2 ** (bits - 1))
    values = np.array(data.draw(st.lists(st.floats(-2 * clip, 2 * clip), max_size=30)), real)
    lanes = encode(values, width, clip=clip, scale=scale, weight=weight, saturate=True)
    expected = fixed_point.encode(values.tolist(), clip=clip, scale=scale, weight=weight, width=bits)
    assert lanes.tolist() == expected

    where = {"stream": 3, "offset": data.draw(st.integers(0, 2**63))}
    lanes = encode(
        values, width, clip=clip, scale=scale, weight=weight, saturate=True, rounding_seed=SEED, **where
    )
    expected = fixed_point.encode_stochastic(
        values.tolist(), clip=clip, scale=scale, weight=weight, width=bits, seed=SEED, **where
    )
    assert lanes.tolist() == expected


@pytest.mark.usefixtures("backend")
def test_stochastic_rounding_is_seekable_and_unbiased() -> None:
    values = np.full(5000, 0.3)
    whole = encode(values, scale=1.0, rounding_seed=SEED)
    pieces = [
        encode(values[start:stop], scale=1.0, rounding_seed=SEED, offset=start)
        for start, stop in ((0, 1), (1, 1030), (1030, 5000))
    ]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert set(whole.tolist()) == {0, 1}
    assert abs(whole.mean() - 0.3) < 5 * np.sqrt(0.21 / 5000)


def test_stochastic_rounding_leaves_integers_alone() -> None:
    values = np.array([-3.0, 0.0, 5.0] * 200)
    lanes = encode(values, scale=1.0, rounding_seed=SEED)
    assert np.array_equal(_core.signed(lanes, bits=64), values.astype(np.int64))


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("real", REALS)
def test_nan_and_infinity_are_always_refused(saturate: bool, value: float, word: str, real: Any) -> None:
    values = np.zeros(100, real)
    values[63] = value
    lanes = np.full(100, 77, np.uint32)
    with pytest.raises(ValueOutOfRange, match=f"^values: element 63 is {word}$"):
        _core.encode(values, lanes, clip=1.0, scale=1.0, weight=1, saturate=saturate)
    assert (lanes == 77).all()


def test_beyond_the_clip_is_refused_or_saturates() -> None:
    values = np.array([0.0, 8.0, -8.0, np.nextafter(8.0, 9.0)])
    with pytest.raises(ValueOutOfRange, match="^values: element 3 is outside the clip$"):
        encode(values)
    assert encode(values[:3]).tolist() == [0, 128, 2**64 - 128]
    assert encode(np.array([9.0, -1e300, 1.0]), saturate=True).tolist() == [128, 2**64 - 128, 16]


@pytest.mark.parametrize("weight", [-1, 2**63, -(2**63), 2**100])
def test_weight_outside_its_range(weight: int) -> None:
    with pytest.raises(ValueOutOfRange, match="^weight: "):
        encode(np.zeros(3), weight=weight)


@pytest.mark.parametrize(
    ("width", "clip", "scale", "weight", "fits"),
    [
        (np.uint32, 1.0, 2.0**31 - 1, 1, True),
        (np.uint32, 1.0, 2.0**31, 1, False),
        (np.uint32, 1.0, 2.0**30, 2, False),
        (np.uint32, 1.0, 1.0, 2**31 - 1, True),
        (np.uint32, 1.0, 1.5, 2**30, False),  # the bound is ceil(clip * scale), whatever the rounding
        (np.uint64, 1.0, 2.0**62, 1, True),
        (np.uint64, 1.0, 2.0**62, 2, False),
        (np.uint64, 1.0, 2.0**63, 1, False),
        (np.uint64, 1e200, 1e200, 1, False),
        (np.uint64, 1.0, 1.0, 2**63 - 1, True),
    ],
)
def test_capacity_is_checked_for_the_worst_value(
    width: Any, clip: float, scale: float, weight: int, fits: bool
) -> None:
    if fits:
        encode(np.zeros(2), width, clip=clip, scale=scale, weight=weight)
    else:
        with pytest.raises(ValueOutOfRange, match="^weight: "):
            encode(np.zeros(2), width, clip=clip, scale=scale, weight=weight)


def test_weight_zero_gives_zero_lanes() -> None:
    assert not encode(np.ones(5), weight=0).any()


@pytest.mark.parametrize("name", ["clip", "scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, "1", None])
def test_clip_and_scale_are_positive_and_finite(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        encode(np.zeros(3), **{name: value})


def test_lengths_must_agree() -> None:
    with pytest.raises(InvalidArgument, match="^lanes: must be as long as values"):
        _core.encode(np.zeros(3), np.zeros(4, np.uint32), clip=1.0, scale=1.0, weight=1, saturate=False)


@pytest.mark.parametrize(
    "changed", [{"weight": 1.0}, {"rounding_seed": b"short"}, {"rounding_seed": "x" * 32}]
)
def test_wrong_types_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"^{next(iter(changed))}: "):
        encode(np.zeros(3), **changed)


@pytest.mark.parametrize("width", WIDTHS)
def test_signed_and_decode_read_twos_complement(width: Any) -> None:
    limit = np.iinfo(width).bits
    lanes = np.array([0, 1, 127, 128, 255, 2**31, 2**limit - 1], width)
    for bits in (1, 2, 7, 8, 31, 32, limit):
        expected = fixed_point.signed(lanes.tolist(), bits=bits)
        assert _core.signed(lanes, bits=bits).tolist() == expected
        assert _core.decode(lanes, bits=bits, scale=4.0).tolist() == [value / 4 for value in expected]


@given(values=st.lists(st.floats(-8, 8), max_size=30))
def test_decode_undoes_encode_to_half_a_unit(values: list[float]) -> None:
    array = np.array(values)
    back = _core.decode(encode(array, scale=1024.0), bits=64, scale=1024.0)
    assert (np.abs(back - array) <= 0.5 / 1024).all()


@pytest.mark.parametrize("bits", [0, 33, 65, -1, 2**64, 1.0])
def test_bits_outside_the_lane(bits: Any) -> None:
    with pytest.raises(InvalidArgument, match="^bits: "):
        _core.signed(np.zeros(3, np.uint32), bits=bits)
    with pytest.raises(InvalidArgument, match="^bits: "):
        _core.decode(np.zeros(3, np.uint32), bits=bits, scale=1.0)
