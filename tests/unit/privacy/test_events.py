# SPDX-License-Identifier: Apache-2.0

"""Events: checked when they are made, the same after a journey as bytes, and canonically hashable."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import msgspec
import pytest

from sordino.errors import InvalidArgument, LocalError, PrivacyError, PrivacyParameter
from sordino.privacy.events import (
    AdaptiveClipGaussian,
    DiscreteGaussianSum,
    Event,
    FixedSizeSampledGaussian,
    Gaussian,
    PureDP,
    Release,
    SampledGaussian,
    ZeroConcentrated,
    once,
)
from sordino.protocol.encoding import digest

EVENTS: tuple[Event, ...] = (
    Gaussian(4, 100),
    SampledGaussian(1.1, 0.01, 10_000),
    FixedSizeSampledGaussian(2, 0.05),
    AdaptiveClipGaussian(1.2, 10, 0.1, 3),
    DiscreteGaussianSum(1000, 10**6, (1e5, 2e5), 10, 3, 0.01, 7),
    PureDP(0.5, 2),
    ZeroConcentrated(0.01),
)
SUM: dict[str, Any] = {"sensitivity": 10, "dimension": 3, "variances": (4.0,), "survivors": 5, "colluders": 1}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_the_same_after_msgpack(event: Event) -> None:
    data = msgspec.msgpack.encode(event)
    assert msgspec.msgpack.decode(data, type=Event) == event
    assert hash(msgspec.msgpack.decode(data, type=Event)) == hash(event)


def test_a_release_is_the_same_after_msgpack_and_has_a_digest() -> None:
    release = Release(EVENTS, "patient", 1e-12, 1e-15)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(release), type=Release)
    assert again == release
    assert digest("sordino/test", again) == digest("sordino/test", release)


def test_events_that_differ_have_digests_that_differ() -> None:
    assert len({digest("sordino/test", event) for event in EVENTS}) == len(EVENTS)


def test_a_whole_number_and_its_float_are_one_event() -> None:
    assert digest("sordino/test", Gaussian(4)) == digest("sordino/test", Gaussian(4.0))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Gaussian, {"noise_multiplier": 0}, "noise_multiplier must be from 0.01 to 1e[+]09, got 0"),
        (Gaussian, {"noise_multiplier": -1}, "got -1"),
        (Gaussian, {"noise_multiplier": nan}, "got nan"),
        (Gaussian, {"noise_multiplier": inf}, "got inf"),
        (Gaussian, {"noise_multiplier": "1"}, "noise_multiplier must be a number, got '1'"),
        (Gaussian, {"noise_multiplier": True}, "must be a number, got True"),
        (Gaussian, {"noise_multiplier": 1, "count": 0}, "count must be a whole number from 1 to .*, got 0"),
        (Gaussian, {"noise_multiplier": 1, "count": -1}, "got -1"),
        (Gaussian, {"noise_multiplier": 1, "count": 1.5}, "got 1.5"),
        (Gaussian, {"noise_multiplier": 1, "count": True}, "got True"),
        (Gaussian, {"noise_multiplier": 1, "count": 10**13}, "got 10000000000000"),
        (SampledGaussian, {"noise_multiplier": 1, "sampling_rate": 0}, "from 1e-12 to 1, got 0"),
        (SampledGaussian, {"noise_multiplier": 1, "sampling_rate": 1.0001}, "got 1.0001"),
        (SampledGaussian, {"noise_multiplier": 1, "sampling_rate": nan}, "got nan"),
        (FixedSizeSampledGaussian, {"noise_multiplier": 1, "sampling_rate": -0.1}, "got -0.1"),
        (AdaptiveClipGaussian, {"update_multiplier": 1, "count_deviation": 0}, "count_deviation .* got 0"),
        (
            AdaptiveClipGaussian,
            {"update_multiplier": nan, "count_deviation": 1},
            "update_multiplier .* got nan",
        ),
        (DiscreteGaussianSum, SUM | {"sensitivity": 0}, "sensitivity must be finite and above 0, got 0"),
        (DiscreteGaussianSum, SUM | {"sensitivity": inf}, "got inf"),
        (DiscreteGaussianSum, SUM | {"dimension": 0}, "dimension .* got 0"),
        (DiscreteGaussianSum, SUM | {"variances": (0.2,)}, "a variance must be from 0.25 .* got 0.2"),
        (DiscreteGaussianSum, SUM | {"variances": ()}, "variances must be from 1 to"),
        (DiscreteGaussianSum, SUM | {"survivors": 0}, "survivors .* got 0"),
        (DiscreteGaussianSum, SUM | {"colluders": 5}, "colluders must be a whole number from 0 to 4, got 5"),
        (PureDP, {"epsilon": 0}, "epsilon .* got 0"),
        (PureDP, {"epsilon": nan}, "got nan"),
        (ZeroConcentrated, {"rho": -1}, "rho .* got -1"),
        (Release, {"events": (), "unit": "site"}, "events must be a tuple of 1 to"),
        (Release, {"events": 7, "unit": "site"}, "got 7"),
        (Release, {"events": ("noise",), "unit": "site"}, "an event .* got 'noise'"),
        (
            Release,
            {"events": (Gaussian(1),), "unit": "ward"},
            "unit must be one of patient, patient-local, site",
        ),
        (Release, {"events": (Gaussian(1),), "unit": "site", "distance": nan}, "distance .* got nan"),
        (
            Release,
            {"events": (Gaussian(1),), "unit": "site", "wrap_probability": 1},
            "wrap_probability .* got 1",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(
    kind: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(PrivacyParameter, match=message) as caught:
        kind(**arguments)
    assert isinstance(caught.value, PrivacyError)
    assert isinstance(caught.value, InvalidArgument)
    assert isinstance(caught.value, LocalError)


def test_bytes_with_a_value_out_of_range_are_refused() -> None:
    data = msgspec.msgpack.encode({"type": "Gaussian", "noise_multiplier": 0.0, "count": 1})
    with pytest.raises(msgspec.ValidationError, match="noise_multiplier must be from"):
        msgspec.msgpack.decode(data, type=Event)
    more = msgspec.msgpack.encode({"type": "Gaussian", "noise_multiplier": 1.0, "count": 1, "free": True})
    with pytest.raises(msgspec.ValidationError, match="free"):
        msgspec.msgpack.decode(more, type=Event)


def test_once_is_the_simplest_form() -> None:
    assert once(SampledGaussian(2, 1, 5)) == Gaussian(2)
    assert once(AdaptiveClipGaussian(1.0, 0.5, 1.0, 5)) == Gaussian(1 / 2**0.5)
    assert once(DiscreteGaussianSum(**SUM, count=9)) == DiscreteGaussianSum(**SUM)


def test_a_sum_counts_the_noise_of_honest_survivors_only() -> None:
    event = DiscreteGaussianSum(1000, 10**6, (1e5, 2e5), 10, 3)
    assert event.variance == 7 * 3e5
    assert event.l1_sensitivity == 1000 * 1000
    assert DiscreteGaussianSum(3, 10**6, (1e5,), 10, 3).l1_sensitivity == 9
