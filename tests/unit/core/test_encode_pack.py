# SPDX-License-Identifier: Apache-2.0

"""Values to packed bytes in one call, and the norm: the same bits from every backend and any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference import bit_packing, fixed_point
from sordino import _core
from sordino.errors import InvalidArgument, ValueOutOfRange

REALS = [np.float32, np.float64]
WIDTHS = [np.uint32, np.uint64]
SEED = b"rounding" * 4
# A tile has 4096 lanes of 32 bits, or half as many of 64; a step of stochastic rounding has 1024.
AROUND = [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 1023, 1024, 1025, 4095, 4096, 4097, 12293]


def values_of(count: int, real: Any) -> np.ndarray:
    return np.random.default_rng(count).uniform(-1, 1, count).astype(real)


def lane_type(bits: int) -> Any:
    return np.uint32 if bits <= 32 else np.uint64


def lanes_by(values: np.ndarray, dtype: Any, **changed: Any) -> np.ndarray:
    lanes = np.full(len(values), 77, dtype)
    _core.encode(values, lanes, **({"clip": 1.0, "scale": 0.7, "weight": 1, "saturate": False} | changed))
    return lanes


def packed_by(values: np.ndarray, bits: int, **changed: Any) -> bytes:
    out = bytearray(b"\xee" * _core.packed_size(len(values), bits))
    arguments = {"clip": 1.0, "scale": 0.7, "weight": 1, "saturate": False} | changed
    _core.encode_pack(values, out, bits=bits, **arguments)
    return bytes(out)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rounding", [{}, {"rounding_seed": SEED, "stream": 3, "offset": 5}])
@pytest.mark.parametrize(
    "form",
    [
        {"scale": 12345.678, "weight": 1},
        {"scale": 12345.678, "weight": 7, "saturate": True, "clip": 0.5},
        {"scale": 1e6, "weight": 3, "l2_bound": 1.5},
        {"scale": 1e6, "weight": 0},
    ],
)
def test_every_backend_encodes_as_the_reference(
    real: Any, width: Any, rounding: dict[str, Any], form: dict[str, Any]
) -> None:
    bits = np.iinfo(width).bits
    for count in (*range(35), 100):
        values = values_of(count, real)
        lanes = lanes_by(values, width, **(form | rounding))
        exact = values.tolist()
        if bound := form.get("l2_bound"):
            norm = fixed_point.l2_norm(exact)
            exact = [v * (bound / norm if norm > bound else 1.0) for v in exact]
        arguments = {"clip": form.get("clip", 1.0), "scale": form["scale"], "weight": form["weight"]}
        if rounding:
            arguments |= {"seed": SEED, "stream": 3, "offset": 5}
            expected = fixed_point.encode_stochastic(exact, width=bits, **arguments)
        else:
            expected = fixed_point.encode(exact, width=bits, **arguments)
        assert lanes.tolist() == expected


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scale", [0.7, 3e4, 2.0**30, 2.0**52 + 1, 2.0**62])
@pytest.mark.parametrize("rounding", [{}, {"rounding_seed": SEED, "offset": 1}])
def test_backends_and_threads_agree_at_every_edge(
    backend: str, real: Any, width: Any, scale: float, rounding: dict[str, Any]
) -> None:
    if width is np.uint32 and scale > 2.0**31:
        scale = 1.5
    arguments = {"scale": scale, "weight": 1, **rounding}
    for count in AROUND:
        values = values_of(count, real)
        found = [lanes_by(values, width, threads=threads, **arguments) for threads in (1, 2, 5)]
        _core.select_backend("portable")
        expected = lanes_by(values, width, threads=1, **arguments)
        _core.select_backend(backend)
        for lanes in found:
            assert np.array_equal(lanes, expected)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("bits", range(1, 65))
def test_every_width_packs_as_the_reference(bits: int) -> None:
    for dtype in WIDTHS:
        if bits > np.iinfo(dtype).bits:
            continue
        for count in (1, 15, 16, 17, 79, 80, 333):
            lanes = np.random.default_rng(bits).integers(0, np.iinfo(dtype).max, count, dtype, endpoint=True)
            data = _core.pack(lanes, bits=bits)
            assert data == bit_packing.pack(lanes.tolist(), bits=bits)
            low = np.array(bit_packing.unpack(data, count, bits=bits), dtype)
            plus, minus = lanes.copy(), lanes.copy()
            _core.unpack_add(data, plus, bits=bits)
            _core.unpack_subtract(data, minus, bits=bits)
            assert np.array_equal(plus, lanes + low)
            assert np.array_equal(minus, lanes - low)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("bits", [1, 2, 3, 8, 15, 16, 17, 24, 27, 31, 32, 33, 40, 48, 63, 64])
def test_encode_pack_is_encode_and_pack(real: Any, bits: int) -> None:
    scale = 0.9 * 2.0 ** (bits - 1) - 1 if bits > 1 else 1.0
    for count in AROUND:
        values = values_of(count, real)
        for more in ({}, {"rounding_seed": SEED, "stream": 1, "offset": 9}, {"l2_bound": 0.7}):
            arguments = {"scale": scale, "weight": int(bits > 1), **more}
            expected = _core.pack(lanes_by(values, lane_type(bits), **arguments), bits=bits)
            for threads in (1, 3):
                assert packed_by(values, bits, threads=threads, **arguments) == expected


@pytest.mark.usefixtures("backend")
def test_a_refused_value_leaves_the_output_as_it_was() -> None:
    for real in REALS:
        for place in (0, 15, 4095, 4096, 9000):
            for bad, word in ((np.nan, "NaN"), (np.inf, "infinite"), (1.0000001, "outside the clip")):
                values = np.zeros(9001, real)
                values[place] = bad
                out = bytearray(b"\xee" * 9001)
                with pytest.raises(ValueOutOfRange, match=f"^values: element {place} is {word}$"):
                    _core.encode_pack(
                        values, out, bits=8, clip=1.0, scale=1.0, weight=1, saturate=False, threads=2
                    )
                assert out == b"\xee" * 9001


@pytest.mark.usefixtures("backend")
def test_a_float32_is_compared_with_the_clip_as_it_is() -> None:
    clip = 0.1  # between two floats
    inside, outside = np.float32(0.099999994), np.float32(0.1)
    assert float(inside) < clip < float(outside)
    for count in (1, 64, 65):
        lanes_by(np.full(count, inside), np.uint32, clip=clip)
        with pytest.raises(ValueOutOfRange, match="^values: element 0 is outside"):
            lanes_by(np.full(count, outside), np.uint32, clip=clip)
    for clip in (1e39, 1e300):  # beyond every float
        lanes_by(np.full(65, np.finfo(np.float32).max), np.uint64, clip=clip, scale=1 / clip)


@pytest.mark.usefixtures("backend")
def test_the_norm_is_the_same_double_everywhere() -> None:
    for real in REALS:
        for count in (0, 1, 31, 32, 33, 64, 4095, 4096, 4097, 12345):
            values = values_of(count, real)
            expected = fixed_point.l2_norm(values.tolist())
            for threads in (1, 2, 7):
                assert _core.l2_norm(values, threads=threads) == expected
            assert expected == pytest.approx(float(np.linalg.norm(values.astype(np.float64))))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(-1e306, 1e306), max_size=70))
def test_the_norm_of_extreme_values(values: list[float], backend: str) -> None:
    assert backend
    assert _core.l2_norm(np.array(values)) == fixed_point.l2_norm(values)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("real", REALS)
def test_the_norm_of_what_is_not_finite_is_refused(value: float, word: str, real: Any) -> None:
    values = np.full(5000, 1e30, real)
    values[4500] = value
    with pytest.raises(ValueOutOfRange, match=f"^values: element 4500 is {word}$"):
        _core.l2_norm(values)
    with pytest.raises(ValueOutOfRange, match=f"^values: element 4500 is {word}$"):
        lanes_by(values, np.uint32, l2_bound=1.0)


def test_a_vector_within_the_l2_bound_is_left_alone_and_a_longer_one_is_shortened() -> None:
    values = np.array([3.0, 4.0])
    for bound, expected in ((5.0, [300, 400]), (50.0, [300, 400]), (2.5, [150, 200]), (1e-300, [0, 0])):
        lanes = lanes_by(values, np.uint32, clip=8.0, scale=100.0, l2_bound=bound)
        assert lanes.tolist() == expected
    lanes = lanes_by(np.array([3e200, 4e200]), np.uint32, clip=8.0, scale=100.0, l2_bound=5.0)
    assert lanes.tolist() == [300, 400]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"bits": 0}, "bits"),
        ({"bits": 65}, "bits"),
        ({"threads": 0}, "threads"),
        ({"threads": 1.0}, "threads"),
        ({"l2_bound": 0.0}, "l2_bound"),
        ({"l2_bound": np.nan}, "l2_bound"),
        ({"l2_bound": "1"}, "l2_bound"),
        ({"scale": 128.0}, "weight"),
        ({"weight": -1}, "weight"),
        ({"rounding_seed": SEED, "offset": 2**64 - 2}, "offset"),
        ({"rounding_seed": b"short"}, "rounding_seed"),
        ({"out": bytearray(2)}, "out"),
        ({"out": bytes(3)}, "out"),
        ({"out": np.zeros(3, np.uint16)}, "out"),
        ({"values": np.zeros(3, np.int32)}, "values"),
        ({"values": np.zeros((3, 1))}, "values"),
        ({"values": np.zeros(6)[::2]}, "values"),
        ({"values": np.zeros(3, ">f4")}, "values"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(changed: dict[str, Any], name: str) -> None:
    out = bytearray(b"\xee" * 3)
    arguments = {"values": np.zeros(3), "out": out, "bits": 8, "clip": 1.0, "scale": 1.0, "weight": 1}
    arguments |= {"saturate": False} | changed
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.encode_pack(arguments.pop("values"), arguments.pop("out"), **arguments)
    assert out == b"\xee" * 3


def test_overlap_is_refused() -> None:
    memory = np.zeros(64)
    with pytest.raises(InvalidArgument, match="^values: must not share"):
        _core.encode_pack(
            memory, memory.view(np.uint8)[:64], bits=8, clip=1.0, scale=1.0, weight=1, saturate=False
        )
    out = bytearray(32)
    with pytest.raises(InvalidArgument, match="^rounding_seed: must not share"):
        _core.encode_pack(
            np.zeros(32), out, bits=8, clip=1.0, scale=1.0, weight=1, saturate=False, rounding_seed=out
        )
