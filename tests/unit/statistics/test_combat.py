# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from reference.combat import combat
from scanners import SCALES, hospitals, pooled, stacked
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, PolicyError, RoundAborted, TargetUnreachable, ValueOutOfRange
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.groups import thin_group
from sordino.statistics.combat import CombatPlan, SplitBatchWarning, harmonise
from sordino.statistics.combat.rows import Layout

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data")) / "combat"

VARIANTS = [
    {},
    {"location_only": True},
    {"empirical_bayes": False},
    {"empirical_bayes": False, "location_only": True},
    {"reference": "s2"},
    {"reference": "s2", "empirical_bayes": False},
]


MOST = 64


def assert_near(ours, theirs, tolerance=1e-8):
    """Within `tolerance` of each feature's spread, where both are numbers."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.nanmax(np.abs(ours - theirs) / np.nanstd(theirs, axis=0)) < tolerance


def disclosed(variant):
    return {**variant, "discloses_reference": "reference" in variant}


@pytest.mark.parametrize("aggregator", ["plain", "masked"])
@pytest.mark.parametrize("preserving", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_sites_as_batches_equal_the_pooled_computation(variant, preserving, aggregator):
    features, covariates = hospitals()
    given = covariates if preserving else None
    done = harmonise(features, covariates=given, aggregator=aggregator, **disclosed(variant))
    rows, labels, coded = pooled(features, None, given)
    expected, estimates = combat(rows, labels, coded, **variant)
    assert_near(stacked(done.adjusted), expected)
    for site, gamma in estimates["gamma"].items():
        np.testing.assert_allclose(done.effects[site][site].gamma, gamma, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(done.effects[site][site].delta, estimates["delta"][site], rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "header", "variant"),
    [
        ("python", 0, {}),
        ("r", 1, {}),
        ("noeb_r", 1, {"empirical_bayes": False}),
        ("meanonly_python", 0, {"location_only": True}),
    ],
)
@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there; SORDINO_SHARED_DATA may say where it is")
def test_results_are_those_of_two_published_programs(name, header, variant):
    """Five sites that share two scanners, a patient of each scanner at each."""
    table = np.loadtxt(DATA / "testdata.csv", delimiter=",", skiprows=1).T
    file = DATA / f"testdata_combat_parametric_adjusted_{name}.csv"
    expected = np.loadtxt(file, delimiter=",", skiprows=header).T
    places = {f"s{site}": [site, site + 5] for site in range(5)}
    group = np.array([1.0, 0.0] * 5)
    done = harmonise(
        {site: table[here] for site, here in places.items()},
        batch={site: ["one", "two"] for site in places},
        covariates={site: {"group": group[here]} for site, here in places.items()},
        **variant,
    )
    assert done.adjustment.layout.shared == ("one", "two")
    for site, here in places.items():
        np.testing.assert_allclose(done.adjusted[site], expected[here], rtol=1e-6)
    ours, _ = combat(table, ["one"] * 5 + ["two"] * 5, group[:, None], **variant)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def scanners(features, shared=("s0", "s1", "s2")):
    """Every site has a scanner of its own; "x" stands at the sites of `shared`, s0 has a second one."""
    batch = {
        site: np.where(np.arange(len(rows)) % 3 == 0, "x" if site in shared else site, site)
        for site, rows in features.items()
    }
    batch["s0"][1::3] = "t0"
    return batch


@pytest.mark.parametrize("aggregator", ["plain", "masked"])
@pytest.mark.parametrize(
    "variant", [{}, {"location_only": True}, {"empirical_bayes": False}, {"reference": "x"}]
)
def test_scanner_at_several_sites_is_one_batch(variant, aggregator):
    features, covariates = hospitals(7)
    batch = scanners(features)
    done = harmonise(
        features, batch=batch, covariates=covariates, aggregator=aggregator, min_cohort=3, threshold=4,
        colluders=0, **variant,
    )  # fmt: skip
    assert done.adjustment.layout.shared == ("x",)
    assert set(done.effects["s0"]) == {"s0", "t0", "x"}
    expected, _ = combat(*pooled(features, batch, covariates), **variant)
    assert_near(stacked(done.adjusted), expected)


def test_scanner_at_too_few_sites_is_a_batch_for_each_and_warned_of():
    features, covariates = hospitals()
    batch = scanners(features, ("s0", "s3"))
    with pytest.warns(SplitBatchWarning, match="'x'"):
        done = harmonise(features, batch=batch, covariates=covariates, aggregator="plain")
    apart = {site: [f"{site} {label}" for label in own] for site, own in batch.items()}
    expected, _ = combat(*pooled(features, apart, covariates))
    assert_near(stacked(done.adjusted), expected)


def test_no_layout_lets_sums_be_combined_to_a_few_sites():
    random = np.random.default_rng(0)
    shared = 0
    for _ in range(100):
        sites, minimum = int(random.integers(4, 12)), int(random.integers(3, 5))
        held = {
            f"s{place}": [f"own{place}", *random.choice(list("xyz"), random.integers(0, 4), replace=False)][
                random.integers(0, 2) :
            ]
            or ["x"]
            for place in range(sites)
        }
        layout = Layout.of(held, minimum)
        groups = layout.groups
        assert thin_group(layout.names - {"all"}, groups, tuple(held), minimum) is None
        shared += len(layout.shared)
        for site, own in held.items():  # every batch has lanes at its site
            assert (layout.own in groups[site]) == bool(set(own) - set(layout.shared))
            assert all(layout.group(label) in groups[site] for label in own if label in layout.shared)
    assert shared > 20


def test_sites_with_shared_scanners_only_leave_the_sums_of_the_others_large_enough():
    features, _ = hospitals(7)
    batch = {site: ["x" if place < 3 else site] * len(features[site]) for place, site in enumerate(features)}
    done = harmonise(features, batch=batch, min_cohort=3, threshold=4, colluders=0)
    assert done.policy.question("combat").groups == ("own", "batch0")
    assert_near(stacked(done.adjusted), combat(*pooled(features, batch))[0])
    # One site with a scanner of its own: its statistics would be the difference of two sums.
    batch = {site: ["x" if place < 6 else site] * len(features[site]) for place, site in enumerate(features)}
    with pytest.warns(SplitBatchWarning):
        done = harmonise(features, batch=batch, min_cohort=3, threshold=4, colluders=0)
    assert done.adjustment.layout.shared == ()


@pytest.mark.parametrize("variant", VARIANTS)
def test_missing_values_leave_each_feature_to_the_rows_that_have_it(variant):
    features, covariates = hospitals()
    random = np.random.default_rng(1)
    for rows in features.values():
        rows[random.random(rows.shape) < 0.15] = np.nan
    settings = {"covariates": covariates, "aggregator": "plain", **disclosed(variant)}
    done = harmonise(features, discloses_patients=True, **settings)
    expected, _ = combat(*pooled(features, None, covariates), **variant)
    assert_near(stacked(done.adjusted), expected)
    with pytest.raises(PolicyError, match="show that patient's covariates"):
        harmonise(features, **settings)
    done = harmonise(features, **{**settings, "covariates": None})
    assert_near(stacked(done.adjusted), combat(*pooled(features), **variant)[0])


@pytest.mark.parametrize("batch", ["A", "own"])
def test_feature_that_is_missing_in_all_of_a_sites_part_of_a_sum_is_refused(batch):
    features, _ = hospitals()
    labels = {name: np.where(np.arange(len(rows)) % 2, "A", f"{name} own") for name, rows in features.items()}
    assert harmonise(features, batch=labels, aggregator="plain").adjustment.layout.shared == ("A",)
    others = list(features)[1:]
    for name in others:  # the sum over the batch would be that of one site
        there = labels[name] == ("A" if batch == "A" else f"{name} own")
        features[name][there, 1] = np.nan
    with pytest.raises(ValueOutOfRange, match="lacks the feature"):
        harmonise(features, batch=labels, aggregator="plain")


@pytest.mark.parametrize("step", ["upload", "confirm", "unmask"])
@pytest.mark.parametrize("kind", ["combat_units", "combat_centres", "combat", "combat_reference"])
def test_estimates_are_those_of_the_survivors_and_every_site_is_adjusted(kind, step):
    features, covariates = hospitals(6)
    variant = {"reference": "s2"} if kind == "combat_reference" else {}
    done = harmonise(
        features,
        covariates=covariates,
        across_rounds="accept",
        lose={kind: {"s4": step}},
        **disclosed(variant),
    )
    gone = step == "upload"
    assert ("s4" not in done.sums[kind].survivors) == gone
    without = ("s4",) if gone and kind == "combat" else ()
    expected, estimates = combat(*pooled(features, None, covariates, without=without), **variant)
    assert_near(stacked(done.adjusted, without=without), expected)
    if without:  # it is back, and has the common estimates and its own rows
        rows, _, coded = pooled({"s4": features["s4"]}, None, {"s4": covariates["s4"]})
        rest = (rows - estimates["alpha"] - coded @ estimates["beta"].T) / estimates["sigma"]
        np.testing.assert_allclose(
            done.effects["s4"]["s4"].gamma_hat, rest.mean(axis=0), rtol=1e-7, atol=1e-8
        )
        np.testing.assert_allclose(done.effects["s4"]["s4"].delta_hat, rest.var(axis=0, ddof=1), rtol=1e-7)


def test_frozen_cohort_goes_on_without_a_site_that_the_first_sum_lost():
    features, covariates = hospitals(6)
    lost = {kind: {"s4": "upload"} for kind in ("combat_units", "combat_centres", "combat")}
    done = harmonise(features, covariates=covariates, lose=lost)
    expected, _ = combat(*pooled(features, None, covariates, without=("s4",)))
    assert_near(stacked(done.adjusted, without=("s4",)), expected)
    assert done.adjusted["s4"].shape == features["s4"].shape


@pytest.mark.parametrize("step", ["upload", "confirm", "unmask"])
def test_frozen_cohort_waits_for_a_site_that_was_in_the_first_sum(step):
    features, covariates = hospitals(6)
    done = harmonise(features, covariates=covariates, lose={"combat": {"s4": step}})
    assert done.sums["combat"].survivors == tuple(features)
    assert_near(stacked(done.adjusted), combat(*pooled(features, None, covariates))[0])


@pytest.mark.parametrize("kind", ["combat_units", "combat_centres", "combat"])
def test_sum_that_too_many_sites_leave_is_made_again(kind):
    features, covariates = hospitals()
    lost = {kind: dict.fromkeys(["s0", "s1", "s2"], "upload")}
    done = harmonise(features, covariates=covariates, across_rounds="accept", lose=lost)
    assert_near(stacked(done.adjusted), combat(*pooled(features, None, covariates))[0])


def test_reference_that_is_lost_is_asked_again():
    features, _ = hospitals()
    done = harmonise(
        features, reference="s2", discloses_reference=True, across_rounds="accept",
        lose={"combat_reference": {"s2": "upload"}},
    )  # fmt: skip
    assert_near(stacked(done.adjusted), combat(*pooled(features), reference="s2")[0])
    kinds = ("combat_units", "combat_centres", "combat", "combat_reference")
    lost = {kind: {"s2": "upload"} for kind in kinds}
    with pytest.raises(RoundAborted, match="reference batch 's2'"):
        harmonise(features, reference="s2", discloses_reference=True, lose=lost)


def test_reference_batch_is_left_as_it_is():
    features, covariates = hospitals()
    done = harmonise(features, covariates=covariates, reference="s1", discloses_reference=True)
    np.testing.assert_array_equal(done.adjusted["s1"], features["s1"])


def test_effects_of_private_batches_leave_no_trace_in_the_sums_but_their_total():
    """Two worlds in which s1 and s3 have other effects and nobody else can tell them apart."""
    features = {site: rows[:18] for site, rows in hospitals()[0].items()}
    effect = 0.3 * SCALES
    other = {**features, "s1": features["s1"] + effect, "s3": features["s3"] - effect}
    one, two = (harmonise(rows, aggregator="plain") for rows in (features, other))
    assert one.sums["combat"].integers.size == 3 * 6 + 1  # a count, a sum and a product for each feature
    for place in ("alpha", "sigma"):
        np.testing.assert_allclose(one.adjustment.state[place], two.adjustment.state[place], atol=1e-9)
    near = np.abs(one.sums["combat"].integers - two.sums["combat"].integers)
    assert near.max() <= 2**14  # of 2**37 for each unit: rounding alone
    shift = two.effects["s1"]["s1"].gamma_hat - one.effects["s1"]["s1"].gamma_hat
    assert np.all(shift * one.adjustment.state["sigma"] > 0.05)


def test_new_patients_are_adjusted_by_the_estimates_of_the_fit_alone():
    features, covariates = hospitals()
    done = harmonise(features, covariates=covariates, aggregator="plain")
    rows = features["s3"][:4] + 5.0
    given = {name: values[:4] for name, values in covariates["s3"].items()}
    ours = done.adjust("s3", rows, covariates=given)
    _, estimates = combat(*pooled(features, None, covariates))
    coded = np.column_stack([given["age"] - 60.0, given["sex"] == "m"])
    mean, sigma = estimates["alpha"] + coded @ estimates["beta"].T, estimates["sigma"]
    gamma, delta = estimates["gamma"]["s3"], estimates["delta"]["s3"]
    np.testing.assert_allclose(
        ours, ((rows - mean) / sigma - gamma) / np.sqrt(delta) * sigma + mean, rtol=1e-8
    )
    # One at a time is the same: nothing is learnt from them.
    for place in range(4):
        one = {name: values[place : place + 1] for name, values in given.items()}
        alone = done.adjust("s3", rows[place : place + 1], covariates=one)[0]
        np.testing.assert_allclose(alone, ours[place], rtol=1e-13)


def test_unknown_batch_and_site_are_refused_for_new_patients():
    features, _ = hospitals()
    done = harmonise(features, aggregator="plain")
    with pytest.raises(InvalidArgument, match=r"nothing is known of batch 'new', only of \['s1'\]"):
        done.adjust("s1", features["s1"], batch=["new"] * len(features["s1"]))
    with pytest.raises(InvalidArgument, match="'s9' was not in the fit"):
        done.adjust("s9", features["s1"])


def test_batch_with_one_member_gets_a_location_only_and_is_warned_of():
    features, _ = hospitals()
    batch = {site: np.full(len(rows), site) for site, rows in features.items()}
    batch["s1"][0] = "lo"
    with pytest.warns(UserWarning, match="'lo' .*one member"):
        done = harmonise(features, batch=batch, aggregator="plain")
    lonely = done.effects["s1"]["lo"]
    np.testing.assert_array_equal(lonely.delta, 1.0)
    centre, variance = lonely.gamma_hat.mean(), lonely.gamma_hat.var(ddof=1)
    np.testing.assert_allclose(lonely.gamma, (variance * lonely.gamma_hat + centre) / (variance + 1.0))
    assert np.isfinite(stacked(done.adjusted)).all()


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 3e-20])
@pytest.mark.parametrize("aggregator", ["plain", "masked"])
def test_constant_feature_is_left_as_it_is_and_changes_no_other(constant, aggregator):
    features, covariates = hospitals()
    flat = {site: np.insert(rows, 2, constant, axis=1) for site, rows in features.items()}
    done = harmonise(flat, covariates=covariates, aggregator=aggregator)
    assert done.constant == ("2",)
    np.testing.assert_array_equal(stacked(done.adjusted)[:, 2], constant)
    expected, _ = combat(*pooled(features, None, covariates))
    assert_near(np.delete(stacked(done.adjusted), 2, axis=1), expected)


def test_feature_that_is_constant_within_every_batch_is_left_as_it_is():
    features, _ = hospitals()
    for place, rows in enumerate(features.values()):
        rows[:, 2] = 0.1 * place
    assert harmonise(features, aggregator="plain").constant == ("2",)


@pytest.mark.parametrize("variant", VARIANTS[:4])
def test_feature_that_is_constant_within_one_batch_is_moved_there_and_not_stretched(variant):
    features, _ = hospitals()
    features["s1"][:, 3] = 7.7
    done = harmonise(features, aggregator="plain", **variant)
    effect = done.effects["s1"]["s1"]
    assert effect.delta[3] == 1.0
    assert np.ptp(done.adjusted["s1"][:, 3]) == 0.0
    assert done.adjusted["s1"][0, 3] != 7.7
    assert np.isfinite(stacked(done.adjusted)).all()


@pytest.mark.parametrize("value", [0.0, 7.7])
def test_feature_that_does_not_vary_in_the_reference_is_left_as_it_is(value):
    features, _ = hospitals()
    features["s1"][:, 3] = value
    done = harmonise(features, reference="s1", discloses_reference=True, aggregator="plain")
    assert done.constant == ("3",)
    np.testing.assert_array_equal(stacked(done.adjusted)[:, 3], stacked(features)[:, 3])


def test_covariate_that_is_confounded_is_refused_by_name():
    features, covariates = hospitals()
    numbers = {
        site: {**covariates[site], "field": np.full(len(rows), place % 2 + 1.5)}
        for place, (site, rows) in enumerate(features.items())
    }
    with pytest.raises(InvalidArgument, match="'field' is confounded with the batch"):
        harmonise(features, covariates=numbers)
    twice = {
        site: {**given, "months": 12.0 * given["age"] + len(given["age"])}
        for site, given in covariates.items()
    }
    with pytest.raises(InvalidArgument, match=r"'months' is confounded: .*\['age', 'sex=m'\]"):
        harmonise(features, covariates=twice)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"reference": "s9"}, "'s9' is none of the batches"),
        ({"reference": "s1"}, "discloses_reference"),
        ({"levels": {"height": ["a"]}}, "'height'"),
        ({"levels": {"sex": ["m", "x"]}}, "levels .*not 'f'"),
        ({"columns": ["only one"]}, "6 features, the study has 1"),
        ({"aggregator": "open"}, "aggregator"),
        ({"lose": {"means": {}}}, "'means'"),
        ({"batch": {"s0": []}}, "batch must name"),
        ({"max_patients": 10}, "max_patients"),
        ({"batch": {f"s{place}": [np.nan] * (18 + 3 * place) for place in range(5)}}, "has no batch"),
        ({"batch": {f"s{place}": ["a"] for place in range(5)}}, "a label for each"),
    ],
)
def test_impossible_request_is_refused_by_name(change, what):
    features, covariates = hospitals()
    with pytest.raises((InvalidArgument, PolicyError), match=what):
        harmonise(features, **{"covariates": covariates, **change})


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda rows: rows[:, :5], "5 features, the study has 6"),
        (lambda rows: rows * np.where(np.arange(6) == 2, np.inf, 1.0), "'s1', feature '2': .*infinite"),
        (lambda rows: rows * np.where(np.arange(6) == 2, np.nan, 1.0), "'s1' lacks the feature '2'"),
        (lambda rows: rows * np.where(np.arange(6) == 2, 1e9, 1.0), "'s1', feature '2': .*another unit"),
        (lambda rows: rows[:0], "'s1': features must be"),
        (lambda rows: rows.astype(str).astype(object) + "?", "'s1': the features must be numbers"),
    ],
)
def test_unusable_rows_are_refused_by_site_and_feature(wrong, what):
    features, _ = hospitals()
    features["s1"] = wrong(features["s1"])
    with pytest.raises((InvalidArgument, ValueOutOfRange), match=what):
        harmonise(features, aggregator="plain")


def test_missing_covariate_too_few_batches_and_too_few_sites_are_refused():
    features, covariates = hospitals()
    covariates["s1"]["age"][3] = np.nan
    with pytest.raises(InvalidArgument, match="'s1': covariate 'age' is missing"):
        harmonise(features, covariates=covariates)
    covariates["s1"]["sex"] = np.array([None, *covariates["s1"]["sex"][1:]])
    covariates["s1"]["age"][3] = 60.0
    with pytest.raises(InvalidArgument, match="'sex' has the levels .* not 'None'"):
        harmonise(features, covariates=covariates)
    with pytest.raises(InvalidArgument, match="one batch only"):
        harmonise(features, batch={site: ["x"] * len(rows) for site, rows in features.items()})
    with pytest.raises(InvalidArgument, match="three sites"):
        harmonise({site: features[site] for site in ("s0", "s1")})
    with pytest.raises(InvalidArgument, match="needs two"):
        harmonise({site: rows[:, :1] for site, rows in features.items()})
    harmonise({site: rows[:, :1] for site, rows in features.items()}, empirical_bayes=False)


def test_masked_sums_are_plain_sums_bit_for_bit():
    features, covariates = (
        {np.str_(site): given for site, given in by_site.items()} for by_site in hospitals()
    )
    masked, plain = (
        harmonise(features, covariates=covariates, aggregator=kind) for kind in ("masked", "plain")
    )
    for kind, total in masked.sums.items():
        np.testing.assert_array_equal(total.integers, plain.sums[kind].integers)


@pytest.mark.parametrize("public", [True, False])
def test_noised_sums_give_a_centre_and_a_spread_and_keep_to_their_cost(public):
    features, _ = hospitals(patients=60)
    rows = stacked(features)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    ranges = tuple(zip(mean - 5.0 * spread, mean + 4.0 * spread, strict=True)) if public else None
    private = PrivateTerms("patient", 20.0, 1e-5, ranges=ranges)
    done = harmonise(features, private=private, empirical_bayes=False, max_patients=MOST)
    assert 19.0 < done.privacy.epsilon <= 20.0
    assert len(done.sums) == 3 - public
    assert all(total.noise > 0.0 for total in done.sums.values())
    state = done.adjustment.state
    for adjusted in done.adjusted.values():  # every batch gets the common centre and spread
        np.testing.assert_allclose(
            (adjusted.mean(axis=0) - state["centre"]) / state["spread"], 0.0, atol=1e-9
        )
        np.testing.assert_allclose(adjusted.std(axis=0, ddof=1), state["spread"], rtol=1e-9)
    # Without public ranges the noise on the feature of 1e4 +- 1 is for numbers of size 1e4.
    near = np.arange(6) if public else np.array([0, 1, 2, 4, 5])
    assert np.all(np.abs(state["centre"] - mean)[near] < 0.5 * spread[near])


def test_noise_needs_a_bound_on_patients_that_does_not_follow_the_rows():
    features, _ = hospitals()
    with pytest.raises(InvalidArgument, match="needs max_patients: a bound from the rows tells of them"):
        harmonise(features, private=PrivateTerms("patient", 20.0, 1e-5))


def test_what_noise_cannot_hide_is_refused():
    features, covariates = hospitals()
    private = PrivateTerms("patient", 4.0, 1e-5)
    with pytest.raises(PolicyError, match="unit 'site' drowns"):
        harmonise(features, private=PrivateTerms("site", 4.0, 1e-5), max_patients=MOST)
    with pytest.raises(InvalidArgument, match="ranges must be"):
        harmonise(
            features, private=PrivateTerms("patient", 4.0, 1e-5, ranges=((0.0, 1.0),)), max_patients=MOST
        )
    with pytest.raises(PolicyError, match="covariates cannot be preserved with noise"):
        harmonise(features, covariates=covariates, private=private, max_patients=MOST)
    with pytest.raises(PolicyError, match="reference batch has too few"):
        harmonise(features, reference="s1", discloses_reference=True, private=private, max_patients=MOST)
    with pytest.raises(InvalidArgument, match="masked"):
        harmonise(
            features, private=PrivateTerms("patient", 20.0, 1e-5), aggregator="plain", max_patients=MOST
        )
    many = {site: np.tile(rows, 40) for site, rows in features.items()}
    with pytest.raises(TargetUnreachable, match="drowns the scales of 240 features"):
        harmonise(many, private=private, max_patients=MOST)
    features["s1"][0, 0] = np.nan
    with pytest.raises(InvalidArgument, match="impute"):
        harmonise(features, private=private, max_patients=MOST)


def test_every_sum_is_charged_in_every_journal_and_the_budget_outlives_the_call(tmp_path):
    features, _ = hospitals(patients=30)
    private = PrivateTerms("patient", 4.0, 1e-5)
    held = {site: [site] for site in features}
    planned = CombatPlan(tuple("012345"), held, 64, private=private).planned()
    with MaskedAggregator(
        planned.policy, tuple(features), guard=lambda _: BudgetGuard(planned.budget)
    ) as sums:
        done = harmonise(features, private=private, max_patients=64, aggregator=sums)
        assert {site: sum(charged.values()) for site, charged in sums.charges.items()} == dict.fromkeys(
            held, 3
        )
        assert 3.9 < done.privacy.epsilon <= 4.0
    harmonise(features, private=private, directory=tmp_path, max_patients=MOST)
    with pytest.raises(RoundAborted, match="budget"):
        harmonise(features, private=private, directory=tmp_path, max_patients=MOST)


@pytest.mark.parametrize("step", ["upload", "confirm", "unmask"])
@pytest.mark.parametrize("kind", ["magnitudes", "private_means", "spreads"])
def test_noised_sums_outlive_a_lost_site(kind, step):
    features, _ = hospitals(patients=30)
    done = harmonise(
        features, private=PrivateTerms("patient", 8.0, 1e-5), lose={kind: {"s1": step}}, max_patients=MOST
    )
    assert ("s1" in done.sums[kind].survivors) == (step != "upload")
    assert np.isfinite(stacked(done.adjusted)).all()


def test_reference_of_a_few_patients_is_refused():
    features, _ = hospitals()
    features["s1"] = features["s1"][:4]
    with pytest.raises(ValueOutOfRange, match="'s1' has 4 values of the feature '0', at least 5"):
        harmonise(features, reference="s1", discloses_reference=True)


def test_no_warning_without_a_reason():
    features, covariates = hospitals()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        harmonise(features, covariates=covariates)
