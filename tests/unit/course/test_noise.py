# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from sordino.course.noise import plan_noise
from sordino.course.terms import PrivateTerms
from sordino.errors import TargetUnreachable
from sordino.federated.training import Training
from sordino.privacy import Accountant, noise_multiplier
from sordino.privacy.budget import Spent
from sordino.privacy.mechanisms import release_of

TERMS = PrivateTerms("patient", 4.0, 1e-5, spare_rounds=2)
TRAINING = Training(columns=5, sites=4, max_patients=200, rounds=12, bins=10, private=TERMS)


def planned(terms: PrivateTerms = TERMS, *, repeats: int = 1, **changes):
    training = replace(TRAINING, private=terms, **changes)
    return plan_noise(training.demands(repeats), terms, study="test", sites=4, rounds=100)


@pytest.mark.parametrize(
    ("terms", "changes"),
    [
        (TERMS, {}),
        (replace(TERMS, epsilon=0.5), {}),
        (replace(TERMS, sampling_rate=0.02), {"rounds": 60}),
        (replace(TERMS, target_quantile=0.5), {}),
        (replace(TERMS, unit="site"), {"local_steps": 3}),
        (replace(TERMS, unit="patient-local"), {"local_steps": 3}),
        (TERMS, {"standardise": False, "bins": None}),
        (TERMS, {"repeats": 3}),
    ],
)
def test_whole_plan_costs_just_less_than_the_target(terms, changes):
    plan = planned(terms, **changes)
    assert 0.95 * terms.epsilon < plan.guarantee.epsilon <= terms.epsilon
    assert plan.guarantee.delta == terms.delta
    # The same by the accountant, one release after the other, with every number of participants.
    for participants in range(plan.policy.smallest_cohort, 5):
        accountant = Accountant()
        for question in plan.policy.plan:
            release = release_of(plan.policy, question, participants)
            accountant.compose(*[release] * plan.times[question.kind])
        assert accountant.epsilon(terms.delta).epsilon <= terms.epsilon


def test_budget_of_the_plan_has_room_for_all_of_it_and_not_for_a_round_more():
    plan = planned()
    spent = Spent()
    for kind, times in plan.times.items():
        for _ in range(times):
            spent = plan.budget.charge(spent, plan.releases[kind])
    assert plan.budget.times(spent, plan.releases["gradient"]) == 0


def test_training_alone_gets_the_noise_that_calibration_gives_it():
    plan = planned(standardise=False, bins=None)
    wanted = noise_multiplier(4.0, 1e-5, steps=14, by="rdp")
    assert plan.multipliers["gradient"] == pytest.approx(wanted, rel=1e-4)


def test_shares_say_who_gets_how_much():
    plan = planned()
    kinds = ("magnitudes", "private_means", "spreads")
    statistics = sum(plan.multipliers[kind] ** -2 for kind in kinds)
    assert statistics == pytest.approx(plan.multipliers["private_evaluation"] ** -2)
    more = planned(replace(TERMS, statistics_share=0.4))
    assert more.multipliers["spreads"] < plan.multipliers["spreads"]
    assert more.multipliers["gradient"] > plan.multipliers["gradient"]


def test_clip_that_adapts_pays_with_one_per_cent_of_the_noise():
    plain, adaptive = planned().policy.question("gradient"), None
    adaptive = planned(replace(TERMS, target_quantile=0.5)).policy.question("gradient")
    assert adaptive.noise.sensitivity > plain.noise.sensitivity
    assert sqrt(adaptive.noise.sensitivity / plain.noise.sensitivity) == pytest.approx(1.0, abs=0.01)


def test_target_that_leaves_nothing_for_training_is_named():
    with pytest.raises(TargetUnreachable, match="lower their shares"):
        planned(replace(TERMS, statistics_share=0.6, evaluation_share=0.401))


def test_target_that_no_noise_meets_is_named():
    tiny = replace(TERMS, epsilon=0.001, delta=1e-15)
    with pytest.raises(
        TargetUnreachable, match=r"502 steps .* epsilon 0.001 .* any noise up to 100,000 times"
    ):
        planned(tiny, rounds=500)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.7])
def test_sampling_never_takes_more_noise_than_none(rate):
    sampled = planned(replace(TERMS, sampling_rate=rate), rounds=60)
    assert sampled.multipliers["gradient"] <= planned(rounds=60).multipliers["gradient"]


@pytest.mark.parametrize("unit", ["patient", "patient-local"])
def test_noise_on_votes_grows_with_the_root_of_the_features(unit):
    few, many = (planned(replace(TERMS, unit=unit), columns=columns) for columns in (4, 400))
    assert many.noise_on_votes() == pytest.approx(10.0 * few.noise_on_votes(), rel=0.01)
    # A patient's row has norm 2, and its count a quarter of that.
    alone = few.multipliers["spreads"] * 2.0
    assert few.noise_on_votes() == pytest.approx(alone * (2.0 if unit == "patient-local" else 1.0), rel=0.05)


def test_noise_on_sites_is_said_to_be_hopeless_in_numbers():
    patients = planned().noise_to_clip("gradient", 430)
    sites = planned(replace(TERMS, unit="site")).noise_to_clip("update", 430)
    assert patients < 0.1
    assert sites > 3.0
