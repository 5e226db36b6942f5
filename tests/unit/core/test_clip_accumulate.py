# SPDX-License-Identifier: Apache-2.0

"""Rows of gradients: each is clipped and rounded within an exact integer norm, then they are summed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference import clipping
from sordino import _core
from sordino.errors import InvalidArgument, ValueOutOfRange

REALS = [np.float32, np.float64]
WIDTHS = [np.uint32, np.uint64]
SEED = b"patients" * 4


def limit_of(bound: float, scale: float, columns: int, beta: float = math.exp(-0.5)) -> int:
    """The squared norm after rounding by KLS21, Proposition 22."""
    radius = bound * scale
    slack = columns / 4 + math.sqrt(2 * math.log(1 / beta)) * (radius + math.sqrt(columns) / 2)
    return math.floor(min(radius**2 + slack, (radius + math.sqrt(columns)) ** 2))


def rows_of(count: int, columns: int, real: Any) -> np.ndarray:
    generator = np.random.default_rng(count * columns)
    return (generator.standard_normal((count, columns)) * generator.uniform(0, 2, (count, 1))).astype(real)


def accumulate(
    rows: np.ndarray, width: Any = np.uint64, **arguments: Any
) -> tuple[np.ndarray, tuple[int, int, int]]:
    lanes = np.zeros(rows.shape[1], width)
    counts = _core.clip_accumulate(rows, lanes, **arguments)
    return lanes, (counts.clipped, counts.left_out, counts.truncated)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rounding", [{}, {"rounding_seed": SEED, "stream": 5, "offset": 3}])
def test_equals_the_reference(real: Any, width: Any, rounding: dict[str, Any]) -> None:
    for count, columns in ((1, 1), (7, 2), (5, 15), (5, 16), (5, 17), (4, 33), (3, 67)):
        rows = rows_of(count, columns, real)
        rows[count // 2, columns // 2] *= 100
        bound, scale = 1.25, 37.5
        limit = limit_of(bound, scale, columns)
        lanes, counts = accumulate(rows, width, bound=bound, scale=scale, limit=limit, **rounding)
        keyed = {"seed": SEED, "stream": 5, "offset": 3} if rounding else {}
        expected = clipping.clip_accumulate(
            rows.tolist(),
            columns,
            bound=bound,
            scale=scale,
            limit=limit,
            width=np.iinfo(width).bits,
            **keyed,
        )
        assert lanes.tolist() == expected.lanes
        assert counts == expected[1:]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("columns", [2047, 2048, 2049, 4095, 4096, 4097, 9000])
def test_rows_longer_than_a_tile_and_any_threads(real: Any, width: Any, columns: int) -> None:
    rows = rows_of(9, columns, real)
    rows[4, 7] = np.nan
    # So tight that some rows are rounded again: the first attempt that fits is taken.
    arguments = {"bound": 1.0, "scale": 300.0, "limit": math.floor(300.0**2 + columns / 6)}
    arguments |= {"rounding_seed": SEED}
    _, counts = accumulate(rows, width, threads=1, **arguments)
    singly = np.zeros(columns, width)
    clipped = truncated = 0
    for i, row in enumerate(rows):
        lanes, (more, _, cut) = accumulate(row[None], width, offset=i, threads=1, **arguments)
        integers = _core.signed(lanes, bits=np.iinfo(width).bits)
        assert sum(x * x for x in integers.tolist()) <= arguments["limit"]
        singly += lanes
        clipped += more
        truncated += cut
    assert counts == (clipped, 1, truncated)
    for threads in (1, 2, 4, 20):
        lanes, found = accumulate(rows, width, threads=threads, **arguments)
        assert np.array_equal(lanes, singly)
        assert found == counts


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40),
    bound=st.floats(1e-3, 1e3),
    scale=st.floats(1e-2, 1e4),
    slack=st.integers(0, 50),
    stochastic=st.booleans(),
    real=st.sampled_from(REALS),
    width=st.sampled_from(WIDTHS),
)
def test_the_integer_norm_never_passes_the_limit(
    backend: str,
    row: list[float],
    bound: float,
    scale: float,
    slack: int,
    stochastic: bool,
    real: Any,
    width: Any,
) -> None:
    assert backend
    limit = math.floor((bound * scale) ** 2) + slack
    rounding = {"rounding_seed": SEED} if stochastic else {}
    lanes, (clipped, left_out, truncated) = accumulate(
        np.array([row], real), width, bound=bound, scale=scale, limit=limit, **rounding
    )
    integers = _core.signed(lanes, bits=np.iinfo(width).bits).tolist()
    assert sum(x * x for x in integers) <= limit
    assert left_out == 0
    assert clipped == (_core.l2_norm(np.array(row, real)) > bound)
    factor = min(1.0, bound / max(np.linalg.norm(row), 1e-300))
    for x, value in zip(integers, row, strict=True):  # no integer is further than one unit from its value
        assert abs(x - value * factor * scale) <= 1 + 1e-6 * abs(x)
    if limit >= limit_of(bound, scale, len(row)):
        assert truncated == 0 or not stochastic


@pytest.mark.usefixtures("backend")
def test_the_largest_integers_have_an_exact_norm() -> None:
    # A single value at the bound, in the top bit of a lane; one unit less of limit has it truncated.
    for width, scale in ((np.uint32, 2.0**31 - 1), (np.uint64, 2.0**62)):
        for real in (np.float64,):
            row = np.array([[-1.0] + [0.0] * 40], real)
            exact = int(scale) ** 2
            lanes, counts = accumulate(row, width, bound=1.0, scale=scale, limit=exact)
            assert _core.signed(lanes, bits=np.iinfo(width).bits)[0] == -int(scale)
            assert counts == (0, 0, 0)
    row = np.full((1, 100), 0.1)
    lanes, counts = accumulate(row, np.uint32, bound=1.0, scale=2.0**31 - 2, limit=(2**31 - 2) ** 2 + 2**40)
    assert counts[2] == 0
    assert abs(math.sqrt(sum(int(x) ** 2 for x in lanes)) - (2**31 - 2)) < 100


def test_what_no_rounding_brings_within_the_limit_is_cut_off() -> None:
    row = np.full((1, 100), 0.09)  # norm 0.9, so 0.75; at scale 10 each is 0.75 of a unit
    for rounding in ({}, {"rounding_seed": SEED}):
        lanes, counts = accumulate(row, bound=0.75, scale=10.0, limit=56, **rounding)
        assert not lanes.any()
        assert counts == (1, 0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("real", REALS)
def test_rows_that_are_not_finite_count_for_nothing(value: float, real: Any) -> None:
    rows = np.ones((5, 10), real)
    rows[1, 9] = rows[3, 0] = value
    lanes, counts = accumulate(rows, bound=100.0, scale=1.0, limit=10**6)
    assert lanes.tolist() == [3] * 10
    assert counts == (0, 2, 0)


def test_stochastic_rounding_is_unbiased_over_rows() -> None:
    rows = np.full((4000, 20), 0.3)
    lanes, counts = accumulate(rows, bound=10.0, scale=1.0, limit=10**6, rounding_seed=SEED)
    assert counts == (0, 0, 0)
    assert (np.abs(lanes / 4000 - 0.3) < 6 * math.sqrt(0.21 / 4000)).all()


def test_lanes_wrap_and_are_added_to() -> None:
    lanes = np.array([2**32 - 1, 5], np.uint32)
    _core.clip_accumulate(np.array([[3.0, -4.0]]), lanes, bound=5.0, scale=1.0, limit=25)
    assert lanes.tolist() == [2, 1]


def test_values_whose_squares_leave_the_range_of_doubles() -> None:
    rows = np.array([[3e200, 4e200], [3e-200, 4e-200]])
    lanes, counts = accumulate(rows, bound=5.0, scale=100.0, limit=500**2)
    assert lanes.tolist() == [300, 400]
    assert counts[:2] == (1, 0)


def test_no_rows() -> None:
    lanes, counts = accumulate(np.zeros((0, 3)), bound=1.0, scale=1.0, limit=1)
    assert not lanes.any()
    assert counts == (0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "error", "name"),
    [
        ({"bound": 0.0}, InvalidArgument, "bound"),
        ({"bound": np.inf}, InvalidArgument, "bound"),
        ({"scale": np.nan}, InvalidArgument, "scale"),
        ({"scale": 2.0**31}, ValueOutOfRange, "bound"),
        ({"limit": 15}, InvalidArgument, "limit"),
        ({"limit": -1}, InvalidArgument, "limit"),
        ({"limit": 2**128}, InvalidArgument, "limit"),
        ({"limit": 16.0}, InvalidArgument, "limit"),
        ({"threads": 0}, InvalidArgument, "threads"),
        ({"stream": 2**64 - 63}, InvalidArgument, "stream"),
        ({"offset": 2**62}, InvalidArgument, "offset"),
        ({"offset": -1}, InvalidArgument, "offset"),
        ({"rounding_seed": b"short"}, InvalidArgument, "rounding_seed"),
        ({"rows": np.zeros((2, 4))}, InvalidArgument, "rows"),
        ({"rows": np.zeros(6)}, InvalidArgument, "rows"),
        ({"rows": np.zeros((2, 3), np.int64)}, InvalidArgument, "rows"),
        ({"rows": np.zeros((3, 2)).T}, InvalidArgument, "rows"),
        ({"rows": np.zeros((2, 0)), "lanes": np.zeros(0, np.uint32)}, InvalidArgument, "lanes"),
        ({"lanes": np.zeros(3, np.int32)}, InvalidArgument, "lanes"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    changed: dict[str, Any], error: type[Exception], name: str
) -> None:
    lanes = np.zeros(3, np.uint32)
    arguments = {"rows": np.ones((2, 3)), "lanes": lanes, "bound": 1.0, "scale": 4.0, "limit": 16}
    arguments |= {"rounding_seed": SEED} | changed
    with pytest.raises(error, match=f"^{name}: "):
        _core.clip_accumulate(arguments.pop("rows"), arguments.pop("lanes"), **arguments)
    assert not lanes.any()


def test_overlap_is_refused() -> None:
    memory = np.zeros(16)
    with pytest.raises(InvalidArgument, match="^rows: must not share"):
        _core.clip_accumulate(memory.reshape(4, 4), memory.view(np.uint64)[:4], bound=1.0, scale=1.0, limit=1)
