# SPDX-License-Identifier: Apache-2.0

"""Sums of discrete Gaussians: what the noise of several sites on integer lanes is worth.

Kairouz, Liu & Steinke 2021. The sum of independent discrete Gaussians is no discrete Gaussian, but close to
one: tau bounds how far.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from sordino.privacy.events import DiscreteGaussianSum

Floats = NDArray[np.float64]


def tau(variances: Floats) -> float:
    """How far a sum of discrete Gaussians of these `variances` (shape (m,), each >= 1/4) is from one.

    tau = 10 sum_k exp(-2 pi^2 / (1/S_k + 1/v_(k+1))), S_k the sum of the k largest; proposition 14 added up
    part by part, and for equal parts tau = 10 sum_k exp(-2 pi^2 sigma^2 k/(k+1)) of theorem 1.
    """
    if variances.size < 2:
        return 0.0
    ordered = np.sort(variances)[::-1]
    partial = np.cumsum(ordered)[:-1]
    return float(10 * np.exp(-2 * pi**2 / (1 / partial + 1 / ordered[1:])).sum())


def discrete_gaussian_divergence(event: DiscreteGaussianSum, orders: Floats) -> Floats:
    """Renyi divergences of one release without sampling, of shape (m,) at the `orders` (m,).

    The least of the three bounds of theorem 1, with the total variance V for n sigma^2.
    """
    parts = np.repeat(np.asarray(event.variances), event.honest)
    off = tau(parts)
    d, l1, l2 = event.dimension, event.l1_sensitivity, event.sensitivity
    deviation = sqrt(event.variance)
    a = orders
    bounds = (
        a * l2**2 / (2 * deviation**2) + off * d,
        a / 2 * (l2**2 / deviation**2 + 2 * l1 * off / deviation + off**2 * d),
        a / 2 * (l2 / deviation + off * sqrt(d)) ** 2,
    )
    least: Floats = np.minimum.reduce(bounds)
    return least
