# SPDX-License-Identifier: Apache-2.0

"""A budget that refuses: the pre-committed filter of Feldman & Zrnic 2021, as pure mathematics.

Where what is released next depends on what was seen before, adding up divergences and converting the sum at
the best order is no guarantee. A filter is: an order a is fixed beforehand, and the composition stops before
the sum of divergences of that order passes the value B(a) that converts to (epsilon, delta) (theorem 4.3
there; the conversion is that of `conversion`). Who keeps the journal calls `charge` before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, isfinite, log

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import NDArray

from sordino.errors import BudgetExceeded, PrivacyError, PrivacyParameter, TargetUnreachable
from sordino.privacy import ranges
from sordino.privacy.accountant import Accountant
from sordino.privacy.conversion import OUTWARD, least
from sordino.privacy.events import Event, Release, Unit, check_event
from sordino.privacy.rdp import divergence

Floats = NDArray[np.float64]

_ROUNDING = 1 + 1e-9  # what adding up distances may do to them; delta pays for it


class Spent(Struct, frozen=True):
    """What has been released, at the one order of a budget: Renyi divergence, and distance of samplers."""

    divergence: float = 0.0
    distance: float = 0.0

    def after(self, released: Event | Release, order: float) -> Spent:
        """What is spent once `released` is too."""
        if isinstance(released, Release):
            cost = sum(divergence(event, order) for event in released.events)
            return Spent(self.divergence + cost, self.distance + released.distance)
        check_event(released)
        return Spent(self.divergence + divergence(released, order), self.distance)


class PrivacyBudget(Struct, frozen=True, forbid_unknown_fields=True):
    """(epsilon, delta) for all that is ever released about some data, whatever is chosen adaptively.

    order     at which divergences are added up, fixed before the first release: see `of` and `for_plan`
    distance  how far all noise together may be from ideal; (1 + e^epsilon) times it is set aside in delta
    unit      whom the budget is about; releases about others are refused. None: any
    """

    epsilon: float
    delta: float
    order: float
    distance: float = 0.0
    unit: Unit | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "epsilon", ranges.check_epsilon(self.epsilon))
        force_setattr(self, "delta", ranges.check_delta(self.delta))
        force_setattr(self, "order", ranges.check_order(self.order))
        force_setattr(self, "distance", ranges.probability("distance", self.distance))
        if not self.limit > 0:
            raise PrivacyParameter(
                f"order {self.order:g} has no room for epsilon {self.epsilon:g} at delta {self.delta:g}: "
                f"a higher order is needed, about {1 + 2 * log(1 / self.delta) / self.epsilon:g}"
            )

    @classmethod
    def of(
        cls, epsilon: float, delta: float, *, distance: float = 0.0, unit: Unit | None = None
    ) -> PrivacyBudget:
        """The budget at the order that is best for Gaussian noise without sampling."""
        return cls._best(epsilon, delta, lambda orders: orders, True, distance, unit)

    @classmethod
    def for_plan(
        cls,
        epsilon: float,
        delta: float,
        plan: Iterable[Event | Release],
        *,
        distance: float = 0.0,
        unit: Unit | None = None,
    ) -> PrivacyBudget:
        """The budget at the order by which the plan could be repeated most often. The plan binds nobody."""
        planned = Accountant(plan)
        if not planned.rounds:
            return cls.of(epsilon, delta, distance=distance, unit=unit)
        return cls._best(epsilon, delta, planned.divergence, planned.smooth, distance, unit)

    @classmethod
    def _best(
        cls,
        epsilon: float,
        delta: float,
        cost: Callable[[Floats], Floats],
        smooth: bool,
        distance: float,
        unit: Unit | None,
    ) -> PrivacyBudget:
        target, at = ranges.check_epsilon(epsilon), ranges.check_delta(delta)
        left = _left(target, at, ranges.probability("distance", distance))

        def negative_repeats(orders: Floats) -> Floats:
            spent = np.maximum(cost(orders), 1e-300)
            value: Floats = np.where(np.isfinite(spent), -_limit(orders, target, left) / spent, 0.0)
            return value

        start = min(1 + 2 * log(1 / left) / target, 1e4)
        value, order = least(negative_repeats, start, smooth=smooth)
        if not value < 0:
            raise TargetUnreachable(
                f"no order up to {ranges.ORDERS[1]:g} has room for epsilon {target:g} at delta {at:g}"
            )
        return cls(target, at, order, distance, unit)

    @property
    def limit(self) -> float:
        """B(a): the divergence of order `order` that may be spent in all."""
        left = _left(self.epsilon, self.delta, self.distance)
        return float(_limit(np.array([self.order]), self.epsilon, left)[0])

    def charge(self, spent: Spent, proposed: Event | Release) -> Spent:
        """What is spent once `proposed` has been released after `spent`.

        Raises `BudgetExceeded`, and then nothing may be released; `PrivacyError` where the unit is another.
        """
        if isinstance(proposed, Release) and self.unit not in (None, proposed.unit):
            raise PrivacyError(f"the budget is about one {self.unit}, the release about one {proposed.unit}")
        after = spent.after(proposed, self.order)
        if not (isfinite(after.divergence) and after.divergence <= self.limit):
            raise BudgetExceeded(
                f"budget of epsilon {self.epsilon:g} at delta {self.delta:g}: the release would bring the "
                f"divergence of order {self.order:.6g} from {spent.divergence:.6g} to "
                f"{after.divergence:.6g}, allowed are {self.limit:.6g}"
            )
        if after.distance > self.distance * _ROUNDING:
            raise BudgetExceeded(
                f"budget of epsilon {self.epsilon:g} at delta {self.delta:g}: the release would bring the "
                f"samplers' distance from {spent.distance:.6g} to {after.distance:.6g}, "
                f"allowed are {self.distance:.6g}"
            )
        return after

    def spent(self, released: Iterable[Event | Release]) -> Spent:
        """What `released` has used up, allowed or not."""
        total = Spent()
        for item in released:
            total = total.after(item, self.order)
        return total

    def times(self, spent: Spent, proposed: Event | Release) -> int:
        """How often `proposed` may still be released after `spent`: 0 where not even once."""
        cost = Spent().after(proposed, self.order)
        rooms = [(self.limit - spent.divergence) / cost.divergence if cost.divergence else 1e12]
        if cost.distance:
            rooms.append((self.distance * _ROUNDING - spent.distance) / cost.distance)
        return max(0, min(int(min(rooms)), 10**12))


def _left(epsilon: float, delta: float, distance: float) -> float:
    """The delta that is left for ideal noise."""
    left = delta - (1 + exp(min(epsilon, 700))) * distance * _ROUNDING
    if not left > 0:
        raise PrivacyParameter(
            f"distance must be below {delta / (1 + exp(min(epsilon, 700))):.3g} for epsilon {epsilon:g} at "
            f"delta {delta:g}, got {distance!r}"
        )
    return left


def _limit(orders: Floats, epsilon: float, delta: float) -> Floats:
    """The divergence of each order that converts to (epsilon, delta), rounded down."""
    value = epsilon - np.log1p(-1 / orders) + (log(delta) + np.log(orders)) / (orders - 1)
    rounded: Floats = value - OUTWARD / 2 * np.abs(value)
    return rounded
