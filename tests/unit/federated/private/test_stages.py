# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hospitals import NAMES, hospitals, pooled
from sordino.aggregation.base import Aggregate
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.answer import Answering
from sordino.course.follow import Summed, follow, nobody_is_lost
from sordino.course.noise import plan_noise
from sordino.course.terms import PrivateTerms
from sordino.errors import StateError
from sordino.federated.private.clipping import ClipRule
from sordino.federated.private.descent import Descent, poisson_batch
from sordino.federated.private.evaluation import noised_area
from sordino.federated.site import Site
from sordino.federated.study.outcomes.classes import auc
from sordino.federated.training import Training
from sordino.models.logistic import Logistic
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.privacy.charge import read_charge
from sordino.privacy.cost import cost
from sordino.privacy.guard import BudgetGuard
from sordino.privacy.local import private_sums
from sordino.privacy.mechanisms import release_of
from sordino.statistics.noised_scaling import PrivateMeans
from sordino.statistics.scaling import standardised

TERMS = PrivateTerms("patient", 50.0, 1e-5)
PATIENTS = Answering("patient", 4, 200, {})


def trained(terms=TERMS, *, sites=None, lose=None, **changes):
    """A whole private training: its plan, its events, its state, and what every site was charged."""
    training = Training(
        columns=3,
        sites=4,
        learning_rate=0.5,
        private=terms,
        **{"rounds": 6, "bins": 10, "max_patients": 200, **changes},
    )
    plan = plan_noise(training.demands(), terms, study="test", sites=4, rounds=50)
    training = replace(training, noise={one.kind: one.noise for one in plan.policy.plan})
    events = []
    with MaskedAggregator(plan.policy, NAMES, guard=lambda _: BudgetGuard(plan.budget)) as sums:
        state = follow(
            training.turns(),
            sums,
            sites or hospitals(held_out=8),
            training.initial(),
            lose=lose or nobody_is_lost,
            notify=events.append,
        )
        return plan, events, state, sums.charges


@pytest.mark.parametrize(
    ("unit", "rate"),
    [("patient", 1.0), ("patient", 0.3), ("patient-local", 1.0), ("patient-local", 0.3), ("site", 1.0)],
)
def test_sites_are_charged_for_just_what_was_planned(unit, rate):
    plan, events, _, charges = trained(replace(TERMS, unit=unit, sampling_rate=rate))
    assert all(isinstance(event, Summed) for event in events)
    for charged in charges.values():
        found = {}
        for price, times in charged.items():
            charge = read_charge(price)
            assert charge.release == release_of(plan.policy, plan.policy.question(charge.kind), 4)
            assert cost({charge.release: 1}, 1e-5).epsilon == pytest.approx(plan.epsilon_of(charge.kind))
            found[charge.kind] = times
        assert found == dict(plan.times)


def test_network_learns_under_noise():
    network, sites = MultiLayerPerceptron(3, (4,)), hospitals(held_out=8)
    _, events, state, _ = trained(sites=sites, learner=network, rounds=20)
    assert [event.turn.stage.kind for event in events].count("gradient") == 20

    def loss(parameters):
        features = [standardised(site.features, state) for site in sites.values()]
        return network.loss(parameters, np.concatenate(features), pooled(sites)[1])

    assert loss(state["parameters"]) < 0.9 * loss(network.initial())


def test_gradients_of_patients_add_up_to_that_of_all():
    random = np.random.default_rng(3)
    model, features = Logistic(4, 0.1), random.normal(size=(20, 4))
    target, parameters = (random.random(20) < 0.5).astype(float), random.normal(size=5)
    rows = model.gradients(parameters, features, target)
    assert rows.shape == (20, 5)
    np.testing.assert_allclose(
        rows.mean(axis=0) + model.penalty_gradient(parameters), model.gradient(parameters, features, target)
    )


def test_with_little_noise_and_a_wide_clip_a_step_is_that_of_gradient_descent():
    terms = PrivateTerms("patient", 100.0, 1e-2, clip=50.0)
    training = Training(
        columns=3, sites=4, max_patients=200, rounds=1, learning_rate=0.5, standardise=False, private=terms
    )
    plan = plan_noise(training.demands(), terms, study="test", sites=4, rounds=50)
    sites = hospitals()
    with MaskedAggregator(plan.policy, NAMES) as sums:
        state = follow(training.turns(), sums, sites, training.initial())
    features, target = pooled(sites)
    step = training.model.rates(0.5) * training.model.gradient(np.zeros(4), features, target)
    # 122 patients; noise of 0.1 clips of 50 in the sum, and a count that is off by a patient.
    deviation = plan.multipliers["gradient"] * 50.0 * 1.5 / len(target)
    np.testing.assert_allclose(state["parameters"], -step, atol=6 * deviation + 0.02)


def test_poisson_batch_has_the_rate_and_is_drawn_afresh():
    first, second = (poisson_batch(20_000, 0.1, PATIENTS) for _ in range(2))
    assert abs(first.sum() - 2000) < 6 * np.sqrt(1800)
    assert (first != second).any()
    assert poisson_batch(7, 1.0, PATIENTS) == slice(None)


def test_empty_batch_is_an_answer_of_no_rows():
    (name, site), *_ = hospitals().items()
    entropy = Answering("patient", 4, 200, {})
    stage = Descent(Logistic(3), entropy, ClipRule(1.0, 0.5), sampling_rate=1e-9)
    given = stage.contribute(site, {"parameters": np.zeros(4), "clip": np.ones(1)})
    assert name == site.name
    assert given.values["gradient"].shape == (0, 4)
    assert given.values["within"].shape == (0, 1)


def test_training_survives_batches_that_are_nearly_empty():
    _, events, state, _ = trained(replace(TERMS, sampling_rate=0.01))
    assert len(events) == 10
    assert np.isfinite(state["parameters"]).all()


@pytest.mark.parametrize("start", [0.01, 100.0])
def test_clip_moves_to_the_quantile_from_too_low_and_from_too_high(start):
    random = np.random.default_rng(5)
    norms = np.exp(random.normal(size=2000))
    rule, clip = ClipRule(start, quantile=0.3, rate=0.5), np.array([start])
    for _ in range(80):
        rows = rule.rows("row", norms[:, np.newaxis], {"clip": clip})
        within = rows["within"].sum() + random.normal(scale=20.0)
        clip = rule.moved(clip, Aggregate(1, {"within": np.array([within])}, {}, np.zeros(0), ()), len(norms))
    assert abs(np.mean(norms <= clip[0]) - 0.3) < 0.05


@pytest.mark.parametrize("start", [0.02, 30.0])
def test_clip_moves_to_the_quantile_inside_the_secure_sum(start):
    terms = replace(TERMS, clip=start, target_quantile=0.5, clip_rate=1.0)
    plan, events, _, _ = trained(terms, standardise=False, rounds=25, bins=None)
    clips = [event.state["clip"][0] for event in events]
    assert "within" in plan.policy.question("gradient").spans
    assert 0.2 < clips[-1] < 1.2
    assert abs(np.log(clips[-1])) < abs(np.log(start))


def test_clip_of_whole_updates_adapts_too():
    terms = replace(
        TERMS, unit="site", epsilon=100.0, delta=1e-2, clip=8.0, target_quantile=0.5, clip_rate=1.0
    )
    _, events, _, _ = trained(terms, standardise=False, rounds=3, bins=None, max_patients=50)
    clips = [event.state["clip"][0] for event in events]
    assert len(set(clips)) == 3
    assert all(0.0 < clip < 64.0 for clip in clips)


def test_local_training_takes_its_steps_and_is_charged_for_each():
    terms = replace(TERMS, unit="patient-local")
    plan, _, state, charges = trained(terms, local_steps=3, rounds=2)
    (event,) = plan.releases["local"].events
    assert event.count == 3
    assert sum(charges["east"].values()) == 6
    assert np.isfinite(state["parameters"]).all()
    assert state["parameters"].any()


@pytest.mark.parametrize("unit", ["patient", "patient-local", "site"])
def test_patient_beyond_all_bounds_spoils_nothing(unit):
    sites = hospitals(held_out=8)
    sites["east"].features[3] = [1e300, -1e300, 1e308]
    sites["west"].test_features[0] = [1e308, 1e308, -1e308]
    terms = replace(TERMS, unit=unit, target_quantile=None if unit == "patient-local" else 0.5)
    _, _, state, _ = trained(terms, sites=sites)
    for name in ("parameters", "mean", "scale", "positives"):
        assert np.isfinite(state[name]).all(), name


@pytest.mark.parametrize("step", ["advertise", "upload", "confirm", "unmask", "recover"])
def test_site_that_is_lost_at_any_step_leaves_the_plan_as_it_is(step):
    plan, events, state, charges = trained(
        lose=lambda kind, number: {"west": step} if (kind, number) == ("gradient", 2) else {}
    )
    assert len(events) == len(plan.times) - 1 + 6
    times = {name: sum(charged.values()) for name, charged in charges.items()}
    assert times["east"] == 10
    assert times["west"] == (9 if step in ("advertise", "upload") else 10)
    assert np.isfinite(state["parameters"]).all()


def test_scaling_finds_means_and_spreads_of_any_magnitude():
    random = np.random.default_rng(11)
    units, middles = np.array([1e-6, 1.0, 1e5]), np.array([0.0, 3.0, 2.0])
    sites = {
        name: Site(
            name,
            features=(random.normal(size=(150, 3)) + middles) * units,
            target=(random.random(150) < 0.5).astype(float),
            columns=("a", "b", "c"),
        )
        for name in NAMES
    }
    _, _, state, _ = trained(replace(TERMS, epsilon=20.0), sites=sites, bins=None, rounds=1)
    np.testing.assert_allclose(state["mean"] / units, middles, atol=0.5)
    np.testing.assert_allclose(np.log2(state["scale"] / units), 0.0, atol=0.6)


def test_public_ranges_spare_the_first_sum():
    terms = replace(TERMS, ranges=((-4.0, 6.0),) * 3)
    plan, _, state, _ = trained(terms, sites=hospitals())
    assert "magnitudes" not in plan.times
    features, _ = pooled(hospitals())
    np.testing.assert_allclose(state["mean"], features.mean(axis=0), atol=0.6)


def test_local_sums_are_clipped_and_noised_as_told():
    rows = {"row": np.tile([[3.0, 4.0]], (10, 1))}
    sums = np.array([private_sums(rows, {"row": 1.0}, 0.5)[0]["row"] for _ in range(2000)])
    np.testing.assert_allclose(sums.mean(axis=0), [6.0, 8.0], atol=0.06)
    # 0.5 times the norm of a row of 1 and a count of a quarter.
    np.testing.assert_allclose(sums.std(axis=0), 0.5 * np.sqrt(1 + 1 / 16), rtol=0.1)
    _, count = private_sums(rows, {"row": 1.0}, 1e-3)
    assert abs(count - 10) < 0.1
    empty, _ = private_sums({"row": np.zeros((0, 2))}, {"row": 1.0}, 1e-3)
    assert np.abs(empty["row"]).max() < 0.02


def test_patients_that_are_not_numbers_change_no_local_sum():
    rows = {"row": np.array([[3.0, 4.0], [np.nan, 1.0], [np.inf, 0.0]])}
    sums, _ = private_sums(rows, {"row": 1.0}, 1e-3)
    np.testing.assert_allclose(sums["row"], [0.6, 0.8], atol=0.02)


def test_local_noise_is_not_drawn_before_it_is_planned():
    stage = PrivateMeans(3, Answering("patient-local", 4, 200, {}))
    known = {"unit": np.ones(3), "centre": np.zeros(3)}
    with pytest.raises(StateError, match="not planned yet"):
        stage.contribute(hospitals()["east"], known)


def test_area_from_noised_counts_is_as_far_off_as_it_says():
    random = np.random.default_rng(2)
    target = (random.random(300) < 0.4).astype(float)
    score = np.clip(random.normal(0.35 + 0.3 * target, 0.15), 0.0, 0.999)
    place = (score * 20).astype(int)
    positives, negatives = (np.bincount(place[target == one], minlength=20) for one in (1.0, 0.0))
    found = np.array(
        [
            noised_area(positives + random.normal(0, 3, 20), negatives + random.normal(0, 3, 20), 3.0)
            for _ in range(1000)
        ]
    )
    truth = auc(target, place.astype(float))
    assert abs(found[:, 0].mean() - truth) < 0.01
    assert 0.8 < found[:, 0].std() / found[:, 1].mean() < 1.2
    assert np.isnan(noised_area(-positives, negatives, 1.0)).all()
