# SPDX-License-Identifier: Apache-2.0

"""Renyi divergences and privacy from their definitions, in many digits, with mpmath. Slow and plain."""

from __future__ import annotations

from collections.abc import Sequence

import mpmath as mp
import numpy as np


def sampled_gaussian(q: float, sigma: float, order: float) -> mp.mpf:
    """The divergence of (1-q) N(0, sigma^2) + q N(1, sigma^2) from N(0, sigma^2), by the definition.

    At integer orders the binomial sum, at others the integral of the a-th power less its first two terms,
    which are known; Gauss-Legendre on pieces of half a standard deviation.
    """
    with mp.workdps(60):
        q, s, a = mp.mpf(q), mp.mpf(sigma), mp.mpf(order)
        if a == int(a):
            total = mp.fsum(
                mp.binomial(a, k) * (1 - q) ** (a - k) * q**k * mp.expm1(mp.mpf(k) * (k - 1) / (2 * s * s))
                for k in range(2, int(a) + 1)
            )
        else:

            def integrand(z: mp.mpf) -> mp.mpf:
                u = q * mp.expm1((2 * z - 1) / (2 * s * s))
                return mp.exp(-z * z / (2 * s * s)) * ((1 + u) ** a - 1 - a * u)

            piece = min(s, s * s) / 2
            low, high = -20 * s, max(a, 2) + 20 * s
            points = [low + k * piece for k in range(int(mp.ceil((high - low) / piece)) + 1)]
            total = mp.quad(integrand, points, method="gauss-legendre", maxdegree=4) / (
                s * mp.sqrt(2 * mp.pi)
            )
        return mp.log1p(total) / (a - 1)


def gaussian_delta(mu: float, epsilon: float) -> mp.mpf:
    """Delta of a Gaussian with sensitivity over noise `mu` (Balle & Wang 2018, theorem 8)."""
    with mp.workdps(60):
        m, e = mp.mpf(mu), mp.mpf(epsilon)
        return mp.ncdf(m / 2 - e / m) - mp.exp(e) * mp.ncdf(-m / 2 - e / m)


def fixed_size(q: float, sigma: float, order: int) -> mp.mpf:
    """Theorems 9 and 27 of Wang, Balle & Kasiviswanathan 2019 as printed: B by finite differences."""
    with mp.workdps(200):
        q, s = mp.mpf(q), mp.mpf(sigma)

        def moment(i: int) -> mp.mpf:
            return mp.exp(mp.mpf(i) * (i - 1) / (2 * s * s))

        def difference(l: int) -> mp.mpf:  # noqa: E741  # the paper's letter
            return mp.fsum((-1) ** (l - i) * mp.binomial(l, i) * moment(i) for i in range(l + 1))

        r2 = 1 / s**2
        total = q**2 * mp.binomial(order, 2) * min(4 * mp.expm1(r2), 2 * mp.exp(r2))
        for j in range(3, order + 1):
            roots = mp.sqrt(difference(2 * (j // 2)) * difference(2 * ((j + 1) // 2)))
            total += q**j * mp.binomial(order, j) * min(4 * roots, 2 * moment(j))
        return mp.log1p(total) / (order - 1)


def zhu_wang(q: float, divergences: Sequence[float], order: int) -> mp.mpf:
    """The general bound of Zhu & Wang 2019 as printed; `divergences` at the orders 2, 3, ..., `order`."""
    with mp.workdps(60):
        q = mp.mpf(q)
        total = (1 - q) ** (order - 1) * (order * q - q + 1)
        for l in range(2, order + 1):  # noqa: E741  # the paper's letter
            term = mp.binomial(order, l) * q**l * (1 - q) ** (order - l)
            total += (1 if l == 2 else 3) * term * mp.exp((l - 1) * mp.mpf(divergences[l - 2]))
        return mp.log(total) / (order - 1)


def discrete_gaussian_sum_delta(variances: Sequence[float], shift: int, epsilon: float) -> float:
    """Delta of a sum of discrete Gaussians against itself moved by `shift`, by adding up probabilities."""
    reach = int(12 * sum(variance**0.5 for variance in variances)) + abs(shift) + 20
    grid = np.arange(-reach, reach + 1)
    law = np.array([1.0])
    for variance in variances:
        weights = np.exp(-(grid**2) / (2 * variance))
        law = np.convolve(law, weights / weights.sum())
    padded = np.concatenate([np.zeros(abs(shift)), law])
    moved = np.concatenate([law, np.zeros(abs(shift))])
    return float(np.maximum(padded - np.exp(epsilon) * moved, 0).sum())
