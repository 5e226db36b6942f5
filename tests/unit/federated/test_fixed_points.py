# SPDX-License-Identifier: Apache-2.0

"""Where each algorithm comes to rest, against what is known on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hospitals import hospitals, pooled
from hospitals import masked as masked_training
from hospitals import plain as plain_training
from quadratic import PARABOLAS, Quadratic, masked, plain, policy_for, sites_of
from sordino.course.follow import course, follow
from sordino.federated.fedavg import FedAvg
from sordino.federated.local import Local
from sordino.federated.scaffold import Scaffold
from sordino.federated.server import Momentum
from sordino.federated.training import Training

OPTIMUM = -9.0 / 11.0
RATE = 0.05


def averaging(steps, *, proximal=0.0, bits=50, sites=4, max_patients=1):
    return FedAvg(
        Quadratic(),
        sites=sites,
        max_patients=max_patients,
        local=Local(steps=steps, proximal=proximal),
        server=Momentum(0.0),
        clip=4.0,
        wanted_bits=bits,
    )


def rests_at(stage, sites=None, *, rounds=200, sums=plain):
    sites = sites or sites_of()
    with sums(policy_for([stage], sites), sites) as aggregator:
        state = follow(course((stage, rounds)), aggregator, sites, stage.initial(RATE))
    return float(state["parameters"][0])


def fixed_point(parabolas, weights, steps):
    """Of federated averaging: after k steps from x a site is at b + (1 - rate a)^k (x - b)."""
    kept = np.array([1.0 - (1.0 - RATE * a) ** steps for a, _ in parabolas]) * weights
    return float(kept @ np.array([b for _, b in parabolas]) / kept.sum())


def test_the_fixed_points_on_paper_are_those_of_the_literature():
    parabolas = list(PARABOLAS.values())
    assert fixed_point(parabolas, np.ones(4), 10) == pytest.approx(-0.426884, abs=5e-7)
    assert pytest.approx(-0.818182, abs=5e-7) == OPTIMUM


def test_averaging_of_several_steps_rests_beside_the_optimum():
    assert rests_at(averaging(10)) == pytest.approx(
        fixed_point(list(PARABOLAS.values()), np.ones(4), 10), abs=1e-12
    )
    assert rests_at(averaging(1)) == pytest.approx(OPTIMUM, abs=1e-12)


def test_fedprox_solved_exactly_rests_where_the_proximal_points_balance():
    # argmin of f_i + 1/2 (x - theta)^2 is (a b + theta) / (a + 1), so a (b - theta) / (a + 1) has mean 0.
    terms = [(a / (a + 1.0), b) for a, b in PARABOLAS.values()]
    expected = sum(weight * b for weight, b in terms) / sum(weight for weight, _ in terms)
    assert expected == pytest.approx(-0.290323, abs=5e-7)
    # 400 steps leave 0.905^400 of the way.
    assert rests_at(averaging(400, proximal=1.0), rounds=60) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mu", [30.0, 1e6])
def test_fedprox_is_stable_however_stiff(mu):
    assert -1.0 <= rests_at(averaging(10, proximal=mu)) <= 1.0


def test_fedprox_of_few_steps_rests_nearer_the_optimum_than_averaging():
    drifted, held = (abs(rests_at(averaging(10, proximal=mu)) - OPTIMUM) for mu in (0.0, 10.0))
    assert held < 0.7 * drifted


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_scaffold_rests_at_the_optimum_whatever_the_local_steps(steps):
    assert rests_at(Scaffold(averaging(steps)), rounds=400) == pytest.approx(OPTIMUM, abs=1e-12)


def test_masked_scaffold_rests_at_the_optimum_to_the_resolution():
    stage = Scaffold(averaging(10, bits=30))
    assert rests_at(stage, sums=masked, rounds=120) == pytest.approx(OPTIMUM, abs=2.0**-27)


def test_scaffold_of_unequal_sites_rests_at_the_optimum_of_all_patients():
    patients = [1, 2, 5, 40]
    parabolas = {"east": (1.0, 1.0), "north": (2.0, 0.5), "south": (10.0, -1.0), "west": (4.0, 3.0)}
    weights = np.array(patients) * np.array([a for a, _ in parabolas.values()])
    optimum = float(weights @ np.array([b for _, b in parabolas.values()]) / weights.sum())
    stage = averaging(10, max_patients=40)
    assert rests_at(Scaffold(stage), sites_of(parabolas, patients), rounds=400) == pytest.approx(
        optimum, abs=1e-11
    )
    averaged = rests_at(stage, sites_of(parabolas, patients))
    assert averaged == pytest.approx(fixed_point(list(parabolas.values()), np.array(patients), 10), abs=1e-11)
    assert abs(averaged - optimum) > 0.01


DESCENT = Training(
    columns=3,
    sites=4,
    max_patients=64,
    l2=0.1,
    rounds=200,
    learning_rate=0.3,
    momentum=0.0,
    standardise=False,
    clip=2.0,
    wanted_bits=50,
)


class EqualWeights:
    """A broken federated averaging in which all sites weigh the same."""

    def __init__(self, stage):
        self.stage = stage

    def __getattr__(self, name):
        return getattr(self.stage, name)

    def contribute(self, site, known):
        return replace(self.stage.contribute(site, known), weight=1)


def descended(sites, rounds):
    features, target = pooled(sites)
    parameters = DESCENT.model.initial()
    for _ in range(rounds):
        parameters -= DESCENT.model.rates(0.3) * DESCENT.model.gradient(parameters, features, target)
    return parameters


@pytest.mark.parametrize(
    ("sums", "bits", "off"), [(plain_training, 50, 1e-12), (masked_training, 30, 2.0**-27)]
)
def test_200_rounds_of_one_full_step_are_pooled_gradient_descent(sums, bits, off):
    training, sites = replace(DESCENT, wanted_bits=bits), hospitals()
    with sums(training) as aggregator:
        state = follow(training.turns(), aggregator, sites, training.initial())
    np.testing.assert_allclose(state["parameters"], descended(sites, 200), rtol=0, atol=off)


def test_equal_weights_are_not_pooled_gradient_descent():
    sites = hospitals()
    with plain_training(DESCENT) as aggregator:
        state = follow(course((EqualWeights(DESCENT.fedavg), 200)), aggregator, sites, DESCENT.initial())
    assert np.abs(state["parameters"] - descended(sites, 200)).max() > 1e-3
