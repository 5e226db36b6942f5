# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter, NelsonAalenFitter
from lifelines.statistics import multivariate_logrank_test
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from cohorts import at_sites, lung, made
from reference.breslow import coarsened
from sordino.errors import InvalidArgument
from sordino.survival.curves import survival_curves
from sordino.survival.grid import merged
from sordino.survival.rows import SurvivalRows


def grouped(features, time, event, where, group):
    return {
        name: SurvivalRows(name, rows.features, rows.time, rows.event, rows.columns, group[where == name])
        for name, rows in at_sites(features, time, event, where).items()
    }


@pytest.mark.parametrize("aggregator", ["plain", "masked"])
def test_exact_curve_is_that_of_statsmodels_and_lifelines(aggregator):
    features, time, event, where, _ = lung()
    curves = survival_curves(
        at_sites(features, time, event, where), grid="exact", discloses_patients=True, aggregator=aggregator
    )
    theirs = SurvfuncRight(time, event.astype(int))
    np.testing.assert_array_equal(curves.cuts, theirs.surv_times)
    np.testing.assert_allclose(curves.survival()[0], theirs.surv_prob, rtol=1e-12)
    np.testing.assert_allclose(np.sqrt(curves.variance()[0]), theirs.surv_prob_se, rtol=1e-10)

    other = KaplanMeierFitter().fit(time, event)
    low, high = curves.band()
    band = other.confidence_interval_survival_function_.loc[curves.cuts].to_numpy()
    np.testing.assert_allclose(np.column_stack([low[0], high[0]]), band, rtol=1e-9)
    assert curves.median()[0] == other.median_survival_time_
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event).cumulative_hazard_
    np.testing.assert_allclose(
        curves.cumulative_hazard()[0], hazard.loc[curves.cuts].to_numpy()[:, 0], rtol=1e-12
    )


@pytest.mark.parametrize("groups", [2, 3])
def test_log_rank_test_is_that_of_statsmodels_and_lifelines(groups):
    features, time, event, where = made()
    group = (np.arange(len(time)) * 7 // 5) % groups
    sites, names = grouped(features, time, event, where, group), tuple("abc"[:groups])
    exact = survival_curves(sites, groups=names, grid="exact", discloses_patients=True, aggregator="plain")
    np.testing.assert_allclose(exact.log_rank(), survdiff(time, event.astype(int), group), rtol=1e-8)

    coarse = survival_curves(sites, groups=names, grid=12)
    moved, seen = coarsened(time, event, coarse.cuts)
    theirs = multivariate_logrank_test(moved, group, seen)
    np.testing.assert_allclose(coarse.log_rank(), (theirs.test_statistic, theirs.p_value), rtol=1e-8)
    left = coarse.at_risk - np.column_stack([coarse.at_risk[:, 1:], np.zeros(groups)])
    assert not ((left > 0.0) & (left < 10.0)).any()


def test_group_that_nobody_is_in_has_no_test():
    sites = at_sites(*made())
    curves = survival_curves(sites, groups=("here", "nowhere"), grid=8, aggregator="plain")
    with pytest.raises(InvalidArgument, match="two groups"):
        curves.log_rank()
    with pytest.raises(InvalidArgument, match="none of the 1"):
        survival_curves(grouped(*made(), np.ones(240, dtype=int)), aggregator="plain")


def test_candidates_go_until_no_few_patients_leave_anywhere():
    random = np.random.default_rng(3)
    for _ in range(200):
        groups, candidates, least = random.integers(1, 4), random.integers(1, 30), random.integers(1, 9)
        events, censored = random.poisson(random.choice([0.5, 2.0, 6.0]), (2, groups, candidates + 1)) * 1.0
        found = merged(events, censored, least)
        if not len(found.kept):
            continue
        left = found.deaths + found.censored
        left[:, -1] += found.beyond
        for counts in (left, found.never):
            assert not ((counts > 0.0) & (counts < least)).any()
        assert (found.deaths.sum(axis=0) >= 1.0).all()
        everybody = found.deaths.sum() + found.censored.sum() + found.never.sum() + found.beyond.sum()
        assert everybody == events.sum() + censored.sum()
