# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sordino.aggregation.base import STEPS
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.follow import course, follow
from sordino.errors import InvalidArgument, PolicyError, ValueOutOfRange
from sordino.protocol.policy import plan_policy
from sordino.statistics import Survey, describe
from sordino.statistics.coordinates import Centres, Exponents
from sordino.statistics.correlation import Correlations, as_matrix
from sordino.statistics.feature_rows import feature_rows
from sordino.statistics.histogram import Histograms
from sordino.statistics.moments import Moments
from sordino.statistics.presence import Presence

NAMES = ("east", "north", "south", "west")
KINDS = ("presence", "exponents", "centres", "description")


def frames(*, missing=0.2, seed=0, sizes=(30, 37, 44, 51), columns=3):
    """Sites that differ in means and scales, a part of the cells missing."""
    random = np.random.default_rng(seed)
    sites = {}
    for place, (name, size) in enumerate(zip(NAMES, sizes, strict=True)):
        values = random.normal(place, 1.0 + place, size=(size, columns)) * 10.0 ** np.arange(columns)
        values[random.random(values.shape) < missing] = np.nan
        sites[name] = pd.DataFrame(values, columns=[f"feature {number}" for number in range(columns)])
    return sites


def pooled(sites, names=NAMES):
    return pd.concat([sites[name] for name in names])


def check_pooled(found, rows, rtol=1e-8):
    """All that is told equals what pandas says of the pooled rows; a mean to a part of the deviation."""
    scale = np.maximum(np.abs(rows.mean()), rows.std())
    np.testing.assert_array_less(np.abs(found.mean - rows.mean()), rtol * scale + 1e-300)
    np.testing.assert_allclose(found.variance, rows.var(), rtol=rtol)
    assert found.patients == len(rows)
    missing = rows.isna().sum().to_numpy()
    shown = (missing == 0) | (missing >= found.min_patients)
    np.testing.assert_array_equal(found.missing[shown], missing[shown])
    np.testing.assert_array_equal(found.count[shown], rows.count()[shown])
    if found.correlation is not None:
        np.testing.assert_allclose(found.correlation, rows.corr(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("aggregator", ["plain", "masked"])
def test_description_is_that_of_the_pooled_rows(aggregator):
    sites = frames()
    check_pooled(describe(sites, aggregator=aggregator, correlation=True), pooled(sites))


def test_masked_sums_equal_plain_ones_bit_for_bit():
    sites = frames()
    masked, plain = (describe(sites, aggregator=kind, correlation=True) for kind in ("masked", "plain"))
    for kind in KINDS:
        np.testing.assert_array_equal(masked.sums[kind].integers, plain.sums[kind].integers)


@settings(max_examples=40, deadline=None)
@given(
    cut=st.lists(st.integers(0, 3), min_size=60, max_size=60),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e6]),
    unit=st.sampled_from([1e-60, 1e-6, 1.0, 1e9, 1e60]),
    missing=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_any_split_of_the_rows_over_sites_gives_the_pooled_answer(cut, offset, unit, missing):
    cut[:4] = range(4)
    random = np.random.default_rng(7)
    values = (random.normal(size=(60, 2)) @ [[1.0, 0.5], [0.0, 1.0]] + offset) * unit
    values[8:][random.random((52, 2)) < missing] = np.nan
    rows = pd.DataFrame(values, columns=["a", "b"])
    sites = {name: rows[np.array(cut) == place] for place, name in enumerate(NAMES)}
    # Doubles of a million spreads carry that much less of the spread.
    check_pooled(describe(sites, aggregator="plain", correlation=True), rows)


@pytest.mark.parametrize("step", STEPS[3:])
@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_vanishes_half_way_leaves_the_answer_of_the_survivors(kind, step):
    sites = frames()
    found = describe(sites, correlation=True, across_rounds="accept", lose={kind: {"south": step}})
    lost = kind == "description" and step == "upload"
    assert found.sites == tuple(name for name in NAMES if not (lost and name == "south"))
    check_pooled(found, pooled(sites, found.sites))
    plain = describe(
        sites, aggregator="plain", correlation=True, across_rounds="accept", lose={kind: {"south": step}}
    )
    np.testing.assert_array_equal(found.mean, plain.mean)
    np.testing.assert_array_equal(found.correlation, plain.correlation)


def test_other_sites_in_every_sum_still_give_the_answer_of_the_last_ones_survivors():
    sites = frames()
    lose = {kind: {name: "upload"} for kind, name in zip(KINDS, NAMES, strict=True)}
    found = describe(sites, correlation=True, across_rounds="accept", lose=lose)
    assert found.sites == NAMES[:3]
    check_pooled(found, pooled(sites, NAMES[:3]))


def test_frozen_sums_are_all_over_the_survivors_of_the_first():
    sites = frames()
    found = describe(sites, lose={"presence": {"west": "upload"}})
    assert {total.survivors for total in found.sums.values()} == {NAMES[:3]}
    check_pooled(found, pooled(sites, NAMES[:3]))


def test_a_sum_with_too_few_survivors_is_asked_for_again():
    sites = frames()
    found = describe(sites, across_rounds="accept", lose={"description": dict.fromkeys(NAMES[:2], "upload")})
    assert found.sites == NAMES


def test_an_aggregator_of_ones_own_is_used():
    sites = frames()
    survey = Survey(columns=3, sites=4, max_patients=64, edges=64)
    with MaskedAggregator(survey.policy(across_rounds="freeze"), NAMES) as sums:
        check_pooled(describe(sites, aggregator=sums), pooled(sites))


def test_a_feature_that_one_site_lacks_is_described_by_the_others():
    sites = frames()
    del sites["north"]["feature 1"]
    found = describe(sites, correlation=True)
    assert found.columns == ("feature 0", "feature 1", "feature 2")
    np.testing.assert_array_equal(found.holders, [4, 3, 4])
    rows = pooled(sites)[list(found.columns)]
    np.testing.assert_allclose(found.mean, rows.mean(), rtol=1e-7)
    np.testing.assert_allclose(found.variance, rows.var(), rtol=1e-8)
    # How many lack it is how many patients that site has, so it is told to multiples of k only.
    np.testing.assert_array_equal(np.isnan(found.count), [False, True, False])
    np.testing.assert_array_equal(found.histograms[1].counts % 5, 0.0)


def test_no_two_sums_of_a_pair_differ_by_a_few_sites():
    sites = frames(missing=0.0)
    del sites["north"]["feature 1"]
    found = describe(sites, correlation=True)
    asked = found.sums["description"].sums
    # Those of feature 0 over all, less those over who has feature 1 too, would be those of the north.
    np.testing.assert_array_equal(asked["pairs"], [0.0, 162.0, 0.0])
    np.testing.assert_array_equal(asked["pair_first"][[0, 2, 3, 5]], 0.0)
    assert np.isnan(found.correlation[1, [0, 2]]).all()
    np.testing.assert_allclose(
        found.correlation[0, 2], pooled(sites).corr().loc["feature 0", "feature 2"], rtol=1e-8
    )
    twice = {
        f"{name}-{seed}": rows for seed in (0, 1) for name, rows in frames(missing=0.0, seed=seed).items()
    }
    for name in list(twice)[:3]:  # as many as a sum needs
        del twice[name]["feature 1"]
    found = describe(twice, correlation=True, min_cohort=3, colluders=1)
    rows = pd.concat(list(twice.values()))[list(found.columns)]
    np.testing.assert_allclose(found.correlation, rows.corr(), rtol=1e-8)
    np.testing.assert_array_equal(found.count, rows.count())


def test_a_feature_of_too_few_sites_is_asked_of_nobody():
    sites = frames(missing=0.0)
    for name in ("north", "south"):
        del sites[name]["feature 1"]
    found = describe(sites, correlation=True)
    assert found.withheld == {"feature 1": "2 of the sites have it, at least 3 must"}
    assert np.isnan([found.mean[1], found.variance[1], found.count[1], found.low[1]]).all()
    assert np.isnan(found.correlation[1]).all()
    # Not only is nothing told: no sum after the first holds anything of it.
    for kind, block in [("exponents", "exponent"), ("centres", "centre"), ("description", "second")]:
        assert found.sums[kind].sums[block][1] == 0.0
    assert np.isfinite(found.mean[[0, 2]]).all()


def test_a_pair_is_told_only_if_enough_sites_surely_have_both():
    sites = frames(missing=0.0)
    del sites["north"]["feature 1"]
    del sites["south"]["feature 2"]
    found = describe(sites, correlation=True)
    assert np.isnan(found.correlation[1, 2])
    assert found.sums["description"].sums["products"][2] == 0.0  # nobody was asked
    assert found.pairs[0, 0] == 162
    assert np.isnan(found.correlation[0, 1:]).all()  # over one site fewer than the whole


def test_correlations_of_frozen_sums_do_not_suffer_from_a_site_that_was_lost_in_the_first():
    sites = frames()
    found = describe(sites, correlation=True, lose={"presence": {"west": "upload"}})
    check_pooled(found, pooled(sites, NAMES[:3]))


def test_a_feature_is_withheld_if_a_loss_leaves_it_with_too_few_sites():
    sites = frames()
    del sites["north"]["feature 1"]
    found = describe(sites, across_rounds="accept", lose={"description": {"west": "upload"}})
    assert found.withheld == {"feature 1": "2 of the sites have it, at least 3 must"}
    assert np.isnan(found.mean[1])


@pytest.mark.parametrize("constant", [0.0, 0.1, 5e4, -3e-20, 1e90])
def test_a_constant_feature_has_no_variance_and_no_correlation(constant):
    sites = frames(missing=0.0)
    for rows in sites.values():
        rows["feature 1"] = constant
    found = describe(sites, correlation=True)
    assert found.mean[1] == pytest.approx(constant, rel=1e-12)
    assert found.variance[1] == 0.0
    assert np.isnan(found.correlation[1]).all()
    assert np.isfinite(found.correlation[0, 2])


def test_a_feature_that_is_missing_everywhere_is_withheld():
    sites = frames()
    for rows in sites.values():
        rows["feature 2"] = np.nan
    found = describe(sites)
    assert found.withheld == {"feature 2": "0 of the sites have it, at least 3 must"}


def test_a_site_with_one_patient_is_described_with_the_others():
    sites = frames(sizes=(30, 1, 44, 51), missing=0.0)
    check_pooled(describe(sites, correlation=True), pooled(sites))


def test_infinite_values_are_refused_by_site_and_name():
    sites = frames()
    sites["south"].iloc[3, 1] = -np.inf
    with pytest.raises(ValueOutOfRange, match="'south', feature 'feature 1': a value is infinite"):
        describe(sites)


def test_a_feature_in_another_unit_at_one_site_is_refused_by_name():
    sites = frames()
    sites["west"]["feature 1"] *= 1e9
    with pytest.raises(ValueOutOfRange, match=r"'west', feature 'feature 1'.*another unit"):
        describe(sites)


def test_a_column_that_is_not_numeric_is_refused_by_site_and_name():
    sites = frames()
    sites["east"]["feature 1"] = sites["east"]["feature 1"].astype(object)
    sites["east"].iloc[2, 1] = "male"
    with pytest.raises(InvalidArgument, match="'east', column 'feature 1' is not numeric: it holds 'male'"):
        describe(sites)


def test_two_sites_are_too_few():
    with pytest.raises(InvalidArgument, match="three sites or more, got 2"):
        describe({name: rows for name, rows in frames().items() if name in NAMES[:2]})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grid": [0.0, 2.0, 1.0]}, "increasing"),
        ({"grid": [0.0, np.nan]}, "finite"),
        ({"grid": 0}, "1 to 100,000 bins"),
        ({"grid": {"feature 0": [0, 1]}}, "no edges for the feature 'feature 1'"),
        ({"grid": {"features 0": [0, 1]}}, "'features 0', which is none"),
        ({"quantiles": [1.5]}, "from 0 to 1"),
        ({"min_patients": 0}, "min_patients"),
        ({"max_patients": 50}, "a site has 51 patients"),
        ({"aggregator": "clear"}, "'masked', 'plain'"),
        ({"lose": {"means": {}}}, "lose names the sum 'means'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed, message):
    with pytest.raises(InvalidArgument, match=message):
        describe(frames(), **changed)


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ((np.zeros((4, 3)), ["a", "b"]), "2 columns and features of shape"),
        ((np.zeros((4, 2)), ["a", "a"]), "distinct"),
        ((np.zeros((0, 2)), ["a", "b"]), "no patients"),
        ("rows.csv", "DataFrame"),
    ],
)
def test_rows_of_a_wrong_form_are_refused_by_site(site, message):
    with pytest.raises(InvalidArgument, match=rf"'north'.*{message}"):
        describe({**frames(), "north": site})


def test_too_many_numbers_are_refused_before_anything_runs():
    rows = (np.zeros((2, 3000)), [str(number) for number in range(3000)])
    with pytest.raises(PolicyError, match=r"asks 27,\d+,\d+ numbers in one sum, 2\d\d MB .* fewer features"):
        describe(dict.fromkeys(NAMES, rows), correlation=True)


def test_few_missing_values_are_not_told_by_number():
    sites = frames(missing=0.0)
    sites["east"].iloc[:2, 1] = np.nan
    found = describe(sites)
    np.testing.assert_array_equal(np.isnan(found.missing), [False, True, False])
    np.testing.assert_array_equal(np.isnan(found.count), [False, True, False])
    assert describe(sites, min_patients=1).missing[1] == 2


def test_nothing_that_is_told_gives_a_few_missing_values_away():
    sites = frames(missing=0.0)
    sites["east"].iloc[:2, 1] = np.nan
    found = describe(sites, correlation=True)
    assert np.isnan(found.missing[1])
    assert found.histograms[0].counts.sum() == 162
    # Rounded to fives, cells and pairs tell of no number that is not a multiple of five.
    np.testing.assert_array_equal(found.histograms[1].counts % 5, 0.0)
    assert (found.pairs[1][[0, 2]] == 160).all()


def test_a_feature_of_fewer_than_k_patients_is_withheld():
    sites = frames(missing=0.0)
    for name in NAMES:
        sites[name].iloc[1:, 1] = np.nan
    found = describe(sites, correlation=True)
    assert found.withheld == {"feature 1": "fewer than 5 patients have it"}
    assert np.isnan(found.mean[1])
    assert np.isnan(found.correlation[1]).all()
    assert np.isnan([one[1].value for one in found.quantiles.values()]).all()


def test_rows_may_be_pairs_of_matrix_and_columns():
    sites = frames()
    pairs = {name: (rows.to_numpy(), list(rows)) for name, rows in sites.items()}
    np.testing.assert_array_equal(describe(pairs).mean, describe(sites).mean)


def test_columns_may_stand_in_any_order():
    sites = frames()
    turned = {**sites, "west": sites["west"][sites["west"].columns[::-1]]}
    np.testing.assert_array_equal(describe(turned).mean, describe(sites).mean)


def test_the_table_has_a_line_for_each_feature():
    sites = frames()
    lines = describe(sites).table().splitlines()
    assert lines[0] == "162 patients of 4 sites: east, north, south, west"
    assert lines[1].split() == [
        "feature",
        "count",
        "missing",
        "mean",
        "sd",
        "25%",
        "50%",
        "75%",
        "low",
        "high",
    ]
    assert [line[:9] for line in lines[2:]] == ["feature 0", "feature 1", "feature 2"]


def test_a_description_is_frozen():
    found = describe(frames())
    with pytest.raises(AttributeError):
        found.patients = 3
    assert replace(found, patients=3.0).patients == 3.0


def test_each_statistic_is_a_stage_by_itself():
    sites = frames()
    bounds = 3, 4, 64
    stages = (
        Presence(*bounds),
        Exponents(*bounds),
        Centres(*bounds),
        Moments(*bounds),
        Histograms(*bounds, edges=10),
        Correlations(*bounds),
    )
    policy = plan_policy(
        study="test",
        sites=4,
        plan=[stage.question() for stage in stages],
        across_rounds="freeze",
        rounds=len(stages),
    )
    with MaskedAggregator(policy, NAMES) as sums:
        state = follow(course(*((stage, 1) for stage in stages)), sums, feature_rows(sites), {})
    rows, found = pooled(sites), describe(sites, correlation=True, grid=10)
    np.testing.assert_array_equal(state["mean"], found.mean)
    np.testing.assert_array_equal(state["count"], rows.count())
    np.testing.assert_array_equal(state["bins"], found.state["bins"])
    np.testing.assert_allclose(as_matrix(state["correlation"])[0, 1], rows.corr().iloc[0, 1], rtol=1e-8)
