# SPDX-License-Identifier: Apache-2.0

"""From a site's values to fixed-point lanes, and from summed lanes back to numbers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.vector import ONLY_EVERYONE, FixedPointVector
from sordino.protocol.lanes import Lanes
from sordino.protocol.policy import Question


def encode_contribution(
    question: Question,
    contribution: Contribution,
    *,
    bits: int,
    groups: Collection[str] = ONLY_EVERYONE,
) -> Lanes:
    """The site's vector, shape (question.lanes,): weighted blocks, then weights; zero where it has no group.

    Raises `ValueOutOfRange` for a value or weight outside its bounds and `InvalidArgument` for a block that
    is missing, unknown, or of another shape or dtype.
    """
    return FixedPointVector(question, contribution, groups=groups).encode(bits)


def decode_sums(
    question: Question, lanes: Lanes, *, bits: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float], NDArray[np.int64]]:
    """The sums by block (float64), the weights by lane group, and the integers of the whole vector.

    Weights are whole, but for the noise of a question that has it.
    """
    integers = _core.signed(lanes, bits=bits)
    sums = {
        block.name: _core.decode(lanes[question.spans[block.name]], bits=bits, scale=block.scale)
        for block in question.blocks
    }
    weights: dict[str, float] = {
        group: int(integers[lane]) / question.weight_scale if question.noise else int(integers[lane])
        for group, lane in question.weight_lanes.items()
    }
    return sums, weights, integers
