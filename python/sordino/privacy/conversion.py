# SPDX-License-Identifier: Apache-2.0

"""From Renyi divergence to (epsilon, delta), at the best real order in (1, 1e5].

Proposition 12 of Canonne, Kamath & Steinke 2020: with divergence R at order a,

    epsilon = R + ln(1 - 1/a) - (ln delta + ln a) / (a - 1).

With b = a - 1 this is (K + b ln b - a ln a - ln delta) / b, where K = b R = ln E[(P/Q)^a]. K is convex in b,
and so is b ln b - (b + 1) ln(b + 1); hence epsilon is quasi-convex and ln delta convex in b: one valley.
Divergences that are themselves bounds may have more, so the walk over orders goes on for some way past the
first rise. Every order gives a valid answer: a search that ends early costs tightness, never validity.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.privacy.ranges import ORDERS

Floats = NDArray[np.float64]
Divergence: TypeAlias = Callable[[Floats], Floats]
"""Divergences of shape (m,) at orders of shape (m,)."""

OUTWARD = 1e-12
"""Relative: what rounding can do to a divergence, taken upward."""

LOWEST, HIGHEST = log(ORDERS[0] - 1), log(ORDERS[1] - 1)
"""The range of x = ln(a - 1), in which orders are searched."""

_STEP = 0.5
_BLOCK = 4
_ROUNDS = 20
_FINEST = 1e-5  # in x: where a moment takes off, a valley is 1e-3 wide

FITTED = 3e-4
"""A `rise` up to which `valley` leaves below 1e-10 of the value."""

_NEARLY = 1e-2  # a rise up to which it comes within half a lattice step


def epsilon_at(orders: Floats, divergence: Floats, delta: float) -> Floats:
    """Epsilon by each order, rounded up; negative where epsilon = 0 holds with room. Shapes broadcast."""
    value = divergence + np.log1p(-1 / orders) - (log(delta) + np.log(orders)) / (orders - 1)
    rounded: Floats = value + OUTWARD * (divergence + np.abs(value))
    return rounded


def log_delta_at(orders: Floats, divergence: Floats, epsilon: float) -> Floats:
    """The logarithm of delta by each order, rounded up; shapes broadcast."""
    excess = orders - 1
    value = excess * (divergence - epsilon) + excess * np.log1p(-1 / orders) - np.log(orders)
    rounded: Floats = value + OUTWARD * (1 + excess * (divergence + epsilon))
    return rounded


def log_variation(divergence: Floats) -> Floats:
    """The logarithm of a bound on the total variation, which is delta at epsilon = 0.

    By the divergence of any order: it is at most sqrt(1 - e^-KL) (Bretagnolle & Huber 1979), and KL at most
    the divergence.
    """
    value: Floats = np.log(np.maximum(-np.expm1(-divergence), 1e-300)) / 2 + OUTWARD
    return value


NEAR_KL = 1.0001
"""An order near 1, where the divergence is close to KL."""


def least(objective: Divergence, start: float, *, smooth: bool) -> tuple[float, float]:
    """The least value of `objective` over orders, and the order that gives it.

    Walks from the order `start` both ways in steps of ln(a - 1) until it has left a valley (where the curve
    is not `smooth`, until three steps in a row are worse than the best), then narrows it, or the three
    lowest. Where the curve is not smooth the integers next to the end are tried too.
    """
    xs, values = _walk(objective, start, 1 if smooth else 3)
    if not np.isfinite(values).any():
        return float(values.min()), float(1 + np.exp(xs[0]))
    best = (float(values.min()), float(1 + np.exp(xs[values.argmin()])))
    for place in _valleys(values)[: 1 if smooth else 3]:
        best = min(best, _narrow(objective, float(xs[place]), smooth=smooth))
    if not smooth:
        near = np.array([number for number in (np.floor(best[1]), np.ceil(best[1])) if number > 1])
        if near.size:
            at = objective(near)
            best = min(best, (float(at.min()), float(near[at.argmin()])))
    return best


def _walk(objective: Divergence, start: float, margin: int) -> tuple[Floats, Floats]:
    """Objective on a lattice of x about `start`, that goes on for `margin` steps past its least value."""
    middle = min(max(log(start - 1), LOWEST), HIGHEST)
    around = np.arange(-margin - 1, margin + 2)
    xs = np.unique(np.clip(middle + _STEP * around, LOWEST, HIGHEST))
    values = objective(1 + np.exp(xs))
    while True:
        best = int(values.argmin())
        if best < margin and xs[0] > LOWEST:
            more = np.unique(np.clip(xs[0] - _STEP * np.arange(_BLOCK, 0, -1), LOWEST, HIGHEST))
            xs, values = np.append(more, xs), np.append(objective(1 + np.exp(more)), values)
        elif best >= xs.size - margin and xs[-1] < HIGHEST:
            more = np.unique(np.clip(xs[-1] + _STEP * np.arange(1, _BLOCK + 1), LOWEST, HIGHEST))
            xs, values = np.append(xs, more), np.append(values, objective(1 + np.exp(more)))
        else:
            return xs, values


def _valleys(values: Floats) -> list[int]:
    """Places of local minima, lowest first."""
    around = np.concatenate(([np.inf], values, [np.inf]))
    places = np.flatnonzero((around[1:-1] <= around[:-2]) & (around[1:-1] <= around[2:]))
    return sorted((int(place) for place in places), key=lambda place: float(values[place]))


def _narrow(objective: Divergence, x: float, *, smooth: bool) -> tuple[float, float]:
    """The least value within a lattice step of `x`, and its order: ever finer lattices, then between."""
    value, spacing = np.inf, _STEP / 4
    for _ in range(_ROUNDS):
        xs = np.minimum(np.maximum(x + spacing * np.arange(-4, 5), LOWEST), HIGHEST)
        values = objective(1 + np.exp(xs))
        place = int(values.argmin())
        value, x = min((value, x), (float(values[place]), float(xs[place])))
        inside = 0 < place < 8 and xs[0] < xs[1] and xs[-2] < xs[-1] and bool(np.isfinite(values).all())
        steep = float(rise(values[None])[0]) if inside else np.inf
        if inside and spacing < _STEP / 4:
            between = float(xs[0] + spacing * valley(values[None])[0])
            value, x = min((value, x), (float(objective(np.array([1 + np.exp(between)]))[0]), between))
            if smooth and steep <= FITTED:
                break
        if place in (0, 8) and LOWEST < x < HIGHEST:
            continue  # the valley is further on
        spacing /= 8 if steep <= _NEARLY else 4
        if spacing < _FINEST:
            break
    return value, float(1 + np.exp(x))


def rise(values: Floats) -> Floats:
    """How far each row of `values` rises from its least to the higher neighbour, relative to the least."""
    place = np.minimum(np.maximum(values.argmin(axis=1), 1), values.shape[1] - 2)
    least, left, right = np.take_along_axis(values, place[:, None] + np.array([0, -1, 1]), axis=1).T
    value: Floats = (np.maximum(left, right) - least) / np.maximum(np.abs(least), 1e-300)
    return value


def valley(values: Floats) -> Floats:
    """The column, a real number, where each row of `values` is least, by the quartic through five points."""
    place = np.minimum(np.maximum(values.argmin(axis=1), 2), values.shape[1] - 3)
    a, b, c, d, e = np.take_along_axis(values, place[:, None] + np.arange(-2, 3), axis=1).T
    first, second = (a - 8 * b + 8 * d - e) / 12, (-a + 16 * b - 30 * c + 16 * d - e) / 12
    third, fourth = (-a + 2 * b - 2 * d + e) / 2, a - 4 * b + 6 * c - 4 * d + e
    step = np.zeros(place.size)
    for _ in range(3):
        slope = first + step * (second + step * (third / 2 + step * fourth / 6))
        bend = second + step * (third + step * fourth / 2)
        step = np.minimum(np.maximum(step - slope / np.where(bend > 0, bend, np.inf), -2), 2)
    located: Floats = place + step
    return located
