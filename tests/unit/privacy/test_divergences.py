# SPDX-License-Identifier: Apache-2.0

"""Divergences against their definitions in 60 digits, and against the papers as printed."""

from __future__ import annotations

import os
from math import inf, nan

import mpmath as mp
import numpy as np
import pytest

from reference import renyi
from sordino.errors import PrivacyError, PrivacyParameter
from sordino.privacy.amplification import HIGHEST, fixed_size_moment, sampled_moment
from sordino.privacy.discrete import discrete_gaussian_divergence, tau
from sordino.privacy.events import (
    AdaptiveClipGaussian,
    DiscreteGaussianSum,
    FixedSizeSampledGaussian,
    Gaussian,
    PureDP,
    SampledGaussian,
    ZeroConcentrated,
)
from sordino.privacy.rdp import Curve, divergence
from sordino.privacy.sampled import sampled_gaussian_divergence

LONG = os.environ.get("SORDINO_LONG") == "1"
TOLERANCE = 1e-12  # wanted: 1e-10

CORNERS = [(1e-6, 0.3), (0.01, 1.1), (1.0, 0.3), (1e-6, 1e4), (0.999, 0.5), (0.1, 2.0)]
WIDE = [
    (q, sigma)
    for q in (1e-6, 1e-4, 0.003, 0.05, 0.3, 0.7, 0.999999, 1.0)
    for sigma in (0.3, 0.45, 0.8, 1.3, 3.0, 20.0, 300.0, 1e4)
]


@pytest.mark.parametrize(("q", "sigma"), WIDE if LONG else CORNERS)
@pytest.mark.parametrize("order", [2, 3, 32, 200] + ([5, 11, 64, 500, 1000] if LONG else []))
def test_integer_orders_are_the_binomial_sum(q: float, sigma: float, order: int) -> None:
    ours = sampled_gaussian_divergence(sigma, q, np.array([float(order)]))[0]
    assert ours == pytest.approx(float(renyi.sampled_gaussian(q, sigma, order)), rel=TOLERANCE, abs=0)


@pytest.mark.parametrize(("q", "sigma"), WIDE if LONG else CORNERS[:2] + CORNERS[3:])
@pytest.mark.parametrize("order", [1.01, 2.5] + ([1.0001, 1.3, 4.7, 9.99, 40.5, 200.25] if LONG else []))
def test_fractional_orders_are_the_integral(q: float, sigma: float, order: float) -> None:
    ours = sampled_gaussian_divergence(sigma, q, np.array([order]))[0]
    assert ours == pytest.approx(float(renyi.sampled_gaussian(q, sigma, order)), rel=TOLERANCE, abs=0)


@pytest.mark.parametrize(
    ("q", "sigma", "order", "truth"),
    [
        (0.01, 1.1, 2, 1.285100816051618e-4),
        (0.01, 1.1, 2.5, 1.620774093700037e-4),
        (0.01, 1.1, 32, 8.469416433675928),
        (0.1, 2, 4.7, 7.205134046139419e-3),
        (1e-5, 100, 2, 1.000050001666703e-14),
    ],
)
def test_known_answers(q: float, sigma: float, order: float, truth: float) -> None:
    assert divergence(SampledGaussian(sigma, q), order) == pytest.approx(truth, rel=1e-13, abs=0)


@pytest.mark.parametrize(("q", "sigma"), [(1e-6, 0.3), (0.5, 1.0), (0.01, 3.0)])
def test_the_closed_form_of_far_orders_joins_the_integral(q: float, sigma: float) -> None:
    join = 1 + 300 * sigma**2
    orders = np.round(join) + np.array([-1.0, 2.0])
    ours = sampled_gaussian_divergence(sigma, q, orders)
    truth = [float(renyi.sampled_gaussian(q, sigma, int(order))) for order in orders]
    np.testing.assert_allclose(ours, truth, rtol=TOLERANCE)


def test_orders_are_independent_of_their_company() -> None:
    orders = np.array([1.5, 1e5, 3.0, 800.0, 1.0001, 33.3])
    together = sampled_gaussian_divergence(1.7, 0.02, orders)
    alone = [sampled_gaussian_divergence(1.7, 0.02, orders[k : k + 1])[0] for k in range(orders.size)]
    np.testing.assert_allclose(together, alone, rtol=1e-13)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 50.0, 1e9])
@pytest.mark.parametrize("q", [1e-12, 1e-3, 0.5, 1.0])
def test_divergences_are_positive_grow_with_the_order_and_stay_below_no_sampling(
    q: float, sigma: float
) -> None:
    orders = 1 + np.geomspace(1e-9, 1e5, 60)
    values = sampled_gaussian_divergence(sigma, q, orders)
    assert (values > 0).all()
    assert (np.diff(values) >= -1e-12 * values[1:]).all()
    assert (values <= orders / (2 * sigma**2) * (1 + 1e-12)).all()


def test_sampling_everyone_is_no_sampling() -> None:
    orders = np.array([1.001, 2.5, 77.0])
    np.testing.assert_allclose(
        sampled_gaussian_divergence(1.3, 1.0, orders), orders / (2 * 1.3**2), rtol=1e-13
    )


@pytest.mark.parametrize(("q", "sigma"), [(0.01, 2.0), (0.3, 0.7), (1e-4, 30.0)])
@pytest.mark.parametrize("order", [2, 3, 8, 33])
def test_fixed_size_is_the_theorem_as_printed(q: float, sigma: float, order: int) -> None:
    truth = min(float(renyi.fixed_size(q, sigma, order)), order / (2 * sigma**2))
    ours = fixed_size_moment(sigma, q)(order) / (order - 1)
    assert truth <= ours * (1 + 1e-14)
    assert ours == pytest.approx(truth, rel=1e-11, abs=0)


@pytest.mark.parametrize("q", [1e-4, 0.02, 0.6])
@pytest.mark.parametrize("order", [2, 3, 9, 64])
def test_the_general_bound_is_the_theorem_as_printed(q: float, order: int) -> None:
    sigma = 1.9
    base = [at / (2 * sigma**2) for at in range(2, order + 1)]
    ours = sampled_moment(lambda a: a / (2 * sigma**2), q)(order) / (order - 1)
    assert ours == pytest.approx(float(renyi.zhu_wang(q, base, order)), rel=1e-11, abs=0)
    assert ours >= float(renyi.sampled_gaussian(q, sigma, order)) * (1 - 1e-13)


def test_between_integers_a_bound_is_above_the_truth() -> None:
    event = DiscreteGaussianSum(100.0, 50, (300.0,) * 30, 2, 1, 0.01)
    near = SampledGaussian(9000**0.5 / 100, 0.01)  # without the little that discreteness adds
    for order in (1.2, 2.0, 2.5, 7.3, 40.0):
        assert divergence(event, order) > divergence(near, order)


@pytest.mark.parametrize("q", [1e-4, 0.05, 0.5])
@pytest.mark.parametrize("noise", [1.0, 30.0, 1e4])
def test_sampling_a_discrete_sum_never_costs_more_than_none(q: float, noise: float) -> None:
    def at(rate: float, order: float) -> float:
        return divergence(DiscreteGaussianSum(100.0, 50, ((100.0 * noise) ** 2,), 1, 0, rate), order)

    orders = (1.5, 2.0, 7.3, 40.0, HIGHEST + 0.5)
    assert all(at(q, order) <= at(1.0, order) for order in orders)
    # With much of the noise and of the patients the general bound is above it, with little far below.
    assert at(0.5, 40.0) == at(1.0, 40.0) or noise == 1.0
    assert at(1e-4, 2.0) < 1e-6 * at(1.0, 2.0)


def test_orders_beyond_the_reach_of_a_bound_say_nothing() -> None:
    assert divergence(FixedSizeSampledGaussian(3, 0.1), HIGHEST + 0.5) == inf


@pytest.mark.parametrize(("sigma", "truth"), [(1, 5.435e-4), (1.5, 2.270e-9), (2, 7.157e-17)])
def test_ten_equal_parts_are_as_far_from_gaussian_as_published(sigma: float, truth: float) -> None:
    assert tau(np.full(10, sigma**2)) == pytest.approx(truth, rel=1e-3)
    explicit = 10 * sum(np.exp(-2 * np.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, 10))
    assert tau(np.full(10, sigma**2)) == pytest.approx(explicit, rel=1e-12)


def test_one_part_is_a_discrete_gaussian() -> None:
    event = DiscreteGaussianSum(3.0, 5, (4.0,), 1, 0)
    np.testing.assert_allclose(
        discrete_gaussian_divergence(event, np.array([2.0, 9.5])), np.array([2.0, 9.5]) * 9 / 8
    )


def test_the_sum_is_the_least_of_three_bounds() -> None:
    event = DiscreteGaussianSum(3.0, 5, (0.5,), 4, 1)
    off, v, d, l1, l2 = tau(np.full(3, 0.5)), 1.5, 5, 3 * 5**0.5, 3.0
    for a in (1.5, 2.0, 30.0):
        bounds = (
            a * l2**2 / (2 * v) + off * d,
            a / 2 * (l2**2 / v + 2 * l1 * off / v**0.5 + off**2 * d),
            a / 2 * (l2 / v**0.5 + off * d**0.5) ** 2,
        )
        assert divergence(event, a) == pytest.approx(min(bounds), rel=1e-13)


@pytest.mark.parametrize("epsilon", [1e-9, 1e-3, 1.0, 40.0])
@pytest.mark.parametrize("order", [1.0001, 2.0, 50.0, 1e5])
def test_pure_privacy_is_randomised_response(epsilon: float, order: float) -> None:
    with mp.workdps(60):
        e, a = mp.mpf(epsilon), mp.mpf(order)
        truth = mp.log((mp.exp(a * e) + mp.exp((1 - a) * e)) / (1 + mp.exp(e))) / (a - 1)
    assert divergence(PureDP(epsilon), order) == pytest.approx(float(truth), rel=TOLERANCE, abs=0)


def test_counts_multiply() -> None:
    assert divergence(ZeroConcentrated(0.25, 3), 4.0) == 3.0
    assert divergence(Gaussian(2, 7), 3.0) == pytest.approx(7 * 3 / 8)
    joint = AdaptiveClipGaussian(1.5, 4.0, 0.05, 2)
    assert divergence(joint, 3.5) == 2 * divergence(SampledGaussian(joint.noise_multiplier, 0.05), 3.5)


@pytest.mark.parametrize("order", [1, 0.5, nan, inf, 2e5, "2"])
def test_an_order_out_of_range_is_named(order: float) -> None:
    with pytest.raises(PrivacyParameter, match="order must be"):
        divergence(Gaussian(1), order)


@pytest.mark.parametrize("wrong", [-1e-30, nan])
def test_a_divergence_that_is_negative_or_nan_is_an_error(wrong: float) -> None:
    curve = Curve(Gaussian(1))
    curve._divergence = lambda orders: np.where(orders > 2, wrong, 1.0)
    assert curve.at(np.array([1.5])) == 1.0
    with pytest.raises(PrivacyError, match="negative or NaN"):
        curve.at(np.array([1.5, 3.0]))
