# SPDX-License-Identifier: Apache-2.0

"""Rows clipped, rounded and summed: KLS21, Proposition 22, one value at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from reference import fixed_point

ATTEMPTS = 64


class Clipped(NamedTuple):
    """The summed integers, and the counts of rows."""

    lanes: list[int]
    clipped: int
    left_out: int
    truncated: int


def clip_accumulate(
    rows: Sequence[Sequence[float]],
    columns: int,
    *,
    bound: float,
    scale: float,
    limit: int,
    width: int,
    seed: bytes | None = None,
    stream: int = 0,
    offset: int = 0,
) -> Clipped:
    """Sum the rows' integers mod 2^width."""
    total = [0] * columns
    clipped = left_out = truncated = 0
    for index, row in enumerate(rows, offset):
        if not all(map(math.isfinite, row)):
            left_out += 1
            continue
        norm = fixed_point.l2_norm(row)
        clipped += norm > bound
        factor = bound / norm if norm > bound else 1.0
        scaled = [value * factor for value in row]
        for integers in _attempts(scaled, bound, scale, seed, stream, index * (columns + columns % 2)):
            if sum(x * x for x in integers) <= limit:
                break
        else:
            truncated += 1
            smaller = [value * (factor * (1 - 2.0**-30)) for value in row]
            integers = [math.trunc(min(max(v, -bound), bound) * scale) for v in smaller]
        total = [(a + b) % 2**width for a, b in zip(total, integers, strict=True)]
    return Clipped(total, clipped, left_out, truncated)


def _attempts(
    values: list[float], bound: float, scale: float, seed: bytes | None, stream: int, word: int
) -> list[list[int]] | map[list[int]]:
    """The roundings to try, in order, as signed integers."""
    if seed is None:
        lanes = fixed_point.encode(values, clip=bound, scale=scale, weight=1, width=64)
        return [fixed_point.signed(lanes, bits=64)]

    def attempt(number: int) -> list[int]:
        lanes = fixed_point.encode_stochastic(
            values,
            clip=bound,
            scale=scale,
            weight=1,
            width=64,
            seed=seed,
            stream=stream + number,
            offset=word,
        )
        return fixed_point.signed(lanes, bits=64)

    return map(attempt, range(ATTEMPTS))
