# SPDX-License-Identifier: Apache-2.0

"""What one batch adds and multiplies, shrunk over its features: the empirical Bayes of ComBat.

Everything here is about one batch and needs no other's numbers, so a site does it for a batch of its own and
none of it leaves the site. Symbols and formulas are those of Johnson, Li & Rabinovic (2007), section 3.2 and
the supplement; docs/combat.md says what is done where they are not defined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument
from sordino.models.model import Vector

_MOST_STEPS = 10_000
_NO_VARIANCE = 1e-20
"""Of the pooled variance: what rounding leaves of a constant."""


@dataclass(frozen=True)
class Variant:
    """Which ComBat.

    empirical_bayes   shrink each batch's numbers towards their mean over the features
    location_only     leave the batches' variances as they are
    tolerance         the fixed point is reached once no number changes by more than this part of itself; the
                      published programs stop at 1e-4
    """

    empirical_bayes: bool = True
    location_only: bool = False
    tolerance: float = 1e-4


@dataclass(frozen=True)
class BatchEffect:
    """One batch, float64 of shape (features,), in standardised units.

    rows                 patients with a value
    gamma_hat, gamma     additive effect, as it was found and shrunk; NaN without a row or a pooled variance
    delta_hat, delta     multiplicative effect on the variance, likewise; `delta` is 1 where there is none
    """

    rows: Vector
    gamma_hat: Vector
    delta_hat: Vector
    gamma: Vector
    delta: Vector

    @property
    def one_member(self) -> bool:
        """Whether no feature has two patients, so that only the location is harmonised."""
        return bool(np.max(self.rows) < 2)


def batch_effect(
    rows: Vector, level: Vector, scatter: Vector, sigma: Vector, variant: Variant, batch: str
) -> BatchEffect:
    """The effect of a batch, from its residuals y - alpha - x beta.

    rows, level, scatter   their number, mean and sum of squares about the mean, by feature
    sigma                  pooled standard deviation; a feature where it is 0 has no effect
    """
    varies = sigma > 0.0
    unit = np.where(varies, sigma, 1.0)
    located = varies & (rows >= 1)
    hat = np.where(located, level / unit, np.nan)
    spread = np.where(varies & (rows >= 2), scatter / np.maximum(rows - 1.0, 1.0) / unit**2, np.nan)
    scaled = np.nan_to_num(spread) > _NO_VARIANCE
    gamma, delta = hat.copy(), np.ones_like(hat)
    if not variant.empirical_bayes:
        if not variant.location_only:
            delta[scaled] = spread[scaled]
        return BatchEffect(rows, hat, spread, gamma, delta)
    if located.any():
        whole = scaled if scaled.any() and not variant.location_only else located
        if whole.sum() < 2:
            raise InvalidArgument(
                f"batch {batch!r} has {whole.sum()} feature to learn from: empirical Bayes needs two that "
                "vary; without empirical Bayes one will do"
            )
        centre, variance = float(hat[whole].mean()), float(hat[whole].var(ddof=1))
        # As the published programs shrink the location where that is all: each mean counts as one row.
        gamma[located] = _posterior_mean(hat[located], 1.0, 1.0, centre, variance)
        if whole is scaled:
            gamma[scaled], delta[scaled] = _fixed_point(
                rows[scaled], hat[scaled], spread[scaled], centre, variance, variant.tolerance
            )
    return BatchEffect(rows, hat, spread, gamma, delta)


def _posterior_mean(
    hat: Vector, rows: Vector | float, delta: Vector | float, centre: float, variance: float
) -> Vector:
    mean: Vector = (rows * variance * hat + delta * centre) / (rows * variance + delta)
    return mean


def _fixed_point(
    rows: Vector, hat: Vector, spread: Vector, centre: float, variance: float, tolerance: float
) -> tuple[Vector, Vector]:
    """Gamma* and delta*^2 by turns, all features until the last has settled."""
    mean, square = float(spread.mean()), float(spread.var(ddof=1))
    if square <= _NO_VARIANCE * mean**2:  # the prior is a point
        return _posterior_mean(hat, rows, spread, centre, variance), spread
    lam = (mean**2 + 2.0 * square) / square
    theta = (mean**3 + mean * square) / square
    gamma, delta = hat, spread
    for _ in range(_MOST_STEPS):
        new = _posterior_mean(hat, rows, delta, centre, variance)
        squares = (rows - 1.0) * spread + rows * (hat - new) ** 2
        scale = (theta + 0.5 * squares) / (rows / 2.0 + lam - 1.0)
        settled = _close(new, gamma, tolerance) and _close(scale, delta, tolerance)
        gamma, delta = new, scale
        if settled:
            break
    return gamma, delta


def _close(new: Vector, old: Vector, tolerance: float) -> bool:
    near: NDArray[np.bool_] = np.abs(new - old) <= tolerance * np.abs(old)
    return bool(np.all(near))
