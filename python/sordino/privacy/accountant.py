# SPDX-License-Identifier: Apache-2.0

"""What a sequence of releases costs: epsilon for a delta, delta for an epsilon, after each round and in all.

Events compose by adding their divergences at every order. Where all noise is Gaussian and nothing is sampled
the exact path is taken instead, and where there are two valid bounds the smaller is given, with its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf, log, sqrt
from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sordino.errors import PrivacyError
from sordino.privacy.conversion import NEAR_KL, epsilon_at, least, log_delta_at, log_variation
from sordino.privacy.events import (
    Event,
    Gaussian,
    Release,
    SampledGaussian,
    Unit,
    adjacency,
    check_event,
    once,
)
from sordino.privacy.gaussian import gaussian_epsilon, gaussian_log_delta
from sordino.privacy.history import renyi_history, running_sums
from sordino.privacy.ranges import check_delta, check_epsilon
from sordino.privacy.rdp import curve

Floats = NDArray[np.float64]
Method: TypeAlias = Literal["nothing", "gaussian", "rdp", "pld"]
"""How a bound was found: nothing was released, the exact Gaussian path, Renyi divergence, or a PLD."""

_Bound: TypeAlias = tuple[float, Method, float | None]

_MOST_ROUNDS = 10**7
_WALKED = 1000  # rounds that are worth a search each


class Guarantee(Struct, frozen=True):
    """(epsilon, delta) privacy of all that was composed, both rounded up.

    order             the Renyi order that gave it, None by other methods
    unit              whom it is about, None where the events did not say
    wrap_probability  a bound on the chance that any sum was spoiled by wrapping; beside delta, not in it
    """

    epsilon: float
    delta: float
    method: Method
    order: float | None
    unit: Unit | None = None
    wrap_probability: float = 0.0


class Accountant:
    """Composes events and releases, and says what they cost together.

    Composition is valid for any order of events that was fixed beforehand; where later rounds are chosen by
    what earlier ones showed, only `PrivacyBudget` is a guarantee. With `pld` also dp-accounting's privacy
    loss distributions are asked where they apply (extra `pld`). `start` is an order near which the best is
    looked for first; it changes the time, not the answer.
    """

    def __init__(
        self, released: Iterable[Event | Release] = (), *, pld: bool = False, start: float | None = None
    ) -> None:
        self._counts: dict[Event, int] = {}
        self._rounds: list[tuple[tuple[tuple[Event, int], ...], int, float]] = []  # events, repeats, distance
        self._unit: Unit | None = None
        self._distance = 0.0
        self._wrap = 0.0
        self._start = start
        self._pld = pld
        self.compose(*released)

    def compose(self, *released: Event | Release) -> None:
        """Add what was released. Raises `PrivacyError`, adding nothing, where units or neighbours are mixed.

        An event of `count` n is n rounds, a release one.
        """
        unit, rounds = self._unit, []
        for item in released:
            if isinstance(item, Release):
                if unit not in (None, item.unit):
                    raise PrivacyError(
                        f"a release about one {item.unit} cannot be added to those about one {unit}: "
                        f"keep an accountant for each unit"
                    )
                unit = item.unit
                rounds.append((tuple((once(event), event.count) for event in item.events), 1, item.distance))
            else:
                check_event(item)
                rounds.append((((once(item), 1),), item.count, 0.0))
        events = [event for inner, _, _ in rounds for event, _ in inner]
        _check_neighbours([*self._counts, *events])
        for inner, repeats, distance in rounds:
            self._distance += distance
            for event, count in inner:
                self._counts[event] = self._counts.get(event, 0) + count * repeats
        self._rounds += rounds
        self._unit = unit
        self._wrap += sum(item.wrap_probability for item in released if isinstance(item, Release))

    @property
    def rounds(self) -> int:
        """Rounds that were composed."""
        return sum(repeats for _, repeats, _ in self._rounds)

    def divergence(self, orders: Floats) -> Floats:
        """The composed Renyi divergence, of shape (m,), at `orders` of shape (m,), each above 1."""
        total = np.zeros(orders.shape)
        for event, count in self._counts.items():
            total += count * curve(event).at(orders)
        return total

    def epsilon(self, delta: float) -> Guarantee:
        """The least epsilon at `delta` that a valid bound gives, rounded up.

        Raises `PrivacyParameter` for a delta outside (0, 1), and `PrivacyError` where the samplers' distance
        alone costs more than it.
        """
        goal = check_delta(delta)
        if not self._distance:
            return self._guarantee(self._ideal_epsilon(goal), goal)
        # The noise is as far as `distance` from ideal, on both of two neighbours: delta pays (1 + e^eps)
        # times it.
        epsilon = 0.0
        for _ in range(100):
            left = goal - (1 + exp(min(epsilon, 700))) * self._distance * (1 + 1e-9)
            if left <= 0:
                break
            found = self._ideal_epsilon(left)
            if found[0] <= epsilon:
                return self._guarantee((epsilon, *found[1:]), goal)
            epsilon = found[0] * (1 + 1e-12)
        raise PrivacyError(
            f"delta {goal:g} cannot pay for noise that is {self._distance:g} away from ideal: the sampler's "
            f"distance costs (1 + e^epsilon) times that"
        )

    def delta(self, epsilon: float) -> Guarantee:
        """The least delta at `epsilon` that a valid bound gives, rounded up and at most 1."""
        goal = check_epsilon(epsilon)
        log_delta, method, order = self._ideal_log_delta(goal)
        total = exp(log_delta) + (1 + exp(min(goal, 700))) * self._distance
        return Guarantee(goal, min(total, 1.0), method, order, self._unit, min(self._wrap, 1.0))

    def history(self, delta: float) -> Floats:
        """Epsilon at `delta` after each round, of shape (rounds,): as `epsilon` would say there, to 1e-9.

        See `sordino.privacy.history`; with more than 256 distinct events it may be up to 0.1 % larger, and
        above 1,000 rounds with bounds that stand in for a closed form up to 1 %. PLD is not asked. Raises
        `PrivacyError` above 10^7 rounds.
        """
        goal = check_delta(delta)
        if self.rounds > _MOST_ROUNDS:
            raise PrivacyError(f"a history holds at most {_MOST_ROUNDS:,} rounds, these are {self.rounds:,}")
        if not self._counts:
            return np.empty(0)
        if self._distance or (not self.smooth and self.rounds <= _WALKED):
            return self._walked_history(goal)
        events = list(self._counts)
        places = {event: place for place, event in enumerate(events)}
        rounds = [
            ([(places[event], count) for event, count in inner], repeats)
            for inner, repeats, _ in self._rounds
        ]
        bounds = []
        if (rates := _inverse_squares(events)) is not None:
            bounds.append(gaussian_epsilon(np.sqrt(running_sums(rounds, rates[:, None])[:, 0]), goal))
        if self._needs_renyi:
            first = Accountant()
            for event, count in self._rounds[0][0]:
                first._counts[event] = first._counts.get(event, 0) + count
            edges = [part._renyi_epsilon(goal)[2] or 2.0 for part in (self, first)]
            curves = [curve(event) for event in events]
            bounds.append(renyi_history(rounds, curves, (edges[0], edges[1]), goal))
        least_of_all: Floats = np.minimum.reduce(bounds)
        return least_of_all

    def _walked_history(self, delta: float) -> Floats:
        """The same, one round after the other, each search starting where the last ended."""
        part, out = Accountant(), np.empty(self.rounds)
        row = 0
        for inner, repeats, distance in self._rounds:
            for _ in range(repeats):
                for event, count in inner:
                    part._counts[event] = part._counts.get(event, 0) + count
                part._distance += distance
                out[row] = part.epsilon(delta).epsilon
                row += 1
        return out

    @property
    def _needs_renyi(self) -> bool:
        return not all(isinstance(event, Gaussian) for event in self._counts)

    @property
    def smooth(self) -> bool:
        """Whether the divergence is smooth in the order: so where no bound stands in for a closed form."""
        return all(curve(event).smooth for event in self._counts)

    @property
    def _mu(self) -> float | None:
        """Of the Gaussian that composes all events, sampling forgone; None where there are others."""
        rates = _inverse_squares(self._counts)
        return (
            None if rates is None else sqrt(float(rates @ np.array(list(self._counts.values()), np.float64)))
        )

    def _guarantee(self, found: _Bound, delta: float) -> Guarantee:
        return Guarantee(found[0], delta, found[1], found[2], self._unit, min(self._wrap, 1.0))

    def _ideal_epsilon(self, delta: float) -> _Bound:
        """Epsilon, method and order with exact samplers."""
        if not self._counts:
            return 0.0, "nothing", None
        found: list[_Bound] = [self._renyi_epsilon(delta)] if self._needs_renyi else []
        if (mu := self._mu) is not None:
            alone = np.array([mu])
            # Solved only where it is the smaller, which one value of ln delta tells.
            if not found or gaussian_log_delta(alone, np.array([max(found[0][0], 0.0)]))[0] < log(delta):
                found.append((float(gaussian_epsilon(alone, delta)[0]), "gaussian", None))
        if self._pld:
            from sordino.privacy.pld import pld_epsilon

            if (value := pld_epsilon(self._counts, delta)) is not None:
                found.append((value, "pld", None))
        epsilon, method, order = min(found, key=lambda each: each[0])
        return max(epsilon, 0.0), method, order

    def _renyi_epsilon(self, delta: float) -> _Bound:
        near_kl, at_two = self.divergence(np.array([NEAR_KL, 2.0]))
        if log_variation(near_kl) <= log(delta):
            return 0.0, "rdp", NEAR_KL
        value, self._start = least(
            lambda orders: epsilon_at(orders, self.divergence(orders), delta),
            self._start or self._guess(float(at_two), delta),
            smooth=self.smooth,
        )
        return value, "rdp", self._start

    def _ideal_log_delta(self, epsilon: float) -> _Bound:
        """The logarithm of delta, method and order with exact samplers."""
        if not self._counts:
            return -inf, "nothing", None
        found: list[_Bound] = []
        if (mu := self._mu) is not None:
            value = float(gaussian_log_delta(np.array([mu]), np.array([epsilon]))[0])
            found.append((value + 1e-12 * (1 + abs(value)), "gaussian", None))
        if self._needs_renyi:
            value, order = least(
                lambda orders: log_delta_at(orders, self.divergence(orders), epsilon),
                self._start or 2.0,
                smooth=self.smooth,
            )
            found.append((value, "rdp", order))
            found.append((float(log_variation(self.divergence(np.array([NEAR_KL])))[0]), "rdp", NEAR_KL))
        if self._pld:
            from sordino.privacy.pld import pld_delta

            if (delta := pld_delta(self._counts, epsilon)) is not None:
                found.append((log(max(delta, 1e-300)), "pld", None))
        return min(found, key=lambda each: each[0])

    def _guess(self, at_two: float, delta: float) -> float:
        """The order that is best for a Gaussian with this divergence `at_two`, below the events' knees."""
        knee = min(curve(event).knee for event in self._counts)
        return min(1 + min(max(sqrt(-2 * log(delta) / max(at_two, 1e-30)), 1e-6), 1e5), max(knee, 1.01))


def _inverse_squares(events: Iterable[Event]) -> Floats | None:
    """1/sigma^2 of each event, if all are Gaussian.

    Sampling is forgone: a hockey-stick divergence is convex, so that of the mixture is at most that without
    sampling, and what dominates in every round dominates in all (Zhu, Dong & Wang 2022, theorem 10).
    """
    rates = [
        event.noise_multiplier**-2 if isinstance(event, (Gaussian, SampledGaussian)) else None
        for event in events
    ]
    return None if None in rates else np.array(rates, np.float64)


def _check_neighbours(events: Iterable[Event]) -> None:
    kinds = {adjacency(event) for event in events} - {"any"}
    if len(kinds) > 1:
        raise PrivacyError(
            "fixed-size sampling speaks of neighbours that replace one unit, Poisson sampling of those that "
            "add or remove one: their costs do not add up, so keep an accountant for each"
        )
