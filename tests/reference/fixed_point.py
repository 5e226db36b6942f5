# SPDX-License-Identifier: Apache-2.0

"""Fixed-point lanes by exact fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from reference.aes256 import keystream


def _scaled(value: float, clip: float, scale: float) -> Fraction:
    """Clip and scale; the product is rounded once to a double, as part of the definition."""
    return Fraction(float(Fraction(min(max(value, -clip), clip)) * Fraction(scale)))


def encode(values: Sequence[float], *, clip: float, scale: float, weight: int, width: int) -> list[int]:
    """Round to nearest, ties to even, then multiply by the weight."""
    return [round(_scaled(value, clip, scale)) * weight % 2**width for value in values]


def encode_stochastic(
    values: Sequence[float],
    *,
    clip: float,
    scale: float,
    weight: int,
    width: int,
    seed: bytes,
    stream: int = 0,
    offset: int = 0,
) -> list[int]:
    """Round up with the probability of the fraction: u, the top 53 bits of a keystream word, is below it."""
    pad = keystream(seed, 8 * len(values), stream=stream, offset=8 * offset)
    lanes = []
    for i, value in enumerate(values):
        y = _scaled(value, clip, scale)
        u = Fraction(int.from_bytes(pad[8 * i : 8 * i + 8], "little") >> 11, 2**53)
        # The fraction, too, is a double: it matters only for |y| < 2^-53 or so.
        up = u < Fraction(float(y - math.floor(y)))
        lanes.append((math.floor(y) + up) * weight % 2**width)
    return lanes


def signed(lanes: Sequence[int], *, bits: int) -> list[int]:
    """Read the low bits of each lane in two's complement."""
    half = 2 ** (bits - 1)
    return [(lane + half) % 2**bits - half for lane in lanes]


def l2_norm(values: Sequence[float]) -> float:
    """The norm with its order of additions; what leaves the range of doubles is scaled by a power of two."""
    total = _square_sum(values)
    if 2.0**-900 < total < math.inf:
        return math.sqrt(total)
    largest = max(map(abs, values), default=0.0)
    if largest == 0:
        return 0.0
    exponent = math.frexp(largest)[1] - 1
    return math.ldexp(math.sqrt(_square_sum([math.ldexp(v, -exponent) for v in values])), exponent)


def _square_sum(values: Sequence[float]) -> float:
    total = 0.0
    for start in range(0, len(values), 4096):
        partial = [0.0] * 32
        for i, value in enumerate(values[start : start + 4096]):
            partial[i % 32] += value * value
        while len(partial) > 1:
            half = len(partial) // 2
            partial = [a + b for a, b in zip(partial[:half], partial[half:], strict=True)]
        total += partial[0]
    return total
