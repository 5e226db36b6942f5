# SPDX-License-Identifier: Apache-2.0

"""Renyi divergences of events at any real order, cached for each event.

A divergence that is negative or NaN is an error: it would make the accounting forget what was released.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf, log
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.errors import PrivacyError
from sordino.privacy.amplification import between_integers, fixed_size_moment, sampled_moment
from sordino.privacy.discrete import discrete_gaussian_divergence
from sordino.privacy.events import (
    AdaptiveClipGaussian,
    DiscreteGaussianSum,
    Event,
    FixedSizeSampledGaussian,
    Gaussian,
    PureDP,
    SampledGaussian,
    ZeroConcentrated,
    once,
)
from sordino.privacy.ranges import check_order
from sordino.privacy.sampled import sampled_gaussian_divergence

Floats = NDArray[np.float64]
Divergence: TypeAlias = Callable[[Floats], Floats]


class Curve:
    """Divergences of one event that happens once, at orders of shape (m,) above 1."""

    def __init__(self, event: Event) -> None:
        self._divergence, self.smooth = _divergence(event)
        self.knee = _knee(event)

    def at(self, orders: Floats) -> Floats:
        """The divergences, in nats, of shape (m,); raises `PrivacyError` for one that is negative or NaN."""
        value = self._divergence(orders)
        if not (value >= 0).all():
            raise PrivacyError(f"the divergence at an order of {orders[~(value >= 0)]} is negative or NaN")
        return value


@lru_cache(maxsize=4096)
def curve(event: Event) -> Curve:
    """The curve of `event`, which happens once and is in the form that `once` gives."""
    return Curve(event)


def divergence(event: Event, order: float) -> float:
    """The Renyi divergence of an event, all of its `count` included, at `order` > 1."""
    at = np.array([check_order(order)])
    return event.count * float(curve(once(event)).at(at)[0])


def _divergence(event: Event) -> tuple[Divergence, bool]:
    """The function, and whether it is smooth in the order."""
    match event:
        case Gaussian():
            return lambda a: a / (2 * event.noise_multiplier**2), True
        case SampledGaussian():
            return lambda a: sampled_gaussian_divergence(event.noise_multiplier, event.sampling_rate, a), True
        case FixedSizeSampledGaussian():
            moment = fixed_size_moment(event.noise_multiplier, event.sampling_rate)
            return lambda a: between_integers(moment, a), False
        case DiscreteGaussianSum() if event.sampling_rate == 1:
            return lambda a: discrete_gaussian_divergence(event, a), False
        case DiscreteGaussianSum():
            moment = sampled_moment(lambda a: discrete_gaussian_divergence(event, a), event.sampling_rate)
            # That bound does not vanish with the noise. The one without sampling holds too: the divergence is
            # quasi-convex in the pair (van Erven & Harremoes 2014, theorem 13), and sampling is a mixture.
            return lambda a: np.minimum(
                between_integers(moment, a), discrete_gaussian_divergence(event, a)
            ), False
        case PureDP():
            return lambda a: _pure(event.epsilon, a), True
        case ZeroConcentrated():
            return lambda a: event.rho * a, True
        case AdaptiveClipGaussian():
            return _divergence(once(event))


def _knee(event: Event) -> float:
    """Where a sampled moment turns to q^a e^(a(a-1)/(2 sigma^2)): higher orders are seldom the best."""
    match event:
        case SampledGaussian() | FixedSizeSampledGaussian():
            variance, q = event.noise_multiplier**2, event.sampling_rate
        case DiscreteGaussianSum():
            variance, q = event.variance / event.sensitivity**2, event.sampling_rate
        case _:
            return inf
    return 1 + 2 * variance * log(1 / q) if q < 0.5 else inf


def _pure(epsilon: float, a: Floats) -> Floats:
    """Randomised response, which dominates everything with (epsilon, 0) privacy.

    Kairouz, Oh & Viswanath 2015. ln A = ln((e^(a eps) + e^((1-a) eps)) / (1 + e^eps)) and A - 1 = expm1(b
    eps)(1 - e^(-a eps)) / (1 + e^-eps) with b = a - 1.
    """
    b = a - 1
    growth = b * epsilon
    rest = np.log(-np.expm1(-a * epsilon)) - np.log1p(np.exp(-epsilon))  # ln of the last two factors
    small = growth < 1
    out = np.empty(a.shape)
    out[small] = np.log1p(np.expm1(growth[small]) * np.exp(rest[small]))
    big = growth[~small]
    log_less_one = big + np.log(-np.expm1(-big)) + rest[~small]
    out[~small] = np.logaddexp(0.0, log_less_one)
    value: Floats = out / b
    return value
