# SPDX-License-Identifier: Apache-2.0

"""The discrete Gaussian of docs/math/discrete-gaussian.md, one sample at a time, by long decimals.

`decimal` rounds its exponential correctly; 260 digits are 860 bits, and what is compared has 256 at most.
Every floor is checked to be certain.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cache

from reference.aes256 import keystream as aes_keystream

GROUP = 1024
BATCH = 64
EXTENSION = 2**63  # the block at which the extensions begin
DIGITS = 260

Keystream = Callable[..., bytes]


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _floor(value: Decimal) -> int:
    """Give floor(value), which must not hang on the last digits."""
    whole = int(value.to_integral_value(decimal.ROUND_FLOOR))
    slack = Decimal(10) ** -100
    assert value == whole or slack < value - whole < 1 - slack
    return whole


def split(sigma: float) -> tuple[int, Fraction]:
    """Give (j, sigma_0^2): sigma = 2^j sigma_0; j = 0 is for the table."""
    assert 0.5 <= sigma <= 2**40
    base, j = Fraction(sigma), 0
    while sigma > 16 and base > 8:
        base, j = base / 2, j + 1
    return j, base**2


@cache
def masses(variance: Fraction) -> list[Decimal]:
    """Give exp(-y^2 / (2 sigma_0^2)) for y = 0, 1, ..., as long as it is above 10^-110."""
    with decimal.localcontext(prec=DIGITS):
        result = [Decimal(1)]
        while result[-1] > Decimal(10) ** -110:
            result.append(_decimal(-(Fraction(len(result)) ** 2) / (2 * variance)).exp())
        return result


@cache
def boundaries(variance: Fraction, folded: bool) -> list[int]:
    """Give floor(2^255 C_i), C_i the probability of a magnitude of at most i."""
    with decimal.localcontext(prec=DIGITS):
        weights = [m * (2 if folded and y else 1) for y, m in enumerate(masses(variance))]
        total = sum(weights)
        result, reached = [], Decimal(0)
        for weight in weights:
            reached += weight
            if total - reached < total * Decimal(2) ** -255:
                break
            result.append(_floor(reached / total * 2**255))
        return result


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def magnitude(base: int, extension: list[int], variance: Fraction, *, folded: bool) -> int:
    """Invert the distribution function at the 255 bits of a word's upper 63 and of its extension."""
    u = base >> 1
    for word in extension[:3]:
        u = u << 64 | word
    return sum(boundary <= u for boundary in boundaries(variance, folded))


def accepts(y: int, low: int, j: int, random: int, extension: list[int], variance: Fraction) -> bool:
    """Decide with probability exp(-(x^2 - (2^j y)^2) / (2 sigma^2)), x = 2^j y + low."""
    r = random
    for word in extension[4:7]:
        r = r << 64 | word
    with decimal.localcontext(prec=DIGITS):
        v = Fraction(low, 2**j)
        chance = _decimal(-v * (v + 2 * y) / (2 * variance)).exp()
        return r < _floor(chance * 2**256)


def _with_sign(base: int, value: int) -> int:
    return -value if base & 1 else value


def group(sigma: float, number: int, seed: bytes, keystream: Keystream) -> Iterator[int]:
    """Give the samples of one group of lanes, in order."""
    j, variance = split(sigma)

    def extension(candidate: int) -> list[int]:
        return _words(keystream(seed, 64, stream=number, offset=16 * (EXTENSION + 4 * candidate)))

    if j == 0:
        for lane in range(GROUP):
            (base,) = _words(keystream(seed, 8, stream=number, offset=8 * lane))
            yield _with_sign(base, magnitude(base, extension(lane), variance, folded=True))
        return
    size = 3 * 8 * BATCH
    batch = 0
    while True:  # as long as somebody asks
        words = _words(keystream(seed, size, stream=number, offset=batch * size))
        for i in range(BATCH):
            base, random, high = words[i], words[BATCH + i], words[2 * BATCH + i]
            bits = extension(batch * BATCH + i)
            low = high >> (64 - j)
            y = magnitude(base, bits, variance, folded=False)
            x = (y << j) + low
            if accepts(y, low, j, random, bits, variance) and not (base & 1 and x == 0):
                yield _with_sign(base, x)
        batch += 1


def samples(
    sigma: float, count: int, *, seed: bytes, offset: int = 0, keystream: Keystream = aes_keystream
) -> list[int]:
    """Give the samples of the lanes [offset, offset + count)."""
    result: list[int] = []
    while len(result) < count:
        number, first = divmod(offset + len(result), GROUP)
        wanted = min(GROUP - first, count - len(result))
        for lane, sample in zip(range(first + wanted), group(sigma, number, seed, keystream), strict=False):
            if lane >= first:
                result.append(sample)
    return result
