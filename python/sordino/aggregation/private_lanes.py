# SPDX-License-Identifier: Apache-2.0

"""From a site's values to lanes of a question with noise: clipped for each unit, rounded, summed as integers.

Nothing here refuses a value, since who is refused would show: what is not finite counts as nothing, what is
too large saturates. Arguments of a wrong shape are the program's fault and are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.lanes import encode_contribution
from sordino.aggregation.vector import ONLY_EVERYONE, same_names
from sordino.errors import InvalidArgument
from sordino.protocol.lanes import Lanes, empty_lanes
from sordino.protocol.noise import Noise
from sordino.protocol.policy import Block, Question

_STREAMS = 64
"""Of the rounding seed, for each block: every attempt to round a row has its own."""


def encode_private(
    question: Question,
    contribution: Contribution,
    *,
    bits: int,
    rounding_seed: bytes,
    groups: Collection[str] = ONLY_EVERYONE,
) -> Lanes:
    """The site's vector before its noise, shape (question.lanes,).

    For the unit "patient" each block's values have the shape (patients, length), a row for each patient of
    this round's batch, perhaps none, and `contribution.weight` is not looked at. For "site" they have the
    shape (length,). Each unit's part of a block is clipped to the block's L2 norm and rounded at random, so
    that the block's limit holds exactly (`_core.clip_accumulate`).

    Raises `InvalidArgument` for a block that is missing, unknown, or of another shape or dtype, and for
    values that were not sampled, or not made private, as the question says.
    """
    noise = question.noise
    if noise is None:
        raise InvalidArgument(f"question {question.kind!r} has no noise")
    _check_made(question.kind, noise, contribution)
    if noise.unit == "patient-local":
        return encode_contribution(question, contribution, bits=bits, groups=groups)
    mine = [block for block in question.blocks if block.group in groups]
    same_names({block.name for block in mine}, contribution.values.keys())
    lanes = empty_lanes(question.lanes, bits)
    counts: dict[str, int] = {}
    for place, block in enumerate(mine):
        rows = _rows(block, contribution.values[block.name], one=noise.unit == "site")
        if counts.setdefault(block.group, len(rows)) != len(rows):
            raise InvalidArgument(
                f"block {block.name!r} has {len(rows)} rows, others of lane group {block.group!r} have "
                f"{counts[block.group]}"
            )
        one = question.bounds[block.name]
        most = question.max_weight * one
        integers = _sum_within(most, block, one, rows, rounding_seed, place * _STREAMS)
        if noise.unit == "site":
            integers *= _weight(contribution, block.group, question.max_weight)
        lanes[question.spans[block.name]] = integers.astype(np.uint64).astype(lanes.dtype)
    for group, lane in question.weight_lanes.items():
        if group in counts:
            weight = counts[group]
            if noise.unit == "site":
                weight = _weight(contribution, group, question.max_weight)
            lanes[lane] = min(weight, question.max_weight) * question.weight_scale
    return lanes


def _sum_within(
    most: int, block: Block, one: int, rows: NDArray[np.floating[Any]], rounding_seed: bytes, stream: int
) -> NDArray[np.int64]:
    """The sum of the rows' integers, each at most `one`, where it is beyond `most` moved to that.

    A sum that saturates moves by no more than its parts. One that wrapped around before would jump from end
    to end, so as many rows are summed at a time as fit 64 bits, and these sums as Python's integers.
    """
    fitting = (2**63 - 1) // one
    parts = []
    for first in range(0, max(len(rows), 1), fitting):
        sums = np.zeros(block.length, np.uint64)
        _core.clip_accumulate(
            rows[first : first + fitting],
            sums,
            bound=block.clip,
            scale=block.scale,
            limit=block.limit,
            rounding_seed=rounding_seed,
            stream=stream,
            offset=first,
        )
        parts.append(sums.view(np.int64))
    total = parts[0] if len(parts) == 1 else sum(part.astype(object) for part in parts)
    return np.clip(total, -most, most).astype(np.int64)


def _check_made(kind: str, noise: Noise, contribution: Contribution) -> None:
    """Refuse values that were made by other terms than the budget was charged for."""
    for name in ("sampling_rate", "local_steps", "local_sigma"):
        asked, done = getattr(noise, name), getattr(contribution, name)
        if asked != done:
            raise InvalidArgument(
                f"question {kind!r} has the {name} {asked:g}, and the values were made with {done:g}"
            )


def _rows(block: Block, values: object, *, one: bool) -> NDArray[np.floating[Any]]:
    if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
        kind = getattr(values, "dtype", type(values).__name__)
        raise InvalidArgument(f"block {block.name!r} must be a float32 or float64 array, got {kind}")
    rows = values[np.newaxis] if one else values
    if rows.ndim != 2 or rows.shape[1] != block.length:
        expected = f"({block.length},)" if one else f"(patients, {block.length})"
        raise InvalidArgument(f"block {block.name!r} must have shape {expected}, got {values.shape}")
    return np.ascontiguousarray(rows)


def _weight(contribution: Contribution, group: str, most: int) -> int:
    given = contribution.weight
    return max(0, min(int(given[group] if isinstance(given, Mapping) else given), most))
