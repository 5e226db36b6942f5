"""Renyi divergence of the Poisson-subsampled Gaussian at any real order (Mironov, Talwar & Zhang 2019).

Let Q = N(0, sigma^2), P = (1-q) Q + q N(1, sigma^2), L = ln(P/Q) and b = a - 1. By theorem 5 there the
order-a divergence is ln(A)/b with A = E_Q[(P/Q)^a] = E_P[e^(bL)], the larger of both directions. With psi(x)
= e^x - 1 - x >= 0, and since E_P[e^-L] = 1,

    A - 1 = E_P[psi(bL)] + b KL(P|Q),    KL(P|Q) = E_P[L] = E_P[psi(-L)],

in which no term is negative, so nothing cancels however small q or large sigma. Both expectations are
trapezoid sums. The integrand is analytic in a strip of half-width pi sigma^2 about the real line, and the
step min(sigma, sigma^2)/6 puts the error of the rule below 1e-30.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 6  # in the smaller of sigma and sigma^2
_TAILS = 12  # standard deviations beyond the outermost peaks: e^-72 is left out
_FAR = 300.0  # (a - 1)/sigma^2 from where one peak is all
_HIGHEST = 600.0  # the largest exponent that is taken without scaling
_CELLS = 1 << 17  # numbers in one block of orders times points, so that a block stays in the cache
_SMALL = 0.1


def sampled_gaussian_divergence(noise_multiplier: float, sampling_rate: float, orders: Floats) -> Floats:
    """Renyi divergences of a Gaussian on a Poisson sample, of shape (m,) at the `orders` (m,), each above 1.

    The relative error is below 1e-12. Noise and rate are as `SampledGaussian` checks them.
    """
    sigma, q = noise_multiplier, sampling_rate
    out = np.empty(orders.shape)
    excess = orders - 1
    far = excess > _FAR * sigma**2
    # ln A = a ln q + a(a-1)/(2 sigma^2) to double precision: the tilted density N(a, sigma^2) carries all of
    # it. Where q e^w <= 1, w = (2z-1)/(2 sigma^2), the integral is at most 2^a; elsewhere the factor (1 +
    # x)^a with x = (1-q)/(q e^w) is 1 up to 1e12 e^-150 a for z > a/2, and for z < a/2 the weight is 2^a
    # e^(-a^2/(8 sigma^2)).
    if far.any():
        out[far] = orders[far] / (2 * sigma**2) + orders[far] * log(q) / excess[far]
    reach = 8.0 ** np.ceil(np.log2(np.maximum(orders, 2.0)) / 3)
    reach[far] = 0
    for top in sorted(set(reach.tolist())):
        if top:
            points = _points(sigma, q, top)
            chosen = np.flatnonzero(reach == top)
            step = max(1, _CELLS // points.ratio.size)
            for start in range(0, chosen.size, step):
                part = chosen[start : start + step]
                out[part] = points.log_moments(excess[part]) / excess[part]
    return out


class _Points:
    """Where the integrals for one (sigma, q) are sampled, for orders up to a bound."""

    def __init__(self, sigma: float, q: float, highest: float) -> None:
        step = min(sigma, sigma**2) / _STEPS
        highest = max(
            2.0, min(highest, 1 + _FAR * sigma**2)
        )  # beyond, the closed form serves; peaks: 0 .. max(a, 2)
        low, high = np.floor(-_TAILS * sigma / step), np.ceil((highest + _TAILS * sigma) / step)
        z = np.arange(low, high + 1) * step
        self.ratio = _log_ratio(sigma, q, z)
        scale = log(step / (sigma * sqrt(2 * pi)))
        part = log(q) - (z - 1) ** 2 / (2 * sigma**2)
        whole = (np.log1p(-q) if q < 1 else -inf) - z**2 / (2 * sigma**2)
        self.log_weight = scale + np.logaddexp(part, whole)
        self.weight = np.exp(self.log_weight)
        self.steepest = float(self.ratio[-1])
        up = np.maximum(-self.ratio, 0)
        self.kl = float(np.exp(self.log_weight + up) @ _damped_psi(-self.ratio, up))

    def log_moments(self, excess: Floats) -> Floats:
        """The logarithm of A for each order less one, of shape (m,)."""
        tilted = excess[:, None] * self.ratio
        if excess.max() * self.steepest < _HIGHEST:
            return np.log1p(_psi(tilted) @ self.weight + excess * self.kl)
        out = np.empty(excess.size)
        for row, (b, t) in enumerate(zip(excess, tilted, strict=True)):
            up = np.maximum(t, 0)
            exponent = self.log_weight + up
            peak = max(float(exponent.max()), 0.0)
            total = np.exp(exponent - peak) @ _damped_psi(t, up) + np.exp(-peak) * b * self.kl
            out[row] = np.log1p(total) if peak == 0 else peak + np.log(total + np.exp(-peak))
        return out


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
    value: Floats = np.where(x > 0, -np.expm1(-up) - x * np.exp(-up), np.expm1(np.minimum(x, 0)) - x)
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
