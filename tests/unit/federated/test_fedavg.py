# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from hospitals import NAMES, hospitals, masked, plain, pooled
from sordino.course.arrays import unpack_arrays
from sordino.course.follow import course, follow
from sordino.course.stage import body
from sordino.errors import Diverged, PolicyError
from sordino.federated.local import Local
from sordino.federated.training import Training
from sordino.models.linear import Linear
from sordino.models.logistic import Logistic

FINE = Training(
    columns=3,
    sites=4,
    max_patients=64,
    l2=0.1,
    rounds=12,
    learning_rate=0.3,
    momentum=0.0,
    standardise=False,
    clip=2.0,
    wanted_bits=50,
)


@pytest.mark.parametrize("aggregator", [plain, masked])
def test_one_full_batch_step_a_round_is_pooled_gradient_descent(aggregator):
    sites = hospitals()
    with aggregator(FINE) as sums:
        state = follow(FINE.turns(), sums, sites, FINE.initial())
    model, (features, target) = FINE.model, pooled(sites)
    parameters = model.initial()
    for _ in range(FINE.rounds):
        parameters -= model.rates(0.3) * model.gradient(parameters, features, target)
    np.testing.assert_allclose(state["parameters"], parameters, rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("form", [Logistic, Linear])
def test_with_l1_it_is_pooled_proximal_descent_with_the_same_zeros(form, momentum):
    model, sites = form(3, l2=0.1, l1=0.06), hospitals()
    training = replace(FINE, learner=model, momentum=momentum, rounds=200)
    with plain(training) as sums:
        state = follow(training.turns(), sums, sites, training.initial())
    (features, target), rates = pooled(sites), model.rates(0.3)
    parameters, velocity = model.initial(), np.zeros(4)
    for _ in range(200):
        velocity = momentum * velocity - rates * model.gradient(parameters, features, target)
        there = model.proximal(parameters + velocity, rates)
        parameters, velocity = there, there - parameters
    np.testing.assert_allclose(state["parameters"], parameters, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(state["parameters"] == 0.0, parameters == 0.0)
    assert 0 < np.sum(parameters == 0.0) < 3


def test_several_local_steps_are_the_weighted_mean_of_local_descents():
    training, sites = replace(FINE, local_steps=5, rounds=3), hospitals()
    with masked(training) as sums:
        state = follow(training.turns(), sums, sites, training.initial())
    model = training.model
    expected = model.initial()
    for _ in range(3):
        changes = []
        for site in sites.values():
            local = expected.copy()
            for _ in range(5):
                local -= model.rates(0.3) * model.gradient(local, site.features, site.target)
            changes.append(len(site.target) * (local - expected))
        expected = expected + sum(changes) / sum(len(site.target) for site in sites.values())
    np.testing.assert_allclose(state["parameters"], expected, rtol=0, atol=1e-12)


def test_momentum_repeats_a_part_of_the_last_step():
    training, sites = replace(FINE, momentum=0.5, rounds=2), hospitals()
    with plain(training) as sums:
        state = follow(training.turns(), sums, sites, training.initial())
    model, (features, target) = training.model, pooled(sites)
    first = -model.rates(0.3) * model.gradient(model.initial(), features, target)
    second = 0.5 * first - model.rates(0.3) * model.gradient(first, features, target)
    np.testing.assert_allclose(state["parameters"], first + second, rtol=0, atol=1e-12)


def test_masked_training_with_dropouts_equals_plain_training_bit_for_bit():
    training, sites, integers = replace(FINE, wanted_bits=30), hospitals(), {}

    def lose(_, number):
        return {NAMES[number % 4]: ("upload", "confirm", "unmask")[number % 3]}

    def keep(name):
        return lambda event: integers.setdefault(name, []).append(event.total.integers)

    states = {}
    for name, aggregator in [("plain", plain), ("masked", masked)]:
        with aggregator(training) as sums:
            states[name] = follow(
                training.turns(), sums, sites, training.initial(), lose=lose, notify=keep(name)
            )
    np.testing.assert_array_equal(integers["masked"], integers["plain"])
    np.testing.assert_array_equal(states["masked"]["parameters"], states["plain"]["parameters"])


def test_losses_are_the_mean_training_loss_before_each_round():
    sites = hospitals()
    with masked(FINE) as sums:
        state = follow(FINE.turns(), sums, sites, FINE.initial())
    features, target = pooled(sites)
    assert len(state["losses"]) == FINE.rounds
    assert state["losses"][0] == pytest.approx(np.log(2.0), abs=1e-6)
    assert state["losses"][-1] < state["losses"][0]
    last = FINE.model.loss(state["parameters"], features, target)
    assert last <= state["losses"][-1]


def test_batches_go_through_every_patient_before_one_comes_again():
    algorithm = Local(steps=4, batch_size=6)
    batches = algorithm.batches("north", 22, 3)
    assert sorted(np.concatenate(batches).tolist()) == list(range(22))
    assert [len(batch) for batch in batches] == [6, 6, 5, 5]
    again, elsewhere = algorithm.batches("north", 22, 3), algorithm.batches("south", 22, 3)
    np.testing.assert_array_equal(np.concatenate(batches), np.concatenate(again))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(elsewhere))


def test_batch_that_holds_everyone_is_a_full_batch():
    algorithm = Local(steps=2, batch_size=22)
    assert algorithm.batches("north", 22, 0) == [slice(None), slice(None)]


@pytest.mark.parametrize("rate", [1e5, 1e300])
def test_diverging_training_stops_with_the_best_model_and_names_site_and_feature(rate):
    training, events = replace(FINE, learning_rate=rate), []
    with masked(training) as sums:
        state = follow(training.turns(), sums, hospitals(), training.initial(), notify=events.append)
    (halted,) = events
    assert re.search(r"east.*feature 0.*update_clip = 2", halted.reason)
    np.testing.assert_array_equal(state["parameters"], training.model.initial())


def test_sum_that_is_no_training_does_not_hide_a_divergence():
    training = replace(FINE, learning_rate=1e5)
    with plain(training) as sums, pytest.raises(Diverged, match=r"east.*feature 0"):
        follow(course((training.fedavg, 1)), sums, hospitals(), training.initial())


def test_body_carries_the_model_and_nothing_of_the_coordinators_memory():
    algorithm = FINE.fedavg
    state = {**FINE.initial(), "parameters": np.arange(4.0)}
    sent = unpack_arrays(body(algorithm, state))
    assert set(sent) == {"parameters", "learning_rate", "round"}
    np.testing.assert_array_equal(sent["parameters"], np.arange(4.0))


def test_a_site_that_missed_rounds_is_in_step_when_it_is_back():
    def lose(_, number):
        return {"north": "upload"} if 2 <= number <= 4 else {}

    events = {plain: [], masked: []}
    for aggregator, seen in events.items():
        with aggregator(FINE) as sums:
            follow(FINE.turns(), sums, hospitals(), FINE.initial(), lose=lose, notify=seen.append)
    assert ["north" in event.total.survivors for event in events[masked][:5]] == [
        True,
        False,
        False,
        False,
        True,
    ]
    for ours, theirs in zip(events[masked], events[plain], strict=True):
        np.testing.assert_array_equal(ours.total.integers, theirs.total.integers)


def test_what_cannot_fit_64_bits_is_refused_when_it_is_planned():
    crowded = Training(columns=2, sites=4000, max_patients=2**40, learning_rate=0.1, standardise=False)
    with pytest.raises(PolicyError, match="max_patients"):
        crowded.questions()


def test_resolution_gives_way_before_the_plan_is_refused():
    crowded = Training(columns=2, sites=1000, max_patients=2**30, learning_rate=0.1, standardise=False)
    (question,) = crowded.questions()
    assert 8 <= question.blocks[0].fraction_bits < 30
