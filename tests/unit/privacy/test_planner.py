# SPDX-License-Identifier: Apache-2.0

"""The planner against the accountant, against sums that are really made, and against itself replanned."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import PrivacyParameter
from sordino.privacy.accountant import Accountant
from sordino.privacy.mechanisms import plan_with_noise, release_of
from sordino.privacy.planner import Rates, noise_of_sum, plan_study
from sordino.protocol.policy import Block, Question, plan_policy, required_bits

NAMES = tuple(f"site-{number}" for number in range(7))
COUNTS = Question("counts", (Block("votes", 12, 1.0, 16),), max_weight=50)
STEP = Question("step", (Block("gradient", 40, 1.0, 16), Block("within", 1, 0.5, 14)), max_weight=50)
TIMES = {"counts": 1, "step": 30}


def policy_of(unit="patient", multipliers=None, *, sites=7, rates=None, local_steps=None, **terms):
    return plan_with_noise(
        [COUNTS, STEP],
        unit,
        multipliers or {"counts": 3.0, "step": 6.0},
        rates=rates,
        local_steps=local_steps,
        study="planned",
        sites=sites,
        rounds=60,
        **terms,
    )


def planned(policy, **given):
    return plan_study(policy, TIMES, NAMES[: policy.sites], **{"delta": 1e-6, "training": "step", **given})


@pytest.mark.parametrize(
    ("unit", "given"),
    [
        ("patient", {}),
        ("patient", {"rates": {"step": 0.05}}),
        ("site", {}),
        ("patient-local", {"local_steps": {"step": 4}}),
    ],
)
def test_costs_are_the_accountants(unit, given):
    policy = policy_of(unit, **given)
    plan = planned(policy)
    assert plan.unit == unit
    once, every = {}, Accountant()
    for question in policy.plan:
        worst = max(
            (release_of(policy, question, u) for u in range(policy.smallest_cohort, 8)),
            key=lambda release: Accountant([release]).epsilon(1e-6).epsilon,
        )
        every.compose(*[worst] * TIMES[question.kind])
        once[question.kind] = Accountant([worst]).epsilon(1e-6).epsilon
    expected = every.epsilon(1e-6)
    assert plan.guarantee.epsilon == pytest.approx(expected.epsilon, rel=1e-6)
    assert plan.guarantee.wrap_probability == pytest.approx(expected.wrap_probability)
    for asked in plan.questions:
        assert asked.epsilon_once == pytest.approx(once[asked.kind], rel=1e-6)
    assert plan.epsilons[-1] == ("step", 30, plan.guarantee.epsilon)
    assert [epsilon for _, _, epsilon in plan.epsilons] == sorted(epsilon for _, _, epsilon in plan.epsilons)


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_bits_bytes_and_noise_are_those_of_a_real_sum(dropped):
    policy = policy_of()
    plan = planned(policy)
    asked = plan.questions[1]
    given = dict.fromkeys(
        NAMES, lambda _: Contribution({"gradient": np.ones((3, 40)), "within": np.full((3, 1), 0.5)})
    )
    with MaskedAggregator(policy, NAMES) as aggregator:
        total = aggregator.aggregate("step", b"", given, lose=dict.fromkeys(NAMES[7 - dropped :], "upload"))
    assert plan.policy.bits == required_bits(policy.plan, 7)
    assert plan.tolerated == policy.tolerated(7) >= 2
    assert noise_of_sum(policy, asked.sigma, 7, dropped) == pytest.approx(total.noise, rel=1e-12)
    if not dropped:
        assert asked.precision[0].noise == pytest.approx(total.noise / 2**16)
        assert asked.precision[1].noise == pytest.approx(total.noise / 2**14)
        assert asked.count_noise == pytest.approx(total.noise / policy.question("step").weight_scale)
        for moved in total.traffic.values():
            assert moved.sent == pytest.approx(asked.bytes.sent, rel=0.02)
            assert moved.received == pytest.approx(asked.bytes.received, rel=0.02)


def test_noise_really_is_as_large_as_foretold():
    policy = policy_of()
    asked = planned(policy).questions[1]
    none = dict.fromkeys(
        NAMES, lambda _: Contribution({"gradient": np.zeros((0, 40)), "within": np.zeros((0, 1))})
    )
    with MaskedAggregator(policy, NAMES) as aggregator:
        drawn = [aggregator.aggregate("step", b"", none).sums["gradient"] for _ in range(50)]
    # 2,000 samples: the deviation is known to 1 / sqrt(4000), and 5 of those are allowed.
    assert np.std(drawn) == pytest.approx(asked.precision[0].noise, rel=5 / sqrt(4000))


def test_plan_without_noise_has_no_epsilon():
    policy = plan_policy(study="plain", sites=7, plan=[COUNTS, STEP], across_rounds="freeze")
    plan = planned(policy, patients={"step": 100.0})
    assert (plan.unit, plan.guarantee, plan.components, plan.remedies) == (None, None, None, None)
    assert [asked.epsilon_once for asked in plan.questions] == [None, None]
    assert plan.questions[0].precision[0].noise == 0.0
    assert plan.sent == sum(TIMES[asked.kind] * asked.bytes.sent for asked in plan.questions)


@pytest.mark.parametrize("unit", ["patient", "site"])
def test_any_one_remedy_is_enough_and_a_little_less_is_not(unit):
    multipliers = {"counts": 3.0, "step": 6.0 if unit == "site" else 60.0}
    policy = policy_of(unit, multipliers)
    plan = planned(policy, patients={"step": 280.0})
    found, excess = plan.remedies, plan.training.noise_to_clip
    assert excess == found.excess > 1.2
    for patients, hopeless in [(280.0 * excess - 1.0, True), (float(found.patients or 1e9), False)]:
        assert planned(policy, patients={"step": patients}).hopeless == hopeless
    # More sites, each with as many patients.
    assert (found.sites - 1) * 40.0 < 280.0 * excess <= found.sites * 40.0
    # Noise that is so much shorter costs what was said, and its plan is not hopeless.
    shorter = policy_of(unit, {kind: sigma / excess for kind, sigma in multipliers.items()})
    replanned = planned(shorter, patients={"step": 280.0 * 1.0001})
    assert not replanned.hopeless
    assert replanned.guarantee.epsilon == pytest.approx(found.epsilon, rel=1e-3)
    # So many rounds with such noise cost what is planned.
    mixed = policy_of(unit, {**multipliers, "step": multipliers["step"] / excess})
    for rounds, below in [(found.rounds, True), (found.rounds + 1, False)]:
        if rounds:
            cost = plan_study(mixed, {**TIMES, "step": rounds}, NAMES, delta=1e-6).guarantee.epsilon
            assert (cost <= plan.guarantee.epsilon * (1 + 1e-4)) == below
    assert found.parameters == int(40 / excess**2)


def test_site_unit_is_hopeless_at_ten_sites():
    names = [f"site-{number}" for number in range(10)]
    policy = policy_of("site", sites=10)
    plan = plan_study(
        policy, TIMES, names, delta=1e-6, epsilon=5.0, training="step", patients={"step": 200.0}
    )
    assert plan.hopeless
    assert plan.remedies.sites > 50
    assert plan.remedies.patients is None  # ten sites may have 500 at most
    assert plan.remedies.epsilon > 100.0
    assert plan.remedies.delta > 0.01
    assert plan.remedies.max_weight is None  # they have 20 on average


def test_bound_on_patients_far_above_their_number_is_a_remedy():
    def shape(bound):
        step = Question("step", (Block("gradient", 40, 1.0, 16),), max_weight=bound)
        policy = plan_with_noise([step], "site", {"step": 0.5}, study="loose", sites=7)
        return plan_study(policy, {"step": 1}, NAMES, delta=1e-6, training="step", patients={"step": 140.0})

    found = shape(100).remedies
    assert found.max_weight >= 20
    assert shape(found.max_weight + 1).hopeless
    assert not shape(found.max_weight).hopeless


@pytest.mark.parametrize(
    ("sites", "colluders", "tolerated", "noise", "alone", "cheaper"),
    [
        (100, 33, 2, 1.2217, 1.2403, "without components"),
        (100, 33, 20, 1.2217, 1.4586, "with components"),
        (7, 2, 2, 1.1832, 1.5275, "with components"),
        (7, 2, 0, 1.1832, 1.1832, "without components"),
    ],
)
def test_components_are_compared_with_a_base_alone(sites, colluders, tolerated, noise, alone, cheaper):
    policy = policy_of(sites=sites, colluders=colluders, max_dropouts=tolerated)
    found = plan_study(policy, TIMES, [f"site-{number:02d}" for number in range(sites)]).components
    assert (found.noise, found.noise_alone) == pytest.approx((noise, alone), abs=1e-4)
    assert (found.draws, found.cheaper) == (1 + tolerated, cheaper)
    assert (found.share_bytes > 0) == (tolerated > 0)
    sigma = policy.plan[0].noise.sigma
    assert noise_of_sum(policy, sigma, sites) == pytest.approx(sigma * noise, rel=1e-4)


def test_times_grow_with_lanes_neighbours_and_components():
    policy = policy_of()
    plan = planned(policy, rates=Rates(masks=1e6, noise=1e5, packing=2e6, overhead=0.5))
    step = plan.questions[1]
    assert step.site_seconds == pytest.approx(0.5 + 42 / 2e6 + 42 * 7 / 1e6 + 42 * (1 + plan.tolerated) / 1e5)
    assert plan.site_seconds == pytest.approx(plan.questions[0].site_seconds + 30 * step.site_seconds)
    assert planned(policy).site_seconds is None


@pytest.mark.parametrize(
    ("times", "names", "delta", "said"),
    [
        ({"counts": 1}, NAMES, 1e-6, "times must say how often each of"),
        ({"counts": 0, "step": 1}, NAMES, 1e-6, "times must say how often"),
        (TIMES, NAMES[:6], 1e-6, "names must be 7 distinct ones"),
        (TIMES, NAMES, 0.0, "delta"),
        (TIMES, NAMES, float("nan"), "delta"),
    ],
)
def test_bad_input_is_named(times, names, delta, said):
    with pytest.raises(PrivacyParameter, match=said):
        plan_study(policy_of(), times, names, delta=delta)
