# SPDX-License-Identifier: Apache-2.0

"""Bernoulli(exp(-x)) and the discrete Laplace law, by Canonne, Kamath & Steinke 2020; and Poisson sampling.

A draw reads the words of its own stream of the PRG, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from reference.aes256 import keystream as aes_keystream

Keystream = Callable[..., bytes]


def words(seed: bytes, stream: int, keystream: Keystream) -> Iterator[int]:
    """Give the little-endian 64-bit words of one stream."""
    offset = 0
    while True:
        yield int.from_bytes(keystream(seed, 8, stream=stream, offset=offset), "little")
        offset += 8


def below(n: int, source: Iterator[int]) -> int:
    """Draw uniformly from {0, ..., n - 1}; n = 1 costs no word."""
    bits = (n - 1).bit_length()
    while bits:
        value = next(source) >> (64 - bits)
        if value < n:
            return value
    return 0


def bernoulli_exp(x: Fraction, source: Iterator[int], denominator: int | None = None) -> bool:
    """Algorithm 1. The denominator is the one in which x was given, since 2/4 is drawn otherwise than 1/2."""
    d = denominator or x.denominator
    while x > 1:
        if not bernoulli_exp(Fraction(1), source, 1):
            return False
        x -= 1
    k = 1
    while below(k, source) == 0 and below(d, source) < x * d:
        k += 1
    return k % 2 == 1


def laplace(t: int, s: int, source: Iterator[int]) -> int:
    """Algorithm 2, for the scale t / s."""
    while True:
        u = below(t, source)
        if not bernoulli_exp(Fraction(u, t), source, t):
            continue
        v = 0
        while bernoulli_exp(Fraction(1), source, 1):
            v += 1
        y = (u + t * v) // s
        negative = below(2, source) == 1
        if negative and y == 0:
            continue
        return -y if negative else y


def poisson(q: float, count: int, *, seed: bytes, keystream: Keystream = aes_keystream) -> list[int]:
    """Include draw i if the i-th 128 bits, little-endian, are below floor(q 2^128)."""
    data = keystream(seed, 16 * count)
    limit = int(Fraction(q) * 2**128)
    return [int(int.from_bytes(data[16 * i : 16 * i + 16], "little") < limit) for i in range(count)]
