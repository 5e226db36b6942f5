# SPDX-License-Identifier: Apache-2.0

"""An epsilon after every round, without a search in every round.

Divergences of each distinct event are worked out once, on a lattice of orders, and added up from round to
round. Each round's best order is located on the lattice and then between its points, and the divergences
there are worked out for all rounds in one go: every epsilon is the exact one of some order, so it is valid
however well that is placed. The best order only falls from round to round: it solves b K' - K + ln a =
ln(1/delta) (see `conversion`), the left side of which grows with b and with every event that is added. So it
lies between those of the first and the last round.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.privacy.conversion import FITTED, NEAR_KL, epsilon_at, log_variation, rise, valley
from sordino.privacy.rdp import Curve

Floats = NDArray[np.float64]
Rounds: TypeAlias = Sequence[tuple[Sequence[tuple[int, int]], int]]
"""What happened, in order: (event's place, how often) for each event of a round, and how many such rounds."""

_FINE = 4
_SPACING = (
    1 / 64
)  # of the lattice that all rounds are tried on, in ln(order - 1); it is _FINE times finer beside each
_BLOCK = 1 << 21  # numbers in one block of rounds times orders
_MANY = 256  # distinct events up to which orders between the lattice points are looked at


def running_sums(rounds: Rounds, values: Floats) -> Floats:
    """Sums after each round, of shape (rounds, m), of each event's `values` of shape (events, m)."""
    steps = np.zeros((sum(repeats for _, repeats in rounds), values.shape[1]))
    row = 0
    for inner, repeats in rounds:
        for place, count in inner:
            steps[row : row + repeats] += count * values[place]
        row += repeats
    return np.cumsum(steps, axis=0)


def renyi_history(
    rounds: Rounds, curves: Sequence[Curve], edges: tuple[float, float], delta: float
) -> Floats:
    """Epsilon at `delta` after each round, of shape (rounds,), the best orders being between the `edges`."""
    low, high = log(min(edges) - 1) - 4 * _SPACING, log(max(edges) - 1) + 4 * _SPACING
    xs = np.linspace(low, high, _FINE * round((high - low) / _SPACING) + 1)
    orders = 1 + np.exp(xs)
    nodes = np.array([each.at(orders) for each in curves])
    kl = np.array([each.at(np.array([NEAR_KL])) for each in curves])
    few = len(curves) <= _MANY
    running = running_sums(rounds, np.eye(len(curves)) if few else nodes[:, ::_FINE])
    out = np.empty(running.shape[0])
    step = max(1, _BLOCK // xs.size)
    for start in range(0, out.size, step):
        rows = slice(start, start + step)
        sums = running[rows] @ nodes[:, ::_FINE] if few else running[rows]
        values = epsilon_at(orders[::_FINE], sums, delta)
        out[rows] = values.min(axis=1)
        if few:
            near = _FINE * valley(values)
            places = np.clip(np.rint(near).astype(np.int64), 2, xs.size - 3)[:, None] + np.arange(-2, 3)
            sums = np.einsum("re,erp->rp", running[rows], nodes[:, places])
            values = epsilon_at(orders[places], sums, delta)
            best = low + (places[:, 0] + valley(values)) * (xs[1] - xs[0])
            out[rows] = np.minimum(out[rows], _exact(best, running[rows], curves, delta))
            if (steep := rise(values) > FITTED).any():
                middle = xs[places[:, 0] + values.argmin(axis=1)][steep]
                found = _steep(middle, running[rows][steep], curves, delta)
                out[rows][steep] = np.minimum(out[rows][steep], found)
    out[log_variation(running_sums(rounds, kl)[:, 0]) <= log(delta)] = 0.0
    return np.maximum(out, 0.0)


def _steep(xs: Floats, counts: Floats, curves: Sequence[Curve], delta: float) -> Floats:
    """Epsilon of each row of `counts`, whose best x is within a fine step of its own in `xs`."""
    best = np.full(xs.size, np.inf)
    many = np.repeat(counts, 9, axis=0)
    for spacing in (_SPACING / _FINE / 4, _SPACING / _FINE / 16, _SPACING / _FINE / 64):
        around = xs[:, None] + spacing * np.arange(-4, 5)
        values = _exact(around.ravel(), many, curves, delta).reshape(around.shape)
        between = around[:, 0] + spacing * valley(values)
        xs = around[np.arange(xs.size), values.argmin(axis=1)]
        best = np.minimum(best, np.minimum(values.min(axis=1), _exact(between, counts, curves, delta)))
    return best


def _exact(xs: Floats, counts: Floats, curves: Sequence[Curve], delta: float) -> Floats:
    """Epsilon of each row of `counts` at its own x = ln(order - 1)."""
    orders = 1 + np.exp(xs)
    composed = np.zeros(orders.size)
    for event, each in enumerate(curves):
        composed += counts[:, event] * each.at(orders)
    return epsilon_at(orders, composed, delta)
