# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from statsmodels.duration.hazard_regression import PHReg

from cohorts import at_sites, lung, made, rossi
from reference.breslow import coarsened, maximise
from sordino.errors import InvalidArgument, PolicyError
from sordino.survival.cox import cox_regression
from sordino.survival.curves import survival_curves
from sordino.survival.risk_sets import RiskSets

CUTS = np.array([5.0, 12.0, 30.0, 60.0, 100.0, 180.0])


@pytest.mark.parametrize("data", [lung, rossi])
@pytest.mark.parametrize("aggregator", ["plain", "masked"])
def test_exact_grid_gives_the_fit_of_statsmodels_and_scikit_survival(data, aggregator):
    features, time, event, where, columns = data()
    sites = at_sites(features, time, event, where, columns)
    if data is lung:
        assert len(sites) == 18
        assert min(len(rows.time) for rows in sites.values()) <= 2
    ours = cox_regression(sites, grid="exact", discloses_patients=True, aggregator=aggregator)
    theirs = PHReg(time, features, status=event.astype(int), ties="breslow").fit(maxiter=200, disp=0)
    np.testing.assert_allclose(ours.coefficients, theirs.params, rtol=1e-8)
    np.testing.assert_allclose(ours.standard_errors, theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(ours.log_likelihood, theirs.llf, rtol=1e-8)
    np.testing.assert_allclose(ours.p_values, theirs.pvalues, rtol=1e-6)
    np.testing.assert_allclose(ours.confidence_intervals(), theirs.conf_int(), rtol=1e-7, atol=1e-9)

    y = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    other = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-14).fit(features, y)
    np.testing.assert_allclose(ours.coefficients, other.coef_, rtol=1e-8)
    hazard = other.cum_baseline_hazard_
    steps = np.append(0.0, ours.baseline())[np.searchsorted(ours.cuts, hazard.x, side="right")]
    np.testing.assert_allclose(steps, hazard.y, rtol=1e-8)
    curves = np.array([curve(ours.cuts) for curve in other.predict_survival_function(features[:5])])
    np.testing.assert_allclose(ours.survival(features[:5]), curves, rtol=1e-8)
    assert (ours.patients, ours.events, ours.beyond) == (len(time), event.sum(), 0)


@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_coarse_grid_gives_the_pooled_fit_of_the_coarsened_times(l2):
    features, time, event, where = made()
    ours = cox_regression(at_sites(features, time, event, where), grid=CUTS, l2=l2)
    moved, seen = coarsened(time, event, ours.cuts)
    scale = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / scale
    b, value, information = maximise(scaled, moved, seen, l2 * len(time))
    np.testing.assert_allclose(
        ours.coefficients * scale, b, rtol=1e-6 if l2 else 1e-8
    )  # l2 has the scaler's error
    np.testing.assert_allclose(ours.log_likelihood, value, rtol=1e-8)
    errors = np.sqrt(np.diag(np.linalg.inv(information + l2 * len(time) * np.eye(3)))) / scale
    np.testing.assert_allclose(ours.standard_errors, errors, rtol=1e-6 if l2 else 1e-8)
    risks = np.exp(scaled @ b)
    steps = [(seen & (moved == cut)).sum() / risks[moved >= cut].sum() for cut in ours.cuts]
    np.testing.assert_allclose(ours.hazard, steps, rtol=1e-6)


def test_default_grid_has_ten_patients_leaving_at_every_cut_and_says_what_it_costs():
    features, time, event, where = made(patients=900, digits=3)
    sites = at_sites(features, time, event, where)
    ours = cox_regression(sites, aggregator="plain")
    assert len(ours.cuts) >= 12
    assert (ours.at_risk - np.append(ours.at_risk[1:], 0.0)).min() >= 10
    assert ours.events + ours.beyond == event.sum()
    exact = cox_regression(sites, grid="exact", discloses_patients=True, aggregator="plain")
    assert exact.tied < 0.02 < ours.tied < 0.2
    ratio = ours.coefficients / exact.coefficients
    assert (ratio < 1.0).all()
    assert (1.0 - ratio < 3.0 * ours.tied).all()


def test_masked_fit_equals_the_plain_one_bit_for_bit():
    sites = at_sites(*made())
    masked = cox_regression(sites, grid=CUTS)
    plain = cox_regression(sites, grid=CUTS, aggregator="plain")
    np.testing.assert_array_equal(masked.coefficients, plain.coefficients)
    np.testing.assert_array_equal(masked.covariance, plain.covariance)


@pytest.mark.parametrize("step", ["upload", "confirm", "unmask"])
@pytest.mark.parametrize("kind", ["leaving", "means", "risk_sets"])
def test_fit_after_losses_is_that_of_the_sites_in_the_last_sum(kind, step):
    features, time, event, where = made()

    def lose(asked, number):
        return {"site-1": step} if asked == kind and number == 1 else {}

    sites = at_sites(features, time, event, where)
    ours = cox_regression(sites, grid=CUTS, across_rounds="accept", lose=lose)
    assert ours.survivors == tuple(sites)
    moved, seen = coarsened(time, event, ours.cuts)
    b, value, _ = maximise(features, moved, seen)
    np.testing.assert_allclose(ours.coefficients, b, rtol=1e-7)
    np.testing.assert_allclose(ours.log_likelihood, value, rtol=1e-8)


def test_site_that_is_gone_for_good_leaves_the_fit_of_the_others():
    features, time, event, where = made()

    def lose(asked, number):
        return {"site-1": "upload"} if asked == "risk_sets" and number > 2 else {}

    ours = cox_regression(
        at_sites(features, time, event, where), grid=CUTS, across_rounds="accept", lose=lose
    )
    assert ours.survivors == ("site-0", "site-2", "site-3")
    there = where != "site-1"
    moved, seen = coarsened(time[there], event[there], ours.cuts)
    np.testing.assert_allclose(ours.coefficients, maximise(features[there], moved, seen)[0], rtol=1e-7)
    assert np.isnan(ours.null)


def test_frozen_fit_keeps_the_sites_of_its_first_sum():
    def lose(asked, _):
        return (
            {"site-1": "upload"} if asked in ("leaving", "units", "means", "variances", "risk_sets") else {}
        )

    ours = cox_regression(at_sites(*made()), grid=CUTS, lose=lose)
    assert ours.survivors == ("site-0", "site-2", "site-3")


def test_sum_in_which_losses_leave_few_patients_at_a_cut_is_asked_again():
    sites, least = at_sites(*made()), 30
    fit = cox_regression(sites, grid=CUTS, least_patients=least, aggregator="plain")

    def lose(asked, _):
        return {"site-1": "upload"} if asked == "risk_sets" else {}

    again = cox_regression(sites, grid=CUTS, least_patients=least, across_rounds="accept", lose=lose)
    np.testing.assert_array_equal(again.coefficients, fit.coefficients)
    other = cox_regression(sites, grid=CUTS, least_patients=2, across_rounds="accept", lose=lose)
    assert other.survivors == ("site-0", "site-2", "site-3")


def test_exact_grid_without_consent_is_refused_with_the_reason():
    with pytest.raises(PolicyError, match="covariates of single patients"):
        cox_regression(at_sites(*made()), grid="exact")
    with pytest.raises(PolicyError, match="least_patients"):
        cox_regression(at_sites(*made()), least_patients=1)


def test_sum_that_is_too_large_is_refused_with_its_size():
    with pytest.raises(PolicyError, match=r"24 cuts of 3 \+ 3 \+ 6"):
        cox_regression(at_sites(*made()), max_lanes=100)


def test_ridge_fits_more_features_than_events():
    features, time, event, where = made(patients=80, columns=60)
    sites = at_sites(features, time, event, where)
    with pytest.raises(InvalidArgument, match="60 features and .* events"):
        cox_regression(sites, grid=CUTS, aggregator="plain")
    ours = cox_regression(sites, grid=CUTS, aggregator="plain", l2=0.1)
    moved, seen = coarsened(time, event, ours.cuts)
    scale = features.std(axis=0)
    b, _, _ = maximise((features - features.mean(axis=0)) / scale, moved, seen, 0.1 * len(time))
    np.testing.assert_allclose(ours.coefficients * scale, b, atol=1e-6)


def test_many_features_are_fitted_without_second_sums_too():
    features, time, event, where = made(patients=80, columns=60)
    sites = at_sites(features, time, event, where)
    settings = {"grid": CUTS, "aggregator": "plain", "max_lanes": 4000}
    with pytest.raises(PolicyError, match="no second sums"):
        cox_regression(sites, l2=0.1, **settings)
    with pytest.raises(InvalidArgument, match="60 features and .* events"):
        cox_regression(sites, second_sums=False, **settings)
    ours = cox_regression(sites, l2=0.1, second_sums=False, tolerance=1e-8, max_sums=200, **settings)
    exact = cox_regression(sites, grid=CUTS, aggregator="plain", l2=0.1)
    np.testing.assert_allclose(ours.coefficients, exact.coefficients, atol=1e-7)
    assert ours.log_likelihood == pytest.approx(exact.log_likelihood, rel=1e-9)
    assert exact.sums < ours.sums < 100
    assert np.isnan(ours.standard_errors).all()


def test_constant_and_collinear_features_are_named():
    features, time, event, where = made()
    features[:, 1] = 3.0
    with pytest.raises(InvalidArgument, match="'feature 1' is the same for all"):
        cox_regression(at_sites(features, time, event, where), grid=CUTS, aggregator="plain")
    features[:, 1] = 2.0 * features[:, 0] - 1.0
    with pytest.raises(InvalidArgument, match="'feature 0', 'feature 1' are collinear"):
        cox_regression(at_sites(features, time, event, where), grid=CUTS, aggregator="plain")


def test_step_beyond_the_reach_is_halved_and_an_optimum_beyond_it_refused():
    sites = at_sites(*made())
    settings = {"grid": CUTS, "aggregator": "plain"}
    free = cox_regression(sites, **settings)
    farthest = max(np.abs((rows.features - free.mean) @ free.coefficients).max() for rows in sites.values())
    near = cox_regression(sites, reach=1.001 * farthest, **settings)
    np.testing.assert_allclose(near.coefficients, free.coefficients, rtol=1e-7)
    with pytest.raises(
        InvalidArgument, match="stuck after 25 halvings of its steps: a patient's x b is beyond"
    ):
        cox_regression(sites, reach=0.5 * farthest, **settings)


def test_feature_that_tells_events_from_the_others_is_named():
    features, time, event, where = made()
    features[:, 2] = event & (time <= CUTS[-1])
    sites = at_sites(features, time, event, where)
    with pytest.raises(InvalidArgument, match="coefficient of 'feature 2' grows without end"):
        cox_regression(sites, grid=CUTS, aggregator="plain")
    assert cox_regression(sites, grid=CUTS, aggregator="plain", l2=0.01).coefficients[2] > 1.0


def test_site_without_events_and_site_of_one_patient_take_part():
    features, time, event, where = made()
    event[where == "site-0"] = False
    where[:1] = "site-9"
    ours = cox_regression(at_sites(features, time, event, where), grid=CUTS)
    moved, seen = coarsened(time, event, ours.cuts)
    np.testing.assert_allclose(ours.coefficients, maximise(features, moved, seen)[0], rtol=1e-7)


def test_events_beyond_the_grid_are_censored_there_and_counted():
    features, time, event, where = made()
    ours = cox_regression(at_sites(features, time, event, where), grid=CUTS[:4], aggregator="plain")
    assert ours.beyond == (event & (time > ours.cuts[-1])).sum() > 0
    moved, seen = coarsened(time, event, ours.cuts)
    np.testing.assert_allclose(ours.coefficients, maximise(features, moved, seen)[0], rtol=1e-7)


def test_no_events_and_too_few_are_refused():
    features, time, event, where = made()
    none = at_sites(features, time, np.zeros_like(event), where)
    for more in ({"grid": 8}, {"grid": CUTS}, {"grid": "exact", "discloses_patients": True}):
        with pytest.raises(InvalidArgument, match="no site has an event"):
            cox_regression(none, **more)
    few = event & (np.cumsum(event) < 8)
    with pytest.raises(InvalidArgument, match="fewer than 10 patients"):
        cox_regression(at_sites(features, time, few, where), grid=CUTS)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"grid": 0}, "intervals"),
        ({"grid": [3.0, 2.0]}, "increase"),
        ({"grid": [0.0, 2.0]}, "above zero"),
        ({"grid": "coarse"}, "exact"),
        ({"l2": -1.0}, "l2"),
        ({"max_patients": 5}, "max_patients allows 5"),
        ({"aggregator": "open"}, "aggregator"),
        ({"max_sums": 0}, "max_sums"),
    ],
)
def test_impossible_setting_is_refused_by_name(wrong, match):
    with pytest.raises(InvalidArgument, match=match):
        cox_regression(at_sites(*made()), **wrong)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf])
def test_impossible_time_is_refused_with_its_site_and_row(bad):
    features, time, event, where = made()
    time[np.flatnonzero(where == "site-2")[3]] = bad
    with pytest.raises(InvalidArgument, match="'site-2': row 3 has the time"):
        at_sites(features, time, event, where)


def test_missing_feature_is_refused_by_name():
    features, time, event, where = made()
    features[np.flatnonzero(where == "site-1")[2], 1] = np.nan
    with pytest.raises(InvalidArgument, match="'site-1': row 2 has no finite 'feature 1'"):
        at_sites(features, time, event, where)


def test_two_sites_and_other_columns_are_refused():
    sites = at_sites(*made())
    with pytest.raises(InvalidArgument, match="three sites"):
        cox_regression({name: sites[name] for name in ("site-0", "site-1")})
    sites["site-1"] = at_sites(*made(columns=2))["site-1"]
    with pytest.raises(InvalidArgument, match="other columns"):
        cox_regression(sites)


@pytest.mark.parametrize("others", [1, 9])
def test_few_without_the_event_are_not_told_apart_from_those_who_have_it(others):
    features, time, _, where = made()
    grid = [*CUTS, time.max()]
    event = np.ones(len(time), np.bool_)
    event[np.argsort(time)[-others:]] = False
    sites = at_sites(features, time, event, where)
    with pytest.raises(InvalidArgument, match="fewer than 10 patients at risk have no event"):
        cox_regression(sites, grid=grid, aggregator="plain")
    told = cox_regression(sites, grid=grid, least_patients=others, aggregator="plain") if others > 1 else None
    assert told is None or told.events == len(time) - others
    # Curves add up no covariates.
    assert survival_curves(sites, grid=grid, aggregator="plain").deaths.sum() == len(time) - others


def test_site_out_of_reach_is_in_all_sums_of_that_step_too():
    features, time, event, where = made()
    features[np.flatnonzero(where == "site-1")[0]] = 40.0
    sites = at_sites(features, time, event, where)
    stage = RiskSets(tuple(f"feature {number}" for number in range(3)), len(CUTS), 4, 256, 10, reach=3.0)
    known = {"cuts": CUTS, "mean": features.mean(axis=0), "scale": features.std(axis=0)}
    near, far = (
        {name: stage.contribute(rows, {**known, "parameters": at}).values for name, rows in sites.items()}
        for at in (np.zeros(3), np.full(3, 0.5))
    )
    assert [far[name]["out_of_reach"][0] for name in sites] == [0.0, 1.0, 0.0, 0.0]
    for name in sites:
        for block in ("events", "leaving", "patients", "features"):
            np.testing.assert_array_equal(near[name][block], far[name][block])
        assert (far[name]["zero"][far[name]["leaving"] > 0.0] > 0.0).all()
