# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from sordino.aggregation.base import STEPS
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, PolicyError, RoundAborted
from sordino.privacy.guard import BudgetGuard
from sordino.statistics import Survey
from sordino.statistics import describe as describe_with
from sordino.statistics.describing import spent
from sordino.statistics.feature_rows import FeatureRows
from sordino.statistics.histogram import noised_quantile

NAMES = ("east", "north", "south", "west")
DELTA = 1e-5


def describe(sites, *, max_patients=512, **settings):
    """A description under a public bound on patients that these sites keep to."""
    return describe_with(sites, max_patients=max_patients, **settings)


EPSILON = {"patient": 20.0, "patient-local": 20.0, "site": 40.0}
UNITS = tuple(EPSILON)


@cache
def frames(columns=60, patients=400, missing=0.1):
    """Sites of as many patients, features of standard deviation 1 about 2, none beyond 6 of it."""
    random = np.random.default_rng(1)
    sites = {}
    for name in NAMES:
        values = 2.0 + np.clip(random.normal(size=(patients, columns)), -5.9, 5.9)
        values[random.random(values.shape) < missing] = np.nan
        sites[name] = pd.DataFrame(values, columns=[f"feature {number}" for number in range(columns)])
    return sites


def terms(unit, *, columns=60, ranges=True, **changes):
    given = {"unit": unit, "epsilon": EPSILON[unit], "delta": DELTA}
    return PrivateTerms(**{**given, "ranges": ((-4.0, 8.0),) * columns if ranges else None, **changes})


@cache
def described(unit, ranges=True):
    return describe(frames(), private=terms(unit, ranges=ranges), grid=20, max_lanes=2**26)


def check_standardised(off, deviation):
    """Errors over their deviations look standard normal: a wrong deviation by half would not."""
    each = np.asarray(off) / deviation
    assert len(each) >= 60
    assert 0.55 < np.sqrt(np.mean(each**2)) < 1.6
    assert np.abs(each).max() < 6.5


@pytest.mark.parametrize("unit", UNITS)
def test_noised_answers_are_as_far_off_as_they_say(unit):
    found, rows = described(unit), pd.concat(frames().values())
    off = found.deviations
    assert abs(found.patients - 1600) < 6.5 * off["patients"][0]
    assert np.abs(found.count - rows.count()).max() < 6.5 * off["count"][0]
    check_standardised(found.missing - rows.isna().sum(), off["missing"])
    bins = found.state["bins"].reshape(60, 22)
    exact = [np.histogram(rows[name].dropna(), np.linspace(-4, 8, 21))[0] for name in rows]
    check_standardised((bins[:, 1:-1] - exact).ravel(), off["bins"][0])
    if unit == "site":  # of four sites' numbers little is left, and first order is not enough
        return
    check_standardised(found.mean - rows.mean(), off["mean"])
    check_standardised(found.variance - rows.var(), off["variance"])


@pytest.mark.parametrize("unit", ["patient", "patient-local"])
def test_noised_correlations_are_as_far_off_as_they_say(unit):
    sites = frames(columns=12)
    found = describe(sites, private=terms(unit, columns=12), grid=None, correlation=True)
    upper = np.triu_indices(12, 1)
    deviation = found.deviations["correlation"].reshape(12, 12)[upper]
    assert deviation.max() < 0.4  # far from -1 and 1, at which they are cut
    check_standardised((found.correlation - pd.concat(sites.values()).corr().to_numpy())[upper], deviation)


@pytest.mark.parametrize("unit", ["patient", "patient-local"])
def test_noised_quantiles_lie_between_their_bounds(unit):
    found, rows = described(unit), pd.concat(frames().values())
    inside = [
        quantile.low <= np.quantile(rows[name].dropna(), part) <= quantile.high
        for part, quantiles in found.quantiles.items()
        for name, quantile in zip(rows, quantiles, strict=True)
    ]
    assert np.mean(inside) > 0.9
    assert np.mean([np.isfinite(one.error) for one in found.quantiles[0.5]]) > 0.9


@pytest.mark.parametrize("unit", ["patient", "patient-local"])
def test_without_ranges_the_clip_comes_from_votes(unit):
    sites = {
        name: pd.DataFrame(
            np.random.default_rng(place).normal(1.0, 0.5, (1500, 3)) * [1e-3, 1.0, 1e6], columns=list("abc")
        )
        for place, name in enumerate(NAMES)
    }
    found = describe(sites, private=terms(unit, ranges=False), max_patients=2048)
    assert set(found.sums) == {"magnitudes", "private_means", "spreads", "description"}
    np.testing.assert_allclose(found.mean, [1e-3, 1.0, 1e6], rtol=0.3)
    np.testing.assert_allclose(np.sqrt(found.variance), [5e-4, 0.5, 5e5], rtol=0.5)


def own(unit, ranges):
    """Masked sums of a survey, guarded by its own budget, and the plan of its noise."""
    survey = Survey(
        columns=3, sites=4, max_patients=512, edges=20, private=terms(unit, columns=3, ranges=ranges)
    )
    planned = survey.planned()
    return MaskedAggregator(planned.policy, NAMES, guard=lambda _: BudgetGuard(planned.budget)), planned


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("ranges", [True, False])
def test_every_sum_is_charged_in_every_journal_and_the_next_one_is_refused(unit, ranges):
    sites = frames(columns=3)
    sums, planned = own(unit, ranges)
    settings = {"private": terms(unit, columns=3, ranges=ranges), "grid": 20, "aggregator": sums}
    with sums:
        found = describe(sites, **settings)
        for charged in sums.charges.values():
            assert sum(charged.values()) == (1 if ranges else 4)
        assert found.privacy.unit == unit
        assert found.privacy.epsilon == pytest.approx(EPSILON[unit], rel=1e-3)
        assert found.privacy.epsilon <= planned.guarantee.epsilon <= EPSILON[unit]
        with pytest.raises(RoundAborted, match=r"aborted 3 times.*budget"):
            describe(sites, **settings)
        assert spent(sums, DELTA).epsilon <= EPSILON[unit]


def test_a_budget_outlives_the_call_that_spent_it(tmp_path):
    sites, settings = frames(columns=3), {"private": terms("patient", columns=3), "directory": tmp_path}
    describe(sites, **settings)
    with pytest.raises(RoundAborted, match="budget"):
        describe(sites, **settings)


@pytest.mark.parametrize("step", STEPS[3:])
def test_a_site_that_vanishes_leaves_the_noised_answer_of_the_survivors(step):
    sites = frames(columns=3)
    found = describe(
        sites, private=terms("patient", columns=3), grid=None, lose={"description": {"west": step}}
    )
    names = NAMES[:3] if step == "upload" else NAMES
    assert found.sites == names
    rows = pd.concat([sites[name] for name in names])
    assert abs(found.patients - len(rows)) < 6.5 * found.deviations["patients"][0]
    assert (np.abs(found.mean - rows.mean()) < 6.5 * found.deviations["mean"]).all()


def test_a_lost_sum_is_made_again_only_where_spare_rounds_were_planned():
    lose = {"description": dict.fromkeys(NAMES[:2], "confirm")}
    settings = {"grid": None, "lose": lose}
    with pytest.raises(RoundAborted, match="budget"):
        describe(frames(columns=3), private=terms("patient", columns=3), **settings)
    found = describe(frames(columns=3), private=terms("patient", columns=3, spare_rounds=1), **settings)
    assert found.privacy.epsilon <= EPSILON["patient"]


def test_values_beyond_all_bounds_are_clipped_and_never_refused():
    sites = {name: rows.copy() for name, rows in frames(columns=3).items()}
    sites["east"].iloc[:3, 0] = [np.inf, -np.inf, 1e300]
    found = describe(sites, private=terms("patient", columns=3))
    rows = pd.concat(sites.values()).clip(-4.0, 8.0)
    assert (np.abs(found.mean - rows.mean()) < 6.5 * found.deviations["mean"]).all()


def test_a_patient_moves_a_row_by_no_more_than_the_clip():
    survey = Survey(
        columns=7, sites=4, max_patients=512, edges=20, correlation=True, private=terms("patient", columns=7)
    )
    stage, random = survey.stages()[-1], np.random.default_rng(0)
    values = random.choice([np.nan, -np.inf, -4.0, -1.0, 2.0, 7.0, 8.0, 1e9], size=(500, 7))
    site = type("Rows", (), {"features": values})()
    rows = stage.contribute(site, survey.initial()).values
    for part in stage.parts:
        assert rows[part.name].shape == (500, part.length)
        norms = np.linalg.norm(rows[part.name].astype(np.float64), axis=1)
        assert norms.max() <= part.clip * (1.0 + 1e-6)
        assert norms.max() > 0.8 * part.clip  # and the clip is not far too wide


def test_a_feature_that_noise_drowns_is_withheld():
    sites = {name: rows.copy() for name, rows in frames(columns=3).items()}
    for rows in sites.values():
        rows["feature 1"] = np.nan
    found = describe(sites, private=terms("patient", columns=3, epsilon=0.5))
    assert found.withheld == {"feature 1": "noise drowns it"}
    assert np.isnan(found.mean[1])


def test_plain_sums_of_a_private_description_are_refused():
    with pytest.raises(InvalidArgument, match="plain ones have no noise"):
        describe(frames(columns=3), private=terms("patient", columns=3), aggregator="plain")


@pytest.mark.parametrize(
    "ranges", [((0.0, 1.0),), ((0.0, 1.0), (2.0, 1.0), (0.0, 1.0)), ((0.0, np.inf),) * 3]
)
def test_ranges_that_are_none_are_refused(ranges):
    with pytest.raises(InvalidArgument, match="low below high"):
        describe(frames(columns=3), private=PrivateTerms("patient", 1.0, DELTA, ranges=ranges))


def test_rows_that_are_too_large_are_refused_before_anything_runs():
    with pytest.raises(PolicyError, match="for each of 512 patients"):
        describe(frames(), private=terms("patient"), max_lanes=100_000)


def test_noised_quantiles_without_noise_are_those_of_the_bins():
    edges, bins = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 10.0, 20.0, 10.0, 0.0])
    assert noised_quantile(edges, bins, 0.5, 0.0) == (1.5, 1.0, 2.0)
    assert noised_quantile(edges, bins, 0.1, 0.0) == (0.5, 0.0, 1.0)
    wider = noised_quantile(edges, bins, 0.5, 5.0)
    assert (wider.low, wider.high) == (0.0, 3.0)
    assert np.isnan(noised_quantile(edges, -bins, 0.5, 1.0).value)


def test_the_bound_on_patients_must_not_come_from_the_rows():
    with pytest.raises(InvalidArgument, match="needs max_patients"):
        describe(frames(columns=3), private=terms("patient", columns=3), max_patients=None)


def test_more_patients_than_the_bound_only_saturate():
    found = describe(frames(columns=3), private=terms("patient", columns=3), max_patients=200)
    assert abs(found.patients - 800) < 6.5 * found.deviations["patients"][0]


def test_a_missing_value_has_no_vote_and_takes_no_other_value_with_it():
    survey = Survey(columns=2, sites=4, max_patients=512, private=terms("patient", ranges=False))
    magnitudes, means, spreads, _ = survey.stages()
    known = {"centre": np.zeros(2), "unit": np.full(2, 2.0), "mean": np.zeros(2)}
    site = FeatureRows("east", np.array([[1.0, np.nan], [-0.5, 1.0]]), ("a", "b"))
    for stage in (magnitudes, spreads):
        votes = stage.contribute(site, known).values["votes"].reshape(2, 2, -1)
        np.testing.assert_array_equal(votes.sum(axis=2), [[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(means.contribute(site, known).values["mean"], [[0.5, 0.0], [-0.25, 0.5]])
