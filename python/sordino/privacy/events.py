# SPDX-License-Identifier: Apache-2.0

"""What was released, as frozen values: the only thing that the accounting knows of the world.

An event is one mechanism, repeated `count` times with fresh noise. Where nothing else is said the sensitivity
is 1, the noise multiplier is standard deviation over sensitivity, and neighbours differ by one unit that is
added or removed (for sampling) or replaced by zero (where the cohort is fixed). A `Release` is what one round
gave out, with the unit that its events speak of.

Every value is checked when it is made, raises `PrivacyParameter`, serialises with msgspec (`Event` and
`Release` are tagged), and may be hashed by the canonical encoding: no negative integers, only finite numbers.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from sordino.errors import PrivacyParameter
from sordino.privacy import ranges

Unit: TypeAlias = Literal["patient", "patient-local", "site"]
"""Whom the guarantee is about: a patient at a site, the same with sites by themselves, or a site."""

Adjacency: TypeAlias = Literal["any", "add-or-remove-one", "replace-one"]
"""Which neighbours an event speaks of; "any": whatever its sensitivity was taken over."""

MAX_EVENTS = 4096


class Gaussian(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Continuous Gaussian noise on all records, `noise_multiplier` times the L2 sensitivity."""

    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "noise_multiplier", ranges.check_noise(self.noise_multiplier))
        force_setattr(self, "count", ranges.check_count(self.count))


class SampledGaussian(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Gaussian noise on a Poisson sample: each unit is in it by chance `sampling_rate`, drawn in secret."""

    noise_multiplier: float
    sampling_rate: float
    count: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "noise_multiplier", ranges.check_noise(self.noise_multiplier))
        force_setattr(self, "sampling_rate", ranges.check_rate(self.sampling_rate))
        force_setattr(self, "count", ranges.check_count(self.count))


class FixedSizeSampledGaussian(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Gaussian noise on a sample of fixed size without replacement, `sampling_rate` its part of all units.

    Neighbours replace one unit by another, so `noise_multiplier` is relative to twice the clip.
    """

    noise_multiplier: float
    sampling_rate: float
    count: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "noise_multiplier", ranges.check_noise(self.noise_multiplier))
        force_setattr(self, "sampling_rate", ranges.check_rate(self.sampling_rate))
        force_setattr(self, "count", ranges.check_count(self.count))


class AdaptiveClipGaussian(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """A noised sum together with the noised count that moves its clip (Andrew et al. 2021, algorithm 1).

    `update_multiplier` is the noise on the sum over its clip, `count_deviation` the standard deviation of the
    noise on the number of norms at or below the clip, each of which counts as +-1/2. The pair is one
    Gaussian.
    """

    update_multiplier: float
    count_deviation: float
    sampling_rate: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        multiplier = ranges.real("update_multiplier", self.update_multiplier, *ranges.NOISE)
        force_setattr(self, "update_multiplier", multiplier)
        deviation = ranges.real("count_deviation", self.count_deviation, *ranges.NOISE)
        force_setattr(self, "count_deviation", deviation)
        force_setattr(self, "sampling_rate", ranges.check_rate(self.sampling_rate))
        force_setattr(self, "count", ranges.check_count(self.count))
        ranges.check_noise(self.noise_multiplier)

    @property
    def noise_multiplier(self) -> float:
        """Of the Gaussian that the pair amounts to: (z_update^-2 + (2 sigma_b)^-2)^(-1/2), theorem 1."""
        return 1 / sqrt(self.update_multiplier**-2 + (2 * self.count_deviation) ** -2)

    @property
    def joint(self) -> SampledGaussian:
        """That Gaussian."""
        return SampledGaussian(self.noise_multiplier, self.sampling_rate, self.count)


class DiscreteGaussianSum(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """A sum of integer lanes that carries the discrete Gaussian noise of every survivor.

    sensitivity    the L2 sensitivity over all lanes, in grid units, rounding included
    dimension      lanes
    variances      of the parts that each survivor's noise is made of and that stay in the sum (a base, and
                   components that were not revealed), in squared grid units, each at least 1/4
    survivors      sites whose noise is in the sum
    colluders      survivors whose noise the adversary knows, itself included; their parts count for nothing
    sampling_rate  of the Poisson sample, 1 without sampling
    """

    sensitivity: float
    dimension: int
    variances: Annotated[tuple[float, ...], Meta(min_length=1, max_length=ranges.MAX_PARTS)]
    survivors: int
    colluders: int
    sampling_rate: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "sensitivity", ranges.positive("sensitivity", self.sensitivity))
        force_setattr(self, "dimension", ranges.whole("dimension", self.dimension, 1, ranges.MAX_DIMENSION))
        variances = tuple(ranges.real("a variance", value, 0.25, 1e30) for value in self.variances)
        if not 1 <= len(variances) <= ranges.MAX_PARTS:
            raise PrivacyParameter(
                f"variances must be from 1 to {ranges.MAX_PARTS} parts, got {len(variances)}"
            )
        force_setattr(self, "variances", variances)
        survivors = ranges.whole("survivors", self.survivors, 1, ranges.MAX_PARTIES)
        force_setattr(self, "survivors", survivors)
        force_setattr(self, "colluders", ranges.whole("colluders", self.colluders, 0, survivors - 1))
        force_setattr(self, "sampling_rate", ranges.check_rate(self.sampling_rate))
        force_setattr(self, "count", ranges.check_count(self.count))

    @property
    def honest(self) -> int:
        """Survivors whose noise the adversary does not know."""
        return self.survivors - self.colluders

    @property
    def variance(self) -> float:
        """Of the noise that counts, in squared grid units."""
        return self.honest * sum(self.variances)

    @property
    def l1_sensitivity(self) -> float:
        """At most D2 min(sqrt d, D2), since lanes are integers."""
        return self.sensitivity * min(sqrt(self.dimension), self.sensitivity)


class PureDP(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Anything of pure (epsilon, 0) privacy; (discrete) Laplace noise of scale t: L1 sensitivity / t."""

    epsilon: float
    count: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "epsilon", ranges.real("epsilon", self.epsilon, 1e-12, 1e6))
        force_setattr(self, "count", ranges.check_count(self.count))


class ZeroConcentrated(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Anything with rho-zCDP: Renyi divergence of order a at most rho a (Bun & Steinke 2016)."""

    rho: float
    count: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "rho", ranges.real("rho", self.rho, 1e-24, 1e9))
        force_setattr(self, "count", ranges.check_count(self.count))


Event: TypeAlias = (
    Gaussian
    | SampledGaussian
    | FixedSizeSampledGaussian
    | AdaptiveClipGaussian
    | DiscreteGaussianSum
    | PureDP
    | ZeroConcentrated
)


class Release(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """What one round gave out.

    events            its mechanisms, composed
    unit              whom they speak of
    distance          total variation distance of all noise that was drawn from what the events say it is
                      (samples of honest sites and components times the sampler's distance); it costs
                      (1 + e^epsilon) distance in delta
    wrap_probability  that some lane wrapped, which spoils the sum but costs no privacy; told beside delta
    """

    events: Annotated[tuple[Event, ...], Meta(min_length=1, max_length=MAX_EVENTS)]
    unit: Unit
    distance: float = 0.0
    wrap_probability: float = 0.0

    def __post_init__(self) -> None:
        events: object = self.events
        if not isinstance(events, (tuple, list)) or not 1 <= len(events) <= MAX_EVENTS:
            raise PrivacyParameter(f"events must be a tuple of 1 to {MAX_EVENTS} events, got {events!r:.80}")
        force_setattr(self, "events", tuple(events))
        for event in self.events:
            check_event(event)
        check_unit(self.unit)
        force_setattr(self, "distance", ranges.probability("distance", self.distance))
        force_setattr(self, "wrap_probability", ranges.probability("wrap_probability", self.wrap_probability))


def adjacency(event: Event) -> Adjacency:
    """Which neighbours `event` speaks of: sampling decides it."""
    match event:
        case FixedSizeSampledGaussian():
            return "replace-one"
        case SampledGaussian() | AdaptiveClipGaussian() | DiscreteGaussianSum() if event.sampling_rate < 1:
            return "add-or-remove-one"
        case _:
            return "any"


def check_unit(unit: object) -> None:
    """Raise `PrivacyParameter` unless `unit` is a unit of privacy."""
    if unit not in get_args(Unit):
        raise PrivacyParameter(f"unit must be one of {', '.join(get_args(Unit))}, got {unit!r}")


def check_event(event: object) -> None:
    """Raise `PrivacyParameter` unless `event` is an event."""
    if not isinstance(event, get_args(Event)):
        raise PrivacyParameter(f"an event of sordino.privacy.events was expected, got {event!r}")


def once(event: Event) -> Event:
    """The event as it happens a single time, in its simplest form: what divergences are cached for."""
    if isinstance(event, AdaptiveClipGaussian):
        event = event.joint
    if isinstance(event, SampledGaussian) and event.sampling_rate == 1:
        return Gaussian(event.noise_multiplier)
    return event if event.count == 1 else replace(event, count=1)
