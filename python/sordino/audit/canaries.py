# SPDX-License-Identifier: Apache-2.0

"""A lower bound on epsilon from one run with many canaries, each in the sum by the toss of a coin.

Steinke, Nasr and Jagielski (2023), "Privacy auditing with one (1) training run". Whoever guesses too many of
the coins right has shown, at 95 %, that the noise is less than it was said to be. A canary is a patient whose
clipped row has all of its length on a lane of its own, the worst that a row can do. Canaries of separate sums
are separate patients, so that several sums of one release each are one run (parallel composition).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from sordino.aggregation.base import Contribution, Contributor
from sordino.aggregation.masked import MaskedAggregator
from sordino.audit.membership import Members
from sordino.audit.rates import Interval, proportion
from sordino.audit.targets import OpenSums
from sordino.course.noise import Demand, plan_noise
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument
from sordino.models.model import Matrix
from sordino.privacy.local import private_sums
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.noise import Unit
from sordino.protocol.policy import Block, Question

NAMES = tuple(f"site-{number}" for number in range(10))
GUESSED = (0.002, 0.005, 0.01, 0.02)
"""Parts of the canaries that are guessed on either side, fixed beforehand; the level is shared among them."""

Mechanism: TypeAlias = Literal["secure sums", "open sums", "patient-local"]
"""Secure sums over ten sites; the same without masks, so that a seed fixes the noise; a site's own noise."""


@dataclass(frozen=True)
class Bound:
    """`claimed` epsilon of the accountant, and the `least` that the guesses show at 95 %.

    guessed   the part of right guesses from which the bound follows
    """

    mechanism: Mechanism
    claimed: float
    least: float
    delta: float
    canaries: int
    guesses: int
    guessed: Interval
    noise: float
    """Part of the noise that the claim asks for: 1, or less on purpose."""

    @property
    def refuted(self) -> bool:
        """Whether the mechanism cannot be what it was said to be."""
        return self.least > self.claimed


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


def empirical_epsilon(
    epsilon: float,
    delta: float,
    *,
    canaries: int = 10_000,
    lanes: int = 500,
    mechanism: Mechanism = "secure sums",
    noise: float = 1.0,
    seed: int = 0,
) -> Bound:
    """Audit the noise that (epsilon, delta) ask for, as it is shipped: `noise` = 0.5 halves it on purpose.

    lanes       canaries in one sum; they share no lane

    Raises `InvalidArgument` for canaries that do not fit the sums.
    """
    if canaries < 200 or canaries % lanes or lanes < len(NAMES):
        raise InvalidArgument(
            f"{canaries} canaries do not fit sums of {lanes}: take a multiple of that, 200 at least, and "
            f"sums of {len(NAMES)} at least"
        )
    rng = np.random.default_rng([seed, 5])
    coins = rng.random((canaries // lanes, lanes)) < 0.5
    unit: Unit = "patient-local" if mechanism == "patient-local" else "patient"
    question = Question(kind="canaries", blocks=(Block("canary", lanes, 1.0, 16),), max_weight=lanes)
    given: dict[str, Any] = {"study": "audit", "sites": len(NAMES), "rounds": len(coins)}
    # Each canary is in one sum, so one is what the budget is for.
    planned = plan_noise(
        [Demand(question, 1)], PrivateTerms(unit=unit, epsilon=epsilon, delta=delta), **given
    )
    multiplier = planned.multipliers["canaries"] * noise
    if mechanism == "patient-local":
        scores = [
            private_sums({"canary": _rows(chosen)}, {"canary": 1.0}, multiplier, entropy=rng.bytes)[0][
                "canary"
            ]
            for chosen in coins
        ]
    else:
        made = plan_with_noise([question], unit, {"canaries": multiplier}, **given)
        summing = MaskedAggregator(made, NAMES) if mechanism == "secure sums" else OpenSums(made, NAMES, rng)
        with summing:
            scores = [summing.aggregate("canaries", b"", _dealt(chosen)).sums["canary"] for chosen in coins]
    order = np.argsort(np.concatenate(scores))
    coin, best = coins.ravel()[order], (-1.0, 0, 0)
    for part in GUESSED:
        one = max(1, round(part * canaries))
        right = int((~coin[:one]).sum() + coin[-one:].sum())
        found = least_epsilon(canaries, 2 * one, right, delta, significance=0.05 / len(GUESSED))
        best = max(best, (found, 2 * one, right))
    least, guesses, right = best
    return Bound(
        mechanism,
        planned.guarantee.epsilon,
        least,
        delta,
        canaries,
        guesses,
        proportion(right, guesses),
        noise,
    )


def _rows(chosen: Members) -> Matrix:
    """A row for each canary that is in, all of its length on its own lane."""
    return np.eye(len(chosen))[chosen]


def _dealt(chosen: Members) -> dict[str, Contributor]:
    """The canaries that are in, dealt to the sites in turn."""
    turn = np.arange(len(chosen)) % len(NAMES)
    return {name: partial(_given, chosen & (turn == place)) for place, name in enumerate(NAMES)}


def _given(chosen: Members, _question: bytes) -> Contribution:
    return Contribution({"canary": _rows(chosen)}, weight=int(chosen.sum()))
