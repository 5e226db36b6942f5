# SPDX-License-Identifier: Apache-2.0

"""Renyi divergence of the Poisson-subsampled Gaussian at any real order (Mironov, Talwar & Zhang 2019).

Let Q = N(0, sigma^2), P = (1-q) Q + q N(1, sigma^2), L = ln(P/Q) and b = a - 1. By theorem 5 there the
order-a divergence is ln(A)/b with A = E_Q[(P/Q)^a] = E_P[e^(bL)], the larger of both directions. With psi(x)
= e^x - 1 - x >= 0, and since E_P[e^-L] = 1,

    A - 1 = E_P[psi(bL)] + b KL(P|Q),    KL(P|Q) = E_P[L] = E_P[psi(-L)],

in which no term is negative, so nothing cancels however small q or large sigma. Both expectations are
trapezoid sums. The integrand is analytic in a strip of half-width pi sigma^2 about the real line, and the
step min(sigma, sigma^2)/4 puts the error of the rule below e^-70: shifting the line by y costs e^(y^2/(2
sigma^2)) and gains e^(-2 pi y/step), with y = pi sigma^2.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, inf, log, log2, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 4  # in the smaller of sigma and sigma^2
_TAILS = 12  # standard deviations beyond the outermost peaks: e^-72 is left out
_FAR = 300.0  # (a - 1)/sigma^2 from where one peak is all
_HIGHEST = 600.0  # the largest exponent that is taken without scaling
_CELLS = 1 << 17  # numbers in one block of orders times points, so that a block stays in the cache
_SMALL = 0.1
_FEW = 16  # orders that are worked out on the points of the highest


def sampled_gaussian_divergence(noise_multiplier: float, sampling_rate: float, orders: Floats) -> Floats:
    """Renyi divergences of a Gaussian on a Poisson sample, of shape (m,) at the `orders` (m,), each above 1.

    The relative error is below 1e-12. Noise and rate are as `SampledGaussian` checks them.
    """
    sigma, q = noise_multiplier, sampling_rate
    excess = orders - 1
    if orders.size <= _FEW and excess.max() <= _FAR * sigma**2:
        return _points(sigma, q, _reach(float(orders.max()))).log_moments(excess) / excess
    out = np.empty(orders.shape)
    far = excess > _FAR * sigma**2
    # ln A = a ln q + a(a-1)/(2 sigma^2) to double precision: the tilted density N(a, sigma^2) carries all
    # of it. Where q e^w <= 1, w = (2z-1)/(2 sigma^2), the integral is at most 2^a; elsewhere the factor
    # (1 + x)^a with x = (1-q)/(q e^w) is 1 up to 1e12 e^-150 a for z > a/2, and for z < a/2 the weight is at
    # most 2^a e^(-a^2/(8 sigma^2)).
    out[far] = orders[far] / (2 * sigma**2) + orders[far] * log(q) / excess[far]
    near = np.flatnonzero(~far)
    reach = np.array([_reach(order) for order in orders[near].tolist()])
    for top in sorted(set(reach.tolist())):
        points, chosen = _points(sigma, q, top), near[reach == top]
        step = max(1, _CELLS // points.ratio.size)
        for start in range(0, chosen.size, step):
            part = chosen[start : start + step]
            out[part] = points.log_moments(excess[part]) / excess[part]
    return out


def _reach(order: float) -> float:
    """The power of 8 up to which points for `order` are laid, so that near orders share them."""
    return 8.0 ** ceil(log2(max(order, 2.0)) / 3)


class _Points:
    """Where the integrals for one (sigma, q) are sampled, for orders up to a bound."""

    def __init__(self, sigma: float, q: float, highest: float) -> None:
        step = min(sigma, sigma**2) / _STEPS
        highest = max(
            2.0, min(highest, 1 + _FAR * sigma**2)
        )  # beyond, the closed form serves; peaks: 0 .. max(a, 2)
        self.sigma, self.step = sigma, step
        self.low = ceil(_TAILS * sigma / step)
        z = np.float64(step) * np.arange(-self.low, ceil((highest + _TAILS * sigma) / step) + 1)
        self.ratio = _log_ratio(sigma, q, z)
        scale = log(step / (sigma * sqrt(2 * pi)))
        part = log(q) - (z - 1) ** 2 / (2 * sigma**2)
        whole = (np.log1p(-q) if q < 1 else -inf) - z**2 / (2 * sigma**2)
        self.log_weight = scale + np.logaddexp(part, whole)
        self.weight = np.exp(self.log_weight)
        up = np.maximum(-self.ratio, 0)
        self.kl = float(np.exp(self.log_weight + up) @ _damped_psi(-self.ratio, up))

    def log_moments(self, excess: Floats) -> Floats:
        """The logarithm of A for each order less one, of shape (m,)."""
        highest = float(excess.max())
        need = self.low + ceil((max(2.0, 1 + highest) + _TAILS * self.sigma) / self.step) + 1
        ratio, kl = self.ratio[:need], excess * self.kl
        tilted = excess[:, None] * ratio
        if highest * ratio[-1] < _HIGHEST:
            return np.log1p(_psi(tilted) @ self.weight[:need] + kl)
        up = np.maximum(tilted, 0)
        exponent = self.log_weight[:need] + up
        peak = np.maximum(exponent.max(axis=1), 0)
        exponent -= peak[:, None]
        total = np.exp(exponent) * _damped_psi(tilted, up)
        scaled = total.sum(axis=1) + np.exp(-peak) * kl
        value: Floats = np.log(scaled + np.exp(-peak)) + peak
        value[peak == 0] = np.log1p(scaled[peak == 0])
        return value


@lru_cache(maxsize=256)
def _points(sigma: float, q: float, highest: float) -> _Points:
    return _Points(sigma, q, highest)


def _log_ratio(sigma: float, q: float, z: Floats) -> Floats:
    """L = ln(1 - q + q e^w), w = (2z-1)/(2 sigma^2), to full relative precision."""
    w = (2 * z - 1) / (2 * sigma**2)
    capped = np.minimum(w, _HIGHEST)
    u = q * np.expm1(capped)
    ratio = np.log1p(np.maximum(u, -0.5))
    low = u < -0.5  # there q > 1/2, and 1 + u would cancel
    ratio[low] = np.log((1 - q) + q * np.exp(w[low])) if q < 1 else w[low]
    high = w > _HIGHEST
    ratio[high] = log(q) + w[high]
    return ratio


def _psi(x: Floats) -> Floats:
    """e^x - 1 - x, without cancellation."""
    small = np.abs(x) < _SMALL
    if small.all():
        return _psi_series(x)
    value: Floats = np.expm1(x) - x
    value[small] = _psi_series(x[small])
    return value


def _damped_psi(x: Floats, up: Floats) -> Floats:
    """e^(-up) psi(x) with up = max(x, 0)."""
    fall = np.expm1(-np.abs(x))
    value: Floats = np.where(x > 0, -fall - x * (1 + fall), fall - x)
    small = np.abs(x) < _SMALL
    value[small] = np.exp(-up[small]) * _psi_series(x[small])
    return value


def _psi_series(x: Floats) -> Floats:
    """x^2/2 + x^3/6 + ... up to x^9: the rest is below 1e-14 of it where |x| < 0.1."""
    total = x / 9 + 1
    for k in range(8, 2, -1):
        total *= x
        total /= k
        total += 1
    total *= x
    total *= x
    total /= 2
    return total
