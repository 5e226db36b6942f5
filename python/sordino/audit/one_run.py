# SPDX-License-Identifier: Apache-2.0

"""A lower bound on epsilon from one run with many canaries, each in it by the toss of a coin.

Steinke, Nasr and Jagielski (2023), "Privacy auditing with one (1) training run". Whoever guesses too many of
the coins right has shown, at 95 %, that the noise is less than it was said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sordino.audit.membership import Members
from sordino.audit.rates import Interval, proportion
from sordino.errors import InvalidArgument
from sordino.models.model import Vector

GUESSED = (0.002, 0.005, 0.01, 0.02)
"""Parts of the canaries that are guessed on either side, fixed beforehand; the level is shared among them."""


@dataclass(frozen=True)
class Bound:
    """`claimed` epsilon of the accountant, None where nothing is claimed, and the `least` that guesses show.

    mechanism  what was audited
    guessed    the part of right guesses from which the bound follows, at 95 %
    noise      part of the noise that the claim asks for: 1, or less on purpose; 0 without any
    """

    mechanism: str
    claimed: float | None
    least: float
    delta: float
    canaries: int
    guesses: int
    guessed: Interval
    noise: float

    @property
    def refuted(self) -> bool:
        """Whether the mechanism cannot be what it was said to be."""
        return self.claimed is not None and self.least > self.claimed


def bound(
    scores: Vector,
    coins: Members,
    *,
    mechanism: str,
    claimed: float | None,
    delta: float,
    noise: float = 1.0,
    parts: Sequence[float] = GUESSED,
) -> Bound:
    """What guessing from these scores shows, both of shape (canaries,): the highest in, the lowest out."""
    order, canaries, best = np.argsort(scores, kind="stable"), len(scores), (-1.0, 0, 0)
    coin = coins[order]
    for part in parts:
        one = max(1, round(part * canaries))
        right = int((~coin[:one]).sum() + coin[-one:].sum())
        found = least_epsilon(canaries, 2 * one, right, delta, significance=0.05 / len(parts))
        best = max(best, (found, 2 * one, right))
    least, guesses, right = best
    return Bound(mechanism, claimed, least, delta, canaries, guesses, proportion(right, guesses), noise)


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The most likely that so many right guesses are under (epsilon, delta) (theorem 5.2 of the paper)."""
    from scipy.stats import binom

    chance = 1.0 / (1.0 + np.exp(-epsilon))
    tails = binom.sf(np.arange(right, -1, -1) - 1, guesses, chance)  # P[v <= W], P[v - 1 <= W], ...
    steepest = float(((tails[1:] - tails[0]) / np.arange(1, right + 1)).max()) if right else 0.0
    return min(1.0, float(tails[0]) + 2.0 * canaries * delta * steepest)


def least_epsilon(
    canaries: int, guesses: int, right: int, delta: float, *, significance: float = 0.05
) -> float:
    """The largest epsilon that so many right guesses refute; 0 where they refute none."""
    if not 0 <= right <= guesses <= canaries:
        raise InvalidArgument(f"{right} right of {guesses} guesses about {canaries} canaries")
    low, high = 0.0, 100.0
    if p_value(canaries, guesses, right, low, delta) > significance:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2.0
        refuted = p_value(canaries, guesses, right, middle, delta) <= significance
        low, high = (middle, high) if refuted else (low, middle)
    return low
