# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest

from sordino.audit.canaries import empirical_epsilon, least_epsilon, p_value
from sordino.errors import InvalidArgument


@pytest.mark.parametrize("mechanism", ["secure sums", "open sums", "patient-local"])
def test_the_shipped_noise_is_not_refuted(mechanism: str) -> None:
    found = empirical_epsilon(3.0, 1e-6, canaries=5_000, mechanism=mechanism)  # type: ignore[arg-type]
    assert not found.refuted
    assert found.claimed == pytest.approx(3.0, abs=1e-3)
    assert found.least > 0.3  # the attack sees something all the same


def test_noise_that_is_halved_on_purpose_is_refuted_and_whole_noise_is_not() -> None:
    halved, whole = (
        empirical_epsilon(3.0, 1e-6, canaries=200_000, mechanism="open sums", noise=noise)
        for noise in (0.5, 1.0)
    )
    assert halved.claimed == whole.claimed
    assert halved.refuted
    assert not whole.refuted


def test_without_noise_the_bound_is_as_large_as_the_guesses_allow() -> None:
    # Randomised response that is right every time: chance**guesses = 5 %.
    chance = 0.05 ** (1.0 / 100)
    assert least_epsilon(200, 100, 100, 0.0) == pytest.approx(math.log(chance / (1.0 - chance)), abs=1e-3)


def test_p_value_at_no_delta_is_the_binomial_tail() -> None:
    assert p_value(10, 10, 10, 0.0, 0.0) == pytest.approx(2.0**-10)
    assert p_value(10, 10, 0, 0.0, 0.0) == 1.0


def test_delta_is_paid_for() -> None:
    assert p_value(1000, 100, 80, 1.0, 1e-5) > p_value(1000, 100, 80, 1.0, 0.0)
    assert least_epsilon(1000, 100, 95, 1e-4) < least_epsilon(1000, 100, 95, 0.0)


def test_guessing_by_coin_refutes_nothing() -> None:
    assert least_epsilon(1000, 200, 105, 1e-6) == 0.0


def test_canaries_that_do_not_fit_are_refused() -> None:
    for canaries, lanes in ((1_050, 100), (100, 100), (1_000, 5)):
        with pytest.raises(InvalidArgument, match="canaries do not fit sums"):
            empirical_epsilon(3.0, 1e-6, canaries=canaries, lanes=lanes)
    with pytest.raises(InvalidArgument, match="guesses about"):
        least_epsilon(10, 20, 5, 0.0)
