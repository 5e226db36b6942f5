# SPDX-License-Identifier: Apache-2.0

"""Shamir's secret sharing over GF(2^16), after "How to share a secret" (1979), on integers."""

from __future__ import annotations

from collections.abc import Sequence

from reference.aes256 import keystream

POLYNOMIAL = 0x1100B  # x^16 + x^12 + x^3 + x + 1
SECRET = 32


def multiply(a: int, b: int) -> int:
    """Multiply as polynomials over GF(2), then reduce from the top bit down."""
    product = 0
    for i in range(16):
        if b >> i & 1:
            product ^= a << i
    for i in range(30, 15, -1):
        if product >> i & 1:
            product ^= POLYNOMIAL << (i - 16)
    return product


def power(a: int, exponent: int) -> int:
    """Multiply `exponent` times."""
    result = 1
    for bit in f"{exponent:b}":
        result = multiply(result, result)
        if bit == "1":
            result = multiply(result, a)
    return result


def inverse(a: int) -> int:
    """Invert by Fermat: a^(2^16 - 2)."""
    assert a
    return power(a, 2**16 - 2)


def _limbs(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]


def _bytes(limbs: Sequence[int]) -> bytes:
    return b"".join(limb.to_bytes(2, "little") for limb in limbs)


def split(secrets: bytes, points: Sequence[int], *, threshold: int, seed: bytes) -> list[bytes]:
    """Evaluate each limb's polynomial at each point; one row of shares a point."""
    assert len(secrets) % SECRET == 0
    cover = keystream(seed, len(secrets) * (threshold - 1))
    rows = [_limbs(secrets)]
    rows += [_limbs(cover[i * len(secrets) : (i + 1) * len(secrets)]) for i in range(threshold - 1)]
    shares = []
    for point in points:
        values = [0] * len(rows[0])
        for degree, row in enumerate(rows):
            factor = power(point, degree)
            values = [value ^ multiply(factor, limb) for value, limb in zip(values, row, strict=True)]
        shares.append(_bytes(values))
    return shares


def combine(points: Sequence[int], shares: Sequence[bytes]) -> bytes:
    """Interpolate at zero, by Lagrange."""
    total = [0] * (len(shares[0]) // 2)
    for i, share in zip(points, shares, strict=True):
        weight = 1
        for j in points:
            if j != i:
                weight = multiply(weight, multiply(j, inverse(j ^ i)))
        total = [value ^ multiply(weight, limb) for value, limb in zip(total, _limbs(share), strict=True)]
    return _bytes(total)
