# SPDX-License-Identifier: Apache-2.0

"""The exact path: Gaussian noise on all records, composed and converted without any loss.

Gaussian mechanisms of noise multipliers sigma_t compose to one with mu = sqrt(sum 1/sigma_t^2), whose privacy
is delta(eps) = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) and no better (Balle & Wang 2018, theorem 8).
The second term's e^eps phi(...) equals phi of the first, so both terms share a factor and are told apart by
erfcx.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from sordino.errors import PrivacyParameter
from sordino.privacy.ranges import check_noise, positive

Floats = NDArray[np.float64]

_HALVINGS = 100
_TINY = 1e-300
_OUTWARD = 1 + 1e-13
_LAST_BIT = 1e-15  # where mu is tiny, ln delta is good to 1e-16/mu, and epsilon moves by mu of that


def joint_noise_multiplier(*noise_multipliers: float) -> float:
    """The noise multiplier of several Gaussian releases as one: (sum_t sigma_t^-2)^(-1/2)."""
    if not noise_multipliers:
        raise PrivacyParameter("at least one noise multiplier is needed, got none")
    return 1 / sqrt(sum(check_noise(sigma) ** -2 for sigma in noise_multipliers))


def update_noise_multiplier(noise_multiplier: float, count_deviation: float) -> float:
    """What is left for the update where the clip adapts: z_update = (z^-2 - (2 sigma_b)^-2)^(-1/2).

    Andrew et al. 2021, theorem 1. `noise_multiplier` is that of both together, `count_deviation` the standard
    deviation of the noise on the count. Raises `PrivacyParameter` where the count alone costs more.
    """
    rest = check_noise(noise_multiplier) ** -2 - (2 * positive("count_deviation", count_deviation)) ** -2
    if rest <= 0:
        raise PrivacyParameter(
            f"count_deviation must be above {noise_multiplier / 2:g}, got {count_deviation:g}"
        )
    return 1 / sqrt(rest)


def gaussian_log_delta(mu: Floats, epsilon: Floats) -> Floats:
    """The logarithm of delta, with sensitivity over noise `mu` > 0, at `epsilon` >= 0; shapes broadcast."""
    near, far = (epsilon / mu - mu / 2) / sqrt(2), (epsilon / mu + mu / 2) / sqrt(2)
    tail = erfcx(far)
    # For near >= 0 both terms are tails of one side; otherwise the first is the bulk, and the second is
    # smaller.
    outer = -(near**2) + np.log(np.maximum(erfcx(np.maximum(near, 0)) - tail, _TINY) / 2)
    inside = np.minimum(near, 0)
    bulk = log_ndtr(-inside * sqrt(2))
    inner = bulk + np.log1p(-np.exp(-(inside**2) - bulk) * np.minimum(tail, 1) / 2)
    value: Floats = np.where(near >= 0, outer, inner)
    return value


def gaussian_epsilon(mu: Floats, delta: float) -> Floats:
    """The least epsilon >= 0 of each `mu` (shape (m,)) at `delta`, rounded up, by bisection."""
    goal = np.log(delta)
    low = np.zeros(mu.shape)
    high = mu * (mu / 2 + sqrt(-2 * goal))  # enough, by the tail bound of the privacy loss N(mu^2/2, mu^2)
    enough = gaussian_log_delta(mu, low) <= goal
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not ((low < middle) & (middle < high)).any():
            break
        good = gaussian_log_delta(mu, middle) <= goal
        high, low = np.where(good, middle, high), np.where(good, low, middle)
        if (high - low <= 1e-15 * high).all():
            break
    return np.where(enough, 0.0, high * _OUTWARD + _LAST_BIT)


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest mu, rounded down, whose privacy at `delta` is `epsilon`."""
    goal, at = np.log(delta), np.array([epsilon])
    low, high = 0.0, sqrt(2 * epsilon) + 2 * sqrt(-2 * goal) + 10
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if gaussian_log_delta(np.array([middle]), at)[0] <= goal:
            low = middle
        else:
            high = middle
    return low / _OUTWARD
