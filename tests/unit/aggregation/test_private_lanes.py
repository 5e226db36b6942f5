# SPDX-License-Identifier: Apache-2.0

"""What one unit can move the lanes by, before any noise: never more than its question says."""

from __future__ import annotations

from itertools import pairwise
from math import isqrt

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from sordino.aggregation.base import Contribution
from sordino.aggregation.private_lanes import encode_private
from sordino.errors import InvalidArgument
from sordino.privacy.mechanisms import count_scale, sensitivity
from sordino.protocol.noise import Noise, Unit
from sordino.protocol.policy import Block, Question

SEED = bytes(range(32))
BLOCK = Block("g", 4, 1.0, 10)
WIDE = Block("g", 1, 2.0**20, 41)
"""Five of its largest values do not fit 64 bits, but three sites' sum of one does."""


def asked(block: Block, unit: Unit, max_weight: int = 1) -> Question:
    noise = Noise(unit=unit, sensitivity=1, sigma=1e6, tail=10**8)
    return Question("q", (block,), max_weight=max_weight, saturate=True, noise=noise)


def integers(question: Question, values: NDArray[np.float64]) -> list[int]:
    contribution = Contribution({"g": values})
    lanes = encode_private(question, contribution, bits=64, rounding_seed=SEED)
    return [int(lane) for lane in lanes.view(np.int64)]


def test_a_site_cannot_pass_for_several() -> None:
    question = asked(BLOCK, "site")
    assert sum(lane**2 for lane in integers(question, np.full(4, 9.0))) <= sensitivity(question, "site")
    with pytest.raises(InvalidArgument, match=r"must have shape \(4,\), got \(4, 4\)"):
        integers(question, np.eye(4))


def test_one_patient_more_moves_a_lane_by_no_more_than_its_norm() -> None:
    question = asked(WIDE, "patient", max_weight=1)
    most = isqrt(WIDE.limit)
    sums = [integers(question, np.full((patients, 1), 2.0**20))[0] for patients in range(12)]
    assert all(abs(more - fewer) <= most for fewer, more in pairwise(sums)), sums
    assert min(sums[1:]) >= 2**61


@pytest.mark.parametrize(("unit", "weight"), [("patient", 1), ("site", 5)])
def test_the_count_is_part_of_what_a_unit_may_move_the_lanes_by(unit: Unit, weight: int) -> None:
    block = Block("g", 1, 1.0, 16)
    question = replace(asked(block, unit, max_weight=weight), weight_scale=count_scale(asked(block, unit)))
    values = np.ones((1, 1) if unit == "patient" else 1)
    lanes = encode_private(question, Contribution({"g": values}, weight), bits=64, rounding_seed=SEED)
    moved = sum(int(lane) ** 2 for lane in lanes.view(np.int64))
    assert block.limit * weight**2 < moved <= sensitivity(question, unit)


@pytest.mark.parametrize("order", [1, -1])
def test_what_saturates_saturates_by_the_whole_sum(order: int) -> None:
    question = asked(WIDE, "patient", max_weight=1)
    rows = np.repeat([1.0, -1.0], [9, 8])[::order, np.newaxis] * 2.0**20
    assert integers(question, rows)[0] == 2**61


def test_no_patients_are_an_answer() -> None:
    assert integers(asked(BLOCK, "patient"), np.zeros((0, 4))) == [0] * 5
    assert integers(asked(BLOCK, "patient"), np.full((2, 4), np.nan)) == [0] * 4 + [1]
    assert integers(asked(BLOCK, "patient"), np.full((2, 4), np.inf)) == [0] * 4 + [1]


def test_weights_may_be_of_any_integer_type() -> None:
    question = asked(BLOCK, "site", max_weight=5)
    for weight in (3, np.int64(3), {"all": 3}):
        contribution = Contribution({"g": np.zeros(4)}, weight)
        assert int(encode_private(question, contribution, bits=32, rounding_seed=SEED)[-1]) == 3


def test_values_that_were_not_sampled_as_the_question_says_are_not_sent() -> None:
    question = asked(BLOCK, "patient")
    assert question.noise is not None
    sampled = replace(question, noise=replace(question.noise, sampling_rate=1e-4))
    rows = np.zeros((2, 4))
    with pytest.raises(
        InvalidArgument, match="has the sampling_rate 0.0001, and the values were made with 1$"
    ):
        integers(sampled, rows)
    contribution = Contribution({"g": rows}, sampling_rate=1e-4)
    assert encode_private(sampled, contribution, bits=32, rounding_seed=SEED).tolist() == [0] * 4 + [1]
    with pytest.raises(
        InvalidArgument, match="has the sampling_rate 1, and the values were made with 0.0001"
    ):
        encode_private(question, contribution, bits=32, rounding_seed=SEED)


def test_values_that_were_not_made_private_are_not_sent_as_if_they_were() -> None:
    noise = Noise(unit="patient-local", sensitivity=1, local_steps=3, local_sigma=2.0)
    question = Question("q", (BLOCK,), saturate=True, noise=noise)
    values = {"g": np.full(4, 0.5)}
    for contribution in (
        Contribution(values),
        Contribution(values, local_steps=2, local_sigma=2.0),
        Contribution(values, local_steps=3, local_sigma=1.0),
    ):
        with pytest.raises(InvalidArgument, match="has the local_(steps|sigma) (3|2), and the values"):
            encode_private(question, contribution, bits=32, rounding_seed=SEED)
    made = Contribution(values, local_steps=3, local_sigma=2.0)
    assert encode_private(question, made, bits=32, rounding_seed=SEED).tolist() == [2**9] * 4 + [1]
