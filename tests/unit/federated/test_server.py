# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from hospitals import hospitals, plain
from sordino.course.follow import follow
from sordino.errors import InvalidArgument
from sordino.federated.local import Local
from sordino.federated.server import Adam, Momentum
from sordino.federated.training import Training

ROUNDS = 30


def training(server, **settings):
    terms = {"rounds": ROUNDS, "learning_rate": 0.2, "local_steps": 3, "wanted_bits": 50, "clip": 2.0}
    return Training(
        columns=3, sites=4, max_patients=64, l2=0.1, standardise=False, server=server, **(terms | settings)
    )


def mean_change(model, parameters, sites, steps=3):
    total, patients = np.zeros(model.size), 0
    for site in sites.values():
        local = parameters.copy()
        for _ in range(steps):
            local -= model.rates(0.2) * model.gradient(local, site.features, site.target)
        total += len(site.target) * (local - parameters)
        patients += len(site.target)
    return total / patients


def trained(settings, sites):
    with plain(settings) as sums:
        return follow(settings.turns(), sums, sites, settings.initial())


@pytest.mark.parametrize(("momentum", "rate"), [(0.0, 1.0), (0.9, 0.3), (0.5, 1.5)])
def test_momentum_is_fedavgm(momentum, rate):
    sites, settings = hospitals(), training(Momentum(momentum, rate))
    parameters, velocity = np.zeros(4), np.zeros(4)
    for _ in range(ROUNDS):
        velocity = momentum * velocity + mean_change(settings.model, parameters, sites)
        parameters = parameters + rate * velocity
    np.testing.assert_allclose(trained(settings, sites)["parameters"], parameters, rtol=0, atol=1e-11)


def test_adam_is_algorithm_2_of_reddi_et_al():
    sites, settings = hospitals(), training(Adam(learning_rate=0.05, beta1=0.8, beta2=0.95, tau=0.01))
    parameters, first, second = np.zeros(4), np.zeros(4), np.full(4, 0.01**2)
    for _ in range(ROUNDS):
        change = mean_change(settings.model, parameters, sites)
        first = 0.8 * first + 0.2 * change
        second = 0.95 * second + 0.05 * change**2
        parameters = parameters + 0.05 * first / (np.sqrt(second) + 0.01)
    np.testing.assert_allclose(trained(settings, sites)["parameters"], parameters, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Momentum(1.0),
        lambda: Momentum(0.5, 0.0),
        lambda: Adam(learning_rate=-1.0),
        lambda: Adam(beta1=1.0),
        lambda: Adam(beta2=float("nan")),
        lambda: Adam(tau=0.0),
        lambda: Local(steps=0),
        lambda: Local(steps=2, epochs=2),
        lambda: Local(batch_size=0),
        lambda: Local(proximal=-1.0),
        lambda: Local(proximal=float("inf")),
    ],
)
def test_what_is_out_of_range_is_refused(make):
    with pytest.raises(InvalidArgument):
        make()


def test_epochs_are_passes_over_a_sites_own_patients():
    local = Local(epochs=3, batch_size=8)
    for patients, steps in [(5, 3), (8, 3), (9, 6), (31, 12)]:
        batches = local.batches("east", patients, 0)
        assert len(batches) == steps
        seen = np.concatenate([np.arange(patients)[rows] for rows in batches])
        np.testing.assert_array_equal(np.bincount(seen, minlength=patients), np.full(patients, 3))


def test_batches_are_drawn_by_seed_round_and_site():
    def drawn(seed, name, number):
        return np.concatenate(Local(epochs=2, batch_size=4, seed=seed).batches(name, 30, number)).tolist()

    assert drawn(1, "east", 5) == drawn(1, "east", 5)
    others = [drawn(2, "east", 5), drawn(1, "west", 5), drawn(1, "east", 6)]
    assert drawn(1, "east", 5) not in others


def test_batched_training_is_the_same_again_and_another_by_another_seed():
    def fitted(seed):
        settings = training(Momentum(), local_steps=1, epochs=2, batch_size=8, seed=seed)
        return trained(settings, hospitals())["parameters"]

    np.testing.assert_array_equal(fitted(3), fitted(3))
    assert np.abs(fitted(3) - fitted(4)).max() > 1e-6
