# SPDX-License-Identifier: Apache-2.0

"""Lanes at the very edge of what b bits hold, masked and summed for real."""

from __future__ import annotations

import numpy as np
import pytest

from adversarial.toolkit import Study, make_policy, question, ready
from sordino import _core
from sordino.errors import InvalidArgument
from sordino.protocol.lanes import check_lanes, empty_lanes

WIDTHS = (2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64)


def study_of(bits: int, length: int = 6) -> Study:
    """The policy's own bound is small; what the lanes hold is up to the test."""
    return Study(make_policy(3, plan=[question(length, clip=1.0)], bits=max(bits, 3), colluders=0))


@pytest.mark.parametrize("bits", [b for b in WIDTHS if b > 2])
@pytest.mark.parametrize("lose", [{}, {"site02": "unmask"}], ids=["all", "one recovered"])
def test_sums_up_to_the_largest_and_smallest_integer_come_out_exactly(
    bits: int, lose: dict[str, str]
) -> None:
    top = 2 ** (bits - 1) - 1
    third, rest = divmod(top, 3)
    targets = [top, -top, -top - 1, 0, 1, -1]
    parts = [
        [third, third, third + rest],
        [-third, -third, -third - rest],
        [-third, -third, -third - rest - 1],
        [top, -top, 0],
        [top, -top, 1],
        [-top, top - 1, 0],
    ]
    study = study_of(bits).set_up()
    for place, lanes in enumerate(study.vectors.values()):
        lanes[:-1] = [part[place] % 2**bits for part in parts]
    result = study.round(lose=lose)
    assert result.vanished == tuple(lose)
    assert _core.signed(result.lanes, bits=bits)[:-1].tolist() == targets


@pytest.mark.parametrize("bits", WIDTHS)
def test_lanes_are_as_wide_as_they_must_be(bits: int) -> None:
    lanes = empty_lanes(5, bits)
    assert lanes.dtype == (np.uint32 if bits <= 32 else np.uint64)
    check_lanes(lanes, 5, bits)


@pytest.mark.parametrize(
    "lanes",
    [
        np.zeros(6, np.uint32),
        np.zeros(8, np.uint32),
        np.zeros(0, np.uint32),
        np.zeros(7, np.uint64),
        np.zeros(7, np.int32),
        np.zeros(7, np.float64),
        np.zeros((7, 1), np.uint32),
        [0] * 7,
        None,
    ],
    ids=lambda value: f"{getattr(value, 'dtype', type(value).__name__)}-{getattr(value, 'shape', '')}",
)
def test_lanes_of_another_shape_or_dtype_are_refused_before_anything_is_masked(lanes: object) -> None:
    study = ready().to("upload")
    request = study.requests()["site01"]
    with study.nothing_changes(), pytest.raises(InvalidArgument, match="lanes must be uint32"):
        study.sites["site01"].upload(request.data, b"", lanes)
    assert study.round().survivors == study.names


@pytest.mark.parametrize("make", [lambda a: np.repeat(a, 2)[::2], lambda a: a.astype(">u4")])
def test_lanes_that_a_kernel_cannot_take_in_place_are_refused(make: object) -> None:
    study = ready().to("upload")
    request = study.requests()["site01"]
    with study.nothing_changes(), pytest.raises(InvalidArgument):
        study.sites["site01"].upload(request.data, b"", make(study.vectors["site01"]))
    assert study.round().survivors == study.names


@pytest.mark.parametrize("length", [1, 15, 16, 17, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("bits", [13, 32, 33, 64])
def test_masked_lanes_around_block_edges_are_exact(length: int, bits: int) -> None:
    study = study_of(bits, length)
    generator = np.random.default_rng(length)
    for lanes in study.vectors.values():
        lanes[:] = generator.integers(0, 2**bits, lanes.size, dtype=np.uint64)
    study.round()
