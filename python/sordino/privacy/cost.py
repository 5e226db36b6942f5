# SPDX-License-Identifier: Apache-2.0

"""What so many of each release cost together, and what a planned question releases at most."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

from msgspec.structs import replace

from sordino.privacy.accountant import Accountant, Guarantee
from sordino.privacy.events import Release
from sordino.privacy.mechanisms import release_of
from sordino.privacy.rdp import divergence
from sordino.protocol.policy import Policy, Question

_MOST_EPSILON = 100.0

_ORDER = 8.0  # at which cohorts are compared; they differ by rounding alone


def cost(released: Mapping[Release, int], delta: float) -> Guarantee:
    """What so many of each release cost together, at `delta`."""
    distance = sum(release.distance * times for release, times in released.items())
    # As the accountant takes it off, but for any epsilon up to a hundred, so that events may be counted.
    left = delta - (1.0 + exp(_MOST_EPSILON)) * distance
    accountant = Accountant(
        replace(event, count=event.count * times)
        for release, times in released.items()
        for event in release.events
    )
    found = accountant.epsilon(left) if left > 0.0 else None
    if found is None or found.epsilon > _MOST_EPSILON:
        every = (release for release, times in released.items() for _ in range(times))
        return Accountant(every).epsilon(delta)
    return replace(
        found,
        delta=delta,
        unit=next((release.unit for release in released), None),
        wrap_probability=min(sum(one.wrap_probability * times for one, times in released.items()), 1.0),
    )


def worst_release(policy: Policy, question: Question) -> Release:
    """What a sum gives out with the number of participants at which that is most, each part by itself."""
    releases = [
        release_of(policy, question, participants)
        for participants in range(policy.smallest_cohort, policy.sites + 1)
    ]
    worst = max(releases, key=lambda one: sum(divergence(event, _ORDER) for event in one.events))
    return replace(
        worst,
        distance=max(one.distance for one in releases),
        wrap_probability=max(one.wrap_probability for one in releases),
    )
