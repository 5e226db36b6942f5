# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cohorts import at_sites, made
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, RoundAborted
from sordino.survival.curves import survival_curves
from sordino.survival.noised_curves import noised_curves

CUTS = [10.0, 30.0, 60.0, 100.0, 200.0]


@pytest.mark.parametrize("unit", ["patient", "patient-local", "site"])
def test_noised_curve_is_as_far_off_as_it_says_and_costs_no_more(unit):
    sites = at_sites(*made(patients=2000))
    epsilon = 60.0 if unit == "site" else 2.0
    terms = PrivateTerms(unit, epsilon=epsilon, delta=1e-5)
    exact = survival_curves(sites, grid=CUTS, aggregator="plain")
    noised = noised_curves(sites, CUTS, terms, max_patients=512)
    assert noised.guarantee.epsilon <= epsilon
    off = noised.deaths - exact.deaths
    assert np.any(off != 0.0)
    assert np.abs(off).max() < 5.0 * noised.noise
    assert np.abs(off).max() > 0.1 * noised.noise
    assert len(noised.survivors) == 4
    if unit != "site":
        low, high = noised.band(0.999999)
        assert (low < exact.survival()).all()
        assert (exact.survival() < high).all()


def test_deviation_of_the_noise_on_a_curve_is_that_of_many_draws():
    sites = at_sites(*made(patients=2000))
    curves = noised_curves(sites, CUTS, PrivateTerms("patient", epsilon=4.0, delta=1e-5), max_patients=512)
    exact = survival_curves(sites, grid=CUTS, aggregator="plain")
    random, draws = np.random.default_rng(0), []
    for _ in range(4000):
        deaths, censored = curves.noise * random.normal(size=(2, len(CUTS)))
        left = deaths + censored
        left[-1] += curves.noise * random.normal()
        risk = exact.at_risk[0] + np.cumsum(left[::-1])[::-1]
        draws.append(np.log(np.cumprod(1.0 - (exact.deaths[0] + deaths) / risk)))
    sampling = exact.variance()[0] / exact.survival()[0] ** 2
    at_exact = replace(curves, deaths=exact.deaths, at_risk=exact.at_risk)
    told = at_exact.variance()[0] / exact.survival()[0] ** 2
    np.testing.assert_allclose(np.var(draws, axis=0), told - sampling, rtol=0.15)


def test_budget_refuses_a_second_curve_of_the_same_data(tmp_path):
    sites, terms = at_sites(*made()), PrivateTerms("patient", epsilon=1.0, delta=1e-5)
    noised_curves(sites, CUTS, terms, max_patients=512, directory=tmp_path)
    with pytest.raises(RoundAborted, match="budget"):
        noised_curves(sites, CUTS, terms, max_patients=512, directory=tmp_path)


def test_grid_that_is_none_is_refused():
    terms = PrivateTerms("patient", epsilon=1.0, delta=1e-5)
    with pytest.raises(InvalidArgument, match="increase"):
        noised_curves(at_sites(*made()), [2.0, 1.0], terms, max_patients=512)


def test_bound_on_patients_does_not_follow_the_rows():
    sites, terms = at_sites(*made()), PrivateTerms("patient", epsilon=4.0, delta=1e-5)
    with pytest.raises(TypeError, match="max_patients"):
        noised_curves(sites, CUTS, terms)
    # Fewer than a site has: a refusal would tell that.
    curves = noised_curves(sites, CUTS, terms, max_patients=16)
    assert np.isfinite(curves.survival()).all()
