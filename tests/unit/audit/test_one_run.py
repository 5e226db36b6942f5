# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from sordino.audit.one_run import bound, least_epsilon, p_value
from sordino.errors import InvalidArgument


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


def test_the_bound_is_that_of_the_paper() -> None:
    assert least_epsilon(1000, 200, 180, 1e-5) == pytest.approx(1.796285, abs=2e-4)


@pytest.mark.parametrize(("right", "epsilon", "delta"), [(180, 1.7, 1e-5), (60, 0.1, 1e-4), (199, 4.0, 1e-3)])
def test_p_value_is_that_of_the_papers_own_loop(right: int, epsilon: float, delta: float) -> None:
    # Appendix D of the paper, in its order: alpha is the steepest mean of the probabilities below v.
    chance = 1.0 / (1.0 + math.exp(-epsilon))
    alpha = total = 0.0
    for below in range(1, right + 1):
        total += binom.pmf(right - below, 200, chance)
        alpha = max(alpha, total / below)
    expected = min(1.0, binom.sf(right - 1, 200, chance) + alpha * delta * 2 * 1000)
    assert p_value(1000, 200, right, epsilon, delta) == pytest.approx(expected, rel=1e-9)


def test_randomised_response_is_not_refuted_but_one_time_in_twenty() -> None:
    # Its epsilon is 1 exactly, and the best that canaries can do is to be their own response.
    random, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        coins = random.random(400) < 0.5
        said = np.where(random.random(400) < math.e / (1.0 + math.e), coins, ~coins)
        found = bound(said + 0.0, coins, mechanism="tested", claimed=1.0, delta=0.0, parts=(0.05, 0.4))
        wrong += found.refuted
    assert wrong <= 18  # 10 at most are expected; more than 18 has a chance of 1 in 200


def test_more_right_guesses_than_guesses_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="guesses about"):
        least_epsilon(10, 20, 5, 0.0)
