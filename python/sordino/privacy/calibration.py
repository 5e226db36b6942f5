# SPDX-License-Identifier: Apache-2.0

"""How much noise, how many steps, how large a sample: the accountant solved for what it is given.

Every answer is rounded to the safe side and checked: the accountant, asked about it, says at most the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, log, sqrt
from typing import Literal, TypeAlias

from msgspec.structs import replace

from sordino.errors import TargetUnreachable
from sordino.privacy import ranges
from sordino.privacy.accountant import Accountant
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.events import Event, Gaussian, Release, SampledGaussian, check_event
from sordino.privacy.gaussian import gaussian_mu

By: TypeAlias = Literal["best", "rdp"]
"""Against the best bound there is, or as a budget's filter counts, by Renyi divergence at one order."""

_CLOSE = 1e-9  # relative


def noise_multiplier(
    epsilon: float, delta: float, *, sampling_rate: float = 1.0, steps: int = 1, by: By = "best"
) -> float:
    """The least noise multiplier, to 1e-9 and rounded up, that gives (epsilon, delta) over all steps.

    Raises `PrivacyParameter` for what is out of range, and `TargetUnreachable` where no noise multiplier in
    the allowed range is enough.
    """
    target, at = ranges.check_epsilon(epsilon), ranges.check_delta(delta)
    q, count = ranges.check_rate(sampling_rate), ranges.check_count(steps, "steps")

    order: float | None = None

    def excess(sigma: float) -> float:
        nonlocal order
        event = SampledGaussian(sigma, q, count)
        if by == "rdp":
            return _filter_excess(event, target, at)
        found = Accountant([event], start=order).epsilon(at)
        order = found.order if found.epsilon > 0 else order
        return _excess(found.epsilon, target)

    lowest, highest = ranges.NOISE
    unsampled = sqrt(count) / gaussian_mu(target, at) * (1 + 1e-12)  # always enough; q times it, often
    guess = unsampled if q == 1 else min(unsampled, max(q * unsampled, 0.7))
    low = high = min(max(guess, lowest), highest)
    below = above = excess(high)
    while above > 0:
        if high == highest:
            raise TargetUnreachable(
                f"no noise multiplier up to {highest:g} gives epsilon {target:g} at delta {at:g} "
                f"over {count} steps"
            )
        low, below = high, above
        high = min(1.5 * high, highest)
        above = excess(high)
    while below <= 0:
        if low == lowest:
            return lowest
        high, above = low, below
        low = max(low / 1.5, lowest)
        below = excess(low)
    sigma = exp(_root(lambda x: excess(exp(x)), log(low), below, log(high), above))
    order = None
    while excess(sigma) > 0:  # asked without a hint where to look, the last digits may differ
        sigma *= 1 + _CLOSE / 10
        order = None
    return sigma


def sampling_rate(epsilon: float, delta: float, *, noise_multiplier: float, steps: int = 1) -> float:
    """The largest sampling rate, to 1e-9 and rounded down, that gives (epsilon, delta) over all steps.

    Raises `TargetUnreachable` where even a rate of 1e-12 costs more.
    """
    target, at = ranges.check_epsilon(epsilon), ranges.check_delta(delta)
    sigma, count = ranges.check_noise(noise_multiplier), ranges.check_count(steps, "steps")

    def excess(q: float) -> float:
        return _excess(Accountant([SampledGaussian(sigma, min(q, 1.0), count)]).epsilon(at).epsilon, target)

    lowest, highest = ranges.RATE
    if excess(highest) <= 0:
        return highest
    low, high = highest, highest
    while (below := excess(low)) > 0:
        if low == lowest:
            raise TargetUnreachable(
                f"noise multiplier {sigma:g} gives more than epsilon {target:g} at delta {at:g} over "
                f"{count} steps at any sampling rate"
            )
        high, low = low, max(low / 10, lowest)
    above = excess(high)
    return exp(-_root(lambda x: excess(exp(-x)), -log(high), above, -log(low), below))


def remaining_steps(
    epsilon: float, delta: float, event: Event, *, released: Iterable[Event | Release] = ()
) -> int:
    """How often `event` (all of its `count`) may still happen after `released` within (epsilon, delta).

    0 where not even once; at most 10^12. For adaptive choices ask `PrivacyBudget` instead.
    """
    target, at = ranges.check_epsilon(epsilon), ranges.check_delta(delta)
    check_event(event)
    before = tuple(released)

    def allowed(times: int) -> bool:
        accountant = Accountant(before)
        if times:
            accountant.compose(replace(event, count=event.count * times))
        return accountant.epsilon(at).epsilon <= target

    low, high = 0, 1
    limit = ranges.MAX_COUNT // event.count
    while allowed(min(high, limit)):
        low = min(high, limit)
        if low == limit:
            return limit
        high *= 4
    high = min(high, limit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _excess(value: float, target: float) -> float:
    """ln(value / target), which is near to linear in ln sigma; at most 0 only where the target is met."""
    return log(max(value, target * 1e-6) / target)


def _filter_excess(event: Event, epsilon: float, delta: float) -> float:
    """What `event` costs of the budget whose order is best for it: ln of the ratio."""
    if isinstance(event, SampledGaussian) and event.sampling_rate == 1:
        event = Gaussian(event.noise_multiplier, event.count)
    budget = PrivacyBudget.for_plan(epsilon, delta, [event])
    return log(Spent().after(event, budget.order).divergence / budget.limit)


def _root(excess: Callable[[float], float], low: float, at_low: float, high: float, at_high: float) -> float:
    """The upper end, at which excess <= 0, of an interval of x no longer than 1e-9 about the root.

    Regula falsi with the Illinois rule; a trial keeps half the tolerance from both ends, so that both close
    in.
    """
    side = 0
    while high - low > _CLOSE:
        guess = (low * at_high - high * at_low) / (at_high - at_low) if at_high < at_low else low
        trial = min(max(guess, low + _CLOSE / 2), high - _CLOSE / 2)
        value = excess(trial)
        if value <= 0:
            high, at_high = trial, value
            at_low = at_low / 2 if side > 0 else at_low
            side = 1
        else:
            low, at_low = trial, value
            at_high = at_high / 2 if side < 0 else at_high
            side = -1
    return high
