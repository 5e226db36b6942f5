# SPDX-License-Identifier: Apache-2.0

"""Bounds for sampling where no closed form is known. They hold at integer orders and are drawn on in between.

ln E[(P/Q)^a] is convex in the order a, so the chord between two integers is above it, and the bound at a real
order follows from its neighbours; at a = 1 it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, log1p, pi, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]
Moment: TypeAlias = Callable[[int], float]
"""A bound on ln E[(P/Q)^a] at an integer order a >= 2."""

HIGHEST = 4096
"""The highest order that these bounds, which cost as many terms, are asked for; above they say nothing."""

_TAILS = 12
_STEPS = 6


def between_integers(moment: Moment, orders: Floats) -> Floats:
    """Divergences of shape (m,) at real `orders` from a bound at integers; infinite above `HIGHEST`."""
    out = np.empty(orders.shape)
    for place, order in enumerate(orders):
        floor = int(order)
        if order > HIGHEST:
            out[place] = np.inf
            continue
        part = float(order - floor)
        value = (1 - part) * moment(floor) if floor > 1 and part < 1 else 0.0
        if part > 0:
            value += part * moment(floor + 1)
        out[place] = value / (order - 1)
    return out


def sampled_moment(divergence: Callable[[Floats], Floats], q: float) -> Moment:
    """Poisson sampling of any mechanism whose `divergence` holds both ways (Zhu & Wang 2019, theorem 5).

    A - 1 = C(a,2) q^2 (1-q)^(a-2) expm1(r(2)) + sum_{l>=3} C(a,l) q^l (1-q)^(a-l) (3 e^((l-1) r(l)) - 1),
    which is theirs with the binomial theorem taken off both sides, so that nothing cancels.
    """
    base = _Cached(divergence)

    def moment(a: int) -> float:
        l = np.arange(2, a + 1)  # noqa: E741  # the paper's letter
        tilt = (l - 1) * base.upto(a)
        log_terms = _log_choose(a, l) + l * log(q) + (a - l) * (log1p(-q) if q < 1 else 0.0)
        if q == 1:
            log_terms = np.where(l == a, log_terms, -np.inf)
        grown = np.log(3) + tilt + np.log1p(-np.exp(-tilt) / 3)
        grown[0] = tilt[0] + np.log(-np.expm1(-tilt[0]))
        return _log1p_sum(log_terms + grown) * _outward(a)

    return _Memo(moment)


def fixed_size_moment(sigma: float, q: float) -> Moment:
    """A Gaussian on a sample of fixed size without replacement, for neighbours that replace one.

    Wang, Balle & Kasiviswanathan 2019: A - 1 <= q^2 C(a,2) min(4 expm1(r(2)), 2 e^r(2)) + sum_{j>=3} q^j
    C(a,j) M_j, where M_j is the less of 2 e^((j-1) r(j)) (theorem 9) and 4 sqrt(B(2 floor(j/2)) B(2
    ceil(j/2))) (theorem 27). B(l), the l-th finite difference of e^((i-1) r(i)), is E_Q[(P/Q - 1)^l]: no
    difference is taken here, but the integral of an even power. Never above the Gaussian without sampling.
    """
    powers = _EvenPowers(sigma)
    r2 = 1 / sigma**2
    second = min(log(4) + r2 + log(-np.expm1(-r2)), log(2) + r2)

    def moment(a: int) -> float:
        j = np.arange(3, a + 1)
        by_differences = log(4) + (powers(j // 2) + powers((j + 1) // 2)) / 2
        by_divergence = log(2) + j * (j - 1) / (2 * sigma**2)
        log_terms = _log_choose(a, j) + j * log(q) + np.minimum(by_differences, by_divergence)
        first = 2 * log(q) + log(a) + log(a - 1) - log(2) + second
        return min(a * (a - 1) / (2 * sigma**2), _log1p_sum(np.append(log_terms, first)) * _outward(a))

    return _Memo(moment)


class _Memo:
    """A function of one int that keeps what it has worked out."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._known: dict[int, float] = {}

    def __call__(self, order: int) -> float:
        if order not in self._known:
            self._known[order] = self._moment(order)
        return self._known[order]


class _Cached:
    """Divergences at the orders 2, 3, ... that grow as they are asked for."""

    def __init__(self, divergence: Callable[[Floats], Floats]) -> None:
        self._divergence = divergence
        self._known = np.empty(0)

    def upto(self, order: int) -> Floats:
        if self._known.size < order - 1:
            self._known = self._divergence(np.arange(2.0, max(2 * order, 64) + 1))
        return self._known[: order - 1]


class _EvenPowers:
    """ln E_Q[(e^w - 1)^(2k)], w = (2z-1)/(2 sigma^2), Q = N(0, sigma^2), for an array of k >= 1.

    A trapezoid sum of an entire function; see `sampled` for the step and the tails.
    """

    def __init__(self, sigma: float) -> None:
        self._sigma = sigma
        self._known = np.empty(0)  # at k = 1, 2, ...

    def __call__(self, k: NDArray[np.int64]) -> Floats:
        if k.size and k.max() > self._known.size:
            wanted = range(self._known.size + 1, max(int(k.max()), 2 * self._known.size, 16) + 1)
            self._known = np.append(self._known, [self._value(number) for number in wanted])
        return self._known[k - 1]

    def _value(self, k: int) -> float:
        sigma = self._sigma
        if (2 * k - 1) / sigma**2 > 300:  # all but the highest power is e^-300 of it, times 2k
            return k * (2 * k - 1) / sigma**2
        step = min(sigma, sigma**2) / _STEPS
        z = np.arange(np.floor(-_TAILS * sigma / step), np.ceil((2 * k + _TAILS * sigma) / step) + 1) * step
        w = (2 * z - 1) / (2 * sigma**2)
        with np.errstate(divide="ignore"):  # at w = 0 the power is 0
            size = np.maximum(w, 0) + np.log(-np.expm1(-np.abs(w)))
        exponent = 2 * k * size - z**2 / (2 * sigma**2)
        peak = exponent.max()
        return float(peak + np.log(np.exp(exponent - peak).sum() * step / (sigma * sqrt(2 * pi))))


def _log_choose(a: int, k: NDArray[np.int64]) -> Floats:
    value: Floats = gammaln(a + 1) - gammaln(k + 1) - gammaln(a - k + 1)
    return value


def _outward(a: int) -> float:
    """Covers the rounding of the binomials, which is relative to ln(a!)."""
    return float(1 + 1e-15 * (10 + gammaln(a + 1)))


def _log1p_sum(exponents: Floats) -> float:
    """ln(1 + sum e^x)."""
    peak = max(float(exponents.max()), 0.0)
    if peak == 0:
        return float(np.log1p(np.exp(exponents).sum()))
    return float(peak + np.log(np.exp(-peak) + np.exp(exponents - peak).sum()))
