# SPDX-License-Identifier: Apache-2.0

"""The accountant: one suite for every path, the exact path's digits, and what is never below the truth."""

from __future__ import annotations

import sys
import warnings
from math import log
from types import ModuleType

import mpmath as mp
import numpy as np
import pytest

from reference import renyi
from sordino.errors import PrivacyError
from sordino.privacy.accountant import Accountant
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
)
from unit.privacy.conformance import AccountantSuite


def dp_accounting() -> ModuleType:
    """The peer, or a skip where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("dp_accounting")


class TestGaussian(AccountantSuite):
    rounds = (Gaussian(4, 100), Gaussian(9, 10))
    methods = frozenset({"gaussian"})


class TestSampledGaussian(AccountantSuite):
    rounds = (SampledGaussian(1.1, 0.01, 1000), SampledGaussian(0.9, 0.002, 100))
    methods = frozenset({"rdp"})


class TestHardlySampledGaussian(AccountantSuite):
    rounds = (SampledGaussian(8.0, 0.999, 30),)
    methods = frozenset({"gaussian"})


class TestMixed(AccountantSuite):
    rounds = (SampledGaussian(1.1, 0.01, 500), Gaussian(20, 3), ZeroConcentrated(1e-3), PureDP(0.01))
    methods = frozenset({"rdp"})


class TestFixedSize(AccountantSuite):
    rounds = (FixedSizeSampledGaussian(3.0, 0.02, 50),)
    methods = frozenset({"rdp"})


class TestDiscreteSum(AccountantSuite):
    rounds = (DiscreteGaussianSum(1000.0, 10**6, (1e6, 2e5), 10, 3, count=10),)
    methods = frozenset({"rdp"})


class TestSampledDiscreteSum(AccountantSuite):
    rounds = (DiscreteGaussianSum(1000.0, 10**4, (1e6,), 10, 3, 0.02, 100),)
    methods = frozenset({"rdp"})


class TestAdaptiveClip(AccountantSuite):
    rounds = (AdaptiveClipGaussian(1.2, 5.0, 0.02, 200),)
    methods = frozenset({"rdp"})


class TestPure(AccountantSuite):
    rounds = (PureDP(0.05, 40),)
    methods = frozenset({"rdp"})


class TestZeroConcentrated(AccountantSuite):
    rounds = (ZeroConcentrated(0.005, 40),)
    methods = frozenset({"rdp"})


class TestWithDistributions(AccountantSuite):
    rounds = (SampledGaussian(1.1, 0.01, 50), Gaussian(6.0, 2))
    methods = frozenset({"pld", "rdp"})
    pld = True

    @pytest.fixture(autouse=True)
    def _peer(self) -> None:
        dp_accounting()

    def test_it_is_the_smaller_bound(self) -> None:
        found = self.accountant().epsilon(1e-5)
        assert found.method == "pld"
        assert found.epsilon < Accountant(self.rounds).epsilon(1e-5).epsilon


def test_distributions_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(PrivacyError, match=r"need dp-accounting: pip install 'sordino\[pld\]'"):
        Accountant([SampledGaussian(1.23, 0.01)], pld=True).epsilon(1e-5)


@pytest.mark.parametrize(
    ("sigma", "count", "delta", "truth"), [(4, 100, 1e-5, 13.206712), (1, 1, 1e-5, 4.377178)]
)
def test_published_epsilons_without_sampling(sigma: float, count: int, delta: float, truth: float) -> None:
    found = Accountant([Gaussian(sigma, count)]).epsilon(delta)
    assert found.epsilon == pytest.approx(truth, abs=5e-7)
    assert found.method == "gaussian"


@pytest.mark.parametrize("delta", [1e-15, 1e-5, 0.05, 0.5])
@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0, 2.5, 12.0, 90.0])
def test_the_exact_path_is_exact_and_never_below(mu: float, delta: float) -> None:
    ours = Accountant([Gaussian(1 / mu)]).epsilon(delta).epsilon
    mu = 1 / (1 / mu)
    if renyi.gaussian_delta(mu, 0) <= delta:
        assert ours == 0
        return
    with mp.workdps(60):
        truth = mp.findroot(lambda e: mp.log(renyi.gaussian_delta(mu, e)) - mp.log(delta), ours)
        assert 0 <= ours - truth <= 1e-9 * max(1, truth)
    found = Accountant([Gaussian(1 / mu)]).delta(max(ours, 1e-3)).delta
    exact = float(renyi.gaussian_delta(mu, max(ours, 1e-3)))
    assert exact * (1 - 1e-15) <= found <= exact * (1 + 1e-9) + 1e-300


def test_gaussians_of_different_noise_compose_exactly() -> None:
    one = Accountant([Gaussian(3, 4), Gaussian(5, 9), SampledGaussian(7.0, 1.0, 2)]).epsilon(1e-6)
    other = Accountant([Gaussian((4 / 9 + 9 / 25 + 2 / 49) ** -0.5)]).epsilon(1e-6)
    assert one.epsilon == pytest.approx(other.epsilon, rel=1e-12)
    assert one.method == "gaussian"


def test_the_published_optimum_with_sampling() -> None:
    found = Accountant([SampledGaussian(1.1, 0.01, 10_000)]).epsilon(1e-5)
    assert found.epsilon <= 5.631810 + 1e-6
    assert found.epsilon == pytest.approx(5.631809667, abs=2e-9)
    assert found.method == "rdp"


@pytest.mark.parametrize(
    "events",
    [
        [SampledGaussian(0.3, 1e-6)],
        [SampledGaussian(1e4, 1e-6, 100)],
        [SampledGaussian(0.5, 0.3, 5)],
        [SampledGaussian(40.0, 0.01, 10**6)],
        [PureDP(0.3, 9), SampledGaussian(0.8, 0.004, 77)],
        [FixedSizeSampledGaussian(2.0, 0.01, 9)],
        [DiscreteGaussianSum(5.0, 7, (3.0,), 4, 1, 0.05, 11)],
    ],
)
@pytest.mark.parametrize("delta", [1e-10, 1e-3])
def test_no_order_of_a_dense_grid_is_better(events: list[Event], delta: float) -> None:
    accountant = Accountant(events)
    found = accountant.epsilon(delta).epsilon
    orders = np.append(1 + np.geomspace(1e-5, 1e5 - 1, 4000), np.arange(2.0, 200.0))
    composed = accountant.divergence(orders)
    grid = composed + np.log1p(-1 / orders) - (log(delta) + np.log(orders)) / (orders - 1)
    assert found <= max(grid.min(), 0.0) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize(
    ("sigma", "q", "count"), [(1.1, 0.01, 1000), (0.6, 0.002, 50), (3.0, 0.2, 40), (1.0, 1.0, 3)]
)
def test_epsilon_is_between_the_truth_and_the_peers_renyi_bound(sigma: float, q: float, count: int) -> None:
    peer = dp_accounting()
    from dp_accounting import pld, rdp

    ours = Accountant([SampledGaussian(sigma, q, count)]).epsilon(1e-5).epsilon
    low = pld.privacy_loss_distribution.from_gaussian_mechanism(
        sigma, sampling_prob=q, pessimistic_estimate=False
    ).self_compose(count)
    accountant = rdp.RdpAccountant()
    accountant.compose(peer.PoissonSampledDpEvent(q, peer.GaussianDpEvent(sigma)), count)
    assert low.get_epsilon_for_delta(1e-5) <= ours <= accountant.get_epsilon(1e-5)


@pytest.mark.parametrize(("sigma", "q"), [(2.0, 0.01), (0.7, 0.3)])
def test_fixed_size_is_the_peers_at_integer_orders(sigma: float, q: float) -> None:
    peer = dp_accounting()
    from dp_accounting import rdp

    orders = [2, 3, 8, 17, 64]
    accountant = rdp.RdpAccountant(orders, neighboring_relation=peer.NeighboringRelation.REPLACE_ONE)
    accountant.compose(
        peer.SampledWithoutReplacementDpEvent(1000, round(1000 * q), peer.GaussianDpEvent(sigma))
    )
    ours = Accountant([FixedSizeSampledGaussian(sigma, q)]).divergence(np.array(orders, float))
    unsampled = np.array(orders) / (2 * sigma**2)
    np.testing.assert_allclose(ours, np.minimum(accountant._rdp, unsampled), rtol=1e-9)


@pytest.mark.parametrize("variances", [(0.25, 0.25), (1.0, 0.3, 4.0), (9.0,)])
def test_a_discrete_sum_is_never_below_the_truth(variances: tuple[float, ...]) -> None:
    event = DiscreteGaussianSum(1.0, 1, variances, 3, 1)
    parts = [variance for variance in variances for _ in range(2)]
    accountant = Accountant([event])
    for epsilon in (0.05, 0.3, 1.0, 2.5):
        truth = renyi.discrete_gaussian_sum_delta(parts, 1, epsilon)
        assert accountant.delta(epsilon).delta >= truth
        if truth > 1e-12:
            assert accountant.epsilon(truth).epsilon >= epsilon


def test_a_history_of_ten_thousand_rounds_is_exact_at_each() -> None:
    event = SampledGaussian(1.1, 0.01)
    history = Accountant([event] * 10_000).history(1e-5)
    for rounds in (1, 2, 10, 100, 999, 10_000):
        scratch = Accountant([SampledGaussian(1.1, 0.01, rounds)]).epsilon(1e-5).epsilon
        assert history[rounds - 1] == pytest.approx(scratch, rel=1e-9, abs=0)


def test_a_valley_of_orders_a_thousandth_wide_is_found() -> None:
    event, delta = SampledGaussian(1.311774457466922, 2.05e-6, 2000), 1.373e-7
    accountant = Accountant([event])
    found = accountant.epsilon(delta)
    assert found.order is not None
    orders = found.order + np.linspace(-0.2, 0.2, 4001)
    grid = (
        accountant.divergence(orders) + np.log1p(-1 / orders) - (log(delta) + np.log(orders)) / (orders - 1)
    )
    assert found.epsilon <= grid.min() * (1 + 1e-9)
    assert accountant.history(delta)[-1] == pytest.approx(found.epsilon, rel=1e-9)


def test_a_history_of_many_distinct_events_is_valid_and_close() -> None:
    events = [SampledGaussian(1 + place / 1000, 0.01) for place in range(300)]
    history = Accountant(events).history(1e-5)
    for rounds in (1, 50, 300):
        scratch = Accountant(events[:rounds]).epsilon(1e-5).epsilon
        assert scratch * (1 - 1e-12) <= history[rounds - 1] <= scratch * (1 + 1e-3)


def test_a_history_too_long_to_hold_is_refused() -> None:
    with pytest.raises(PrivacyError, match="a history holds at most 10,000,000 rounds"):
        Accountant([Gaussian(1e6, 10**12)]).history(1e-5)


def test_huge_counts_are_answered() -> None:
    assert 0 < Accountant([Gaussian(1e7, 10**12)]).epsilon(1e-5).epsilon < 1
    assert Accountant([SampledGaussian(0.01, 1.0, 10**12)]).epsilon(1e-5).epsilon > 1e15


def test_nothing_released_costs_nothing() -> None:
    found = Accountant().epsilon(1e-5)
    assert (found.epsilon, found.method, found.order) == (0.0, "nothing", None)
    assert Accountant().delta(1.0).delta == 0.0
    assert Accountant().history(1e-5).shape == (0,)


def test_what_delta_covers_wholly_costs_no_epsilon() -> None:
    assert Accountant([SampledGaussian(10.0, 1e-6)]).epsilon(1e-5).epsilon == 0
    assert Accountant([Gaussian(1e9)]).epsilon(1e-5).epsilon == 0


def test_units_are_never_mixed() -> None:
    accountant = Accountant([Release((Gaussian(2),), "patient")])
    before = accountant.epsilon(1e-5)
    assert before.unit == "patient"
    with pytest.raises(PrivacyError, match="about one site cannot be added to those about one patient"):
        accountant.compose(Release((Gaussian(2),), "patient"), Release((Gaussian(2),), "site"))
    assert accountant.epsilon(1e-5) == before


def test_neighbours_are_never_mixed() -> None:
    with pytest.raises(PrivacyError, match="fixed-size sampling speaks of neighbours that replace one unit"):
        Accountant([SampledGaussian(1.0, 0.1), FixedSizeSampledGaussian(1.0, 0.1)])
    with pytest.raises(PrivacyError, match="keep an accountant for each"):
        Accountant([FixedSizeSampledGaussian(1.0, 0.1), DiscreteGaussianSum(5.0, 7, (3.0,), 4, 1, 0.05)])
    Accountant([FixedSizeSampledGaussian(1.0, 0.1), DiscreteGaussianSum(5.0, 7, (3.0,), 4, 1)])
    Accountant([Gaussian(1.0), FixedSizeSampledGaussian(1.0, 0.1)])


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(PrivacyError, match="an event of sordino.privacy.events was expected, got 1.1"):
        Accountant([1.1])  # type: ignore[list-item]  # that is the test


def test_wrapping_is_told_beside_delta() -> None:
    releases = [Release((Gaussian(2),), "patient", wrap_probability=1e-12)] * 5
    found = Accountant(releases).epsilon(1e-5)
    assert found.wrap_probability == pytest.approx(5e-12)
    assert found.epsilon == Accountant([Gaussian(2, 5)]).epsilon(1e-5).epsilon


def test_a_samplers_distance_is_charged_to_delta() -> None:
    distance, delta = 1e-9, 1e-5
    release = Release((SampledGaussian(1.1, 0.01),), "patient", distance=distance)
    accountant = Accountant([release] * 100)
    found = accountant.epsilon(delta).epsilon
    ideal = Accountant([SampledGaussian(1.1, 0.01, 100)])
    assert found > ideal.epsilon(delta).epsilon
    left = delta - 100 * distance * (1 + np.exp(found))
    assert found == pytest.approx(ideal.epsilon(left).epsilon, rel=1e-9)
    assert accountant.delta(found).delta == pytest.approx(delta, rel=1e-6)
    history = accountant.history(delta)
    assert history[-1] == pytest.approx(found, rel=1e-9)
    with pytest.raises(PrivacyError, match="delta 1e-05 cannot pay for noise that is 0.001 away from ideal"):
        Accountant([Release((Gaussian(2),), "patient", distance=1e-3)]).epsilon(1e-5)


@pytest.mark.parametrize("sampling_rate", [1.0, 0.1, 0.01])
def test_a_long_history_of_bounds_is_never_below_the_searched_one(sampling_rate: float) -> None:
    event = DiscreteGaussianSum(1000.0, 4, (2.5e6,), 5, 1, sampling_rate)
    history = Accountant([event] * 1100).history(1e-5)
    for rounds in (1, 10, 100, 1100):
        searched = Accountant([event] * rounds).epsilon(1e-5).epsilon
        assert searched * (1 - 1e-12) <= history[rounds - 1] <= searched * 1.01
