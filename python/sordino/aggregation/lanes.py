"""From a site's values to fixed-point lanes, and from summed lanes back to numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.errors import InvalidArgument, ValueOutOfRange
from sordino.protocol.lanes import Lanes, empty_lanes
from sordino.protocol.policy import EVERYONE, Question

ONLY_EVERYONE = frozenset({EVERYONE})


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
    mine = [block for block in question.blocks if block.group in groups]
    same_names({block.name for block in mine}, contribution.values.keys())
    weights = _weights(question, contribution.weight, groups)
    lanes = empty_lanes(question.lanes, bits)
    for block in mine:
        values = _block_values(block.name, block.length, contribution.values[block.name])
        try:
            _core.encode(
                values,
                lanes[question.spans[block.name]],
                clip=block.clip,
                scale=block.scale,
                weight=weights[block.group],
                saturate=question.saturate,
            )
        except ValueOutOfRange as error:
            raise ValueOutOfRange(f"block {block.name!r}: {error}") from None
    for group, weight in weights.items():
        lanes[question.weight_lanes[group]] = weight
    return lanes


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


def same_names(expected: set[str], given: Collection[str]) -> None:
    """Raise `InvalidArgument` unless exactly the expected blocks are given."""
    if missing := sorted(expected - set(given)):
        raise InvalidArgument(f"the contribution lacks the blocks {missing}")
    if unknown := sorted(set(given) - expected):
        raise InvalidArgument(f"the contribution has blocks that this site is not asked for: {unknown}")


def _weights(question: Question, weight: int | Mapping[str, int], groups: Collection[str]) -> dict[str, int]:
    mine = [group for group in question.groups if group in groups]
    given = weight if isinstance(weight, Mapping) else dict.fromkeys(mine, weight)
    if set(given) != set(mine):
        raise InvalidArgument(f"weights must be given for the lane groups {mine}, got {sorted(given)}")
    for group, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InvalidArgument(f"the weight of group {group!r} must be an integer, got {value!r}")
        if not 1 <= value <= question.max_weight:
            raise ValueOutOfRange(
                f"the weight of group {group!r} must be from 1 to {question.max_weight}, got {value}"
            )
    return {group: int(value) for group, value in given.items()}


def _block_values(name: str, length: int, values: object) -> NDArray[np.floating[Any]]:
    if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
        kind = getattr(values, "dtype", type(values).__name__)
        raise InvalidArgument(f"block {name!r} must be a float32 or float64 array, got {kind}")
    if values.shape != (length,):
        raise InvalidArgument(f"block {name!r} must have shape ({length},), got {values.shape}")
    return np.ascontiguousarray(values)
