# SPDX-License-Identifier: Apache-2.0

"""Calibration: the answer keeps the target, and the least step past it does not."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from sordino.errors import PrivacyParameter, TargetUnreachable
from sordino.privacy.accountant import Accountant
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.calibration import noise_multiplier, remaining_steps, sampling_rate
from sordino.privacy.events import AdaptiveClipGaussian, Gaussian, SampledGaussian
from sordino.privacy.gaussian import joint_noise_multiplier, update_noise_multiplier

TARGETS = [
    (5.0, 1e-5, 0.01, 10_000),
    (1.0, 1e-6, 0.001, 1000),
    (8.0, 1e-5, 1.0, 1),
    (0.1, 1e-5, 1.0, 100),
    (3.0, 1e-5, 0.5, 10),
    (1e-3, 1e-10, 0.01, 10**6),
    (1000.0, 1e-5, 0.1, 1),
    (1e-3, 0.1, 0.01, 1),
]


@pytest.mark.parametrize(("epsilon", "delta", "q", "steps"), TARGETS)
def test_the_noise_keeps_the_target_and_a_little_less_does_not(
    epsilon: float, delta: float, q: float, steps: int
) -> None:
    sigma = noise_multiplier(epsilon, delta, sampling_rate=q, steps=steps)
    assert Accountant([SampledGaussian(sigma, q, steps)]).epsilon(delta).epsilon <= epsilon
    less = sigma * (1 - 3e-9)
    assert Accountant([SampledGaussian(less, q, steps)]).epsilon(delta).epsilon > epsilon


def test_noise_for_a_published_epsilon() -> None:
    assert noise_multiplier(13.206712, 1e-5, steps=100) == pytest.approx(4, rel=1e-7)
    assert noise_multiplier(5.631810, 1e-5, sampling_rate=0.01, steps=10_000) == pytest.approx(1.1, rel=1e-6)


@pytest.mark.parametrize(("epsilon", "delta", "q", "steps"), TARGETS[:5])
def test_noise_by_the_filter_lets_every_planned_round_through(
    epsilon: float, delta: float, q: float, steps: int
) -> None:
    sigma = noise_multiplier(epsilon, delta, sampling_rate=q, steps=steps, by="rdp")
    assert sigma >= noise_multiplier(epsilon, delta, sampling_rate=q, steps=steps) * (1 - 2e-9)
    event = SampledGaussian(sigma, q)
    budget = PrivacyBudget.for_plan(epsilon, delta, [event])
    assert budget.times(Spent(), event) == steps


def test_little_noise_is_enough_for_a_huge_epsilon() -> None:
    assert noise_multiplier(1e6, 1e-5) == 0.01


def test_what_no_noise_can_keep_is_told() -> None:
    with pytest.raises(
        TargetUnreachable, match="no noise multiplier up to 1e[+]09 gives epsilon 1e-12 at delta 1e-20"
    ):
        noise_multiplier(1e-12, 1e-20, steps=10**12)


@pytest.mark.parametrize(("epsilon", "sigma", "steps"), [(2.0, 1.0, 1000), (0.5, 3.0, 10), (1.0, 0.7, 1)])
def test_the_sampling_rate_keeps_the_target_and_a_little_more_does_not(
    epsilon: float, sigma: float, steps: int
) -> None:
    q = sampling_rate(epsilon, 1e-5, noise_multiplier=sigma, steps=steps)
    assert Accountant([SampledGaussian(sigma, q, steps)]).epsilon(1e-5).epsilon <= epsilon
    assert Accountant([SampledGaussian(sigma, q * (1 + 3e-9), steps)]).epsilon(1e-5).epsilon > epsilon


def test_everyone_may_be_sampled_where_the_noise_is_enough() -> None:
    assert sampling_rate(1.0, 1e-5, noise_multiplier=100.0) == 1.0


def test_a_rate_that_cannot_be_small_enough_is_told() -> None:
    with pytest.raises(TargetUnreachable, match="at any sampling rate"):
        sampling_rate(1e-6, 1e-30, noise_multiplier=1.0, steps=10**12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0, "delta": 1e-5}, "epsilon must be finite and above 0, got 0"),
        ({"epsilon": nan, "delta": 1e-5}, "got nan"),
        ({"epsilon": inf, "delta": 1e-5}, "got inf"),
        ({"epsilon": 1, "delta": 0}, "delta must be above 0 and below 1, got 0"),
        ({"epsilon": 1, "delta": nan}, "got nan"),
        ({"epsilon": 1, "delta": 1e-5, "sampling_rate": 0}, "sampling_rate must be from 1e-12 to 1, got 0"),
        ({"epsilon": 1, "delta": 1e-5, "sampling_rate": nan}, "got nan"),
        ({"epsilon": 1, "delta": 1e-5, "steps": 0}, "steps must be a whole number from 1"),
        ({"epsilon": 1, "delta": 1e-5, "steps": -3}, "got -3"),
        ({"epsilon": 1, "delta": 1e-5, "steps": 10**15}, "got 1000000000000000"),
    ],
)
def test_a_target_out_of_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PrivacyParameter, match=message):
        noise_multiplier(**arguments)


def test_remaining_steps_end_at_the_largest_count() -> None:
    assert remaining_steps(1e9, 1e-5, Gaussian(1e6)) == 10**12
    with pytest.raises(PrivacyParameter, match="an event"):
        remaining_steps(1.0, 1e-5, "noise")  # type: ignore[arg-type]  # that is the test


def test_the_clips_count_takes_its_part_of_the_noise() -> None:
    update = update_noise_multiplier(1.1, 5.0)
    assert update > 1.1
    assert AdaptiveClipGaussian(update, 5.0).noise_multiplier == pytest.approx(1.1, rel=1e-14)
    assert joint_noise_multiplier(update, 2 * 5.0) == pytest.approx(1.1, rel=1e-14)
    with pytest.raises(PrivacyParameter, match="count_deviation must be above 0.55, got 0.5"):
        update_noise_multiplier(1.1, 0.5)
    with pytest.raises(PrivacyParameter, match="noise_multiplier must be from"):
        update_noise_multiplier(nan, 0.5)
    with pytest.raises(PrivacyParameter, match="at least one"):
        joint_noise_multiplier()
