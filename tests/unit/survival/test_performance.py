# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sksurv.metrics import brier_score, concordance_index_censored, integrated_brier_score

from cohorts import at_sites, lung, made
from reference.breslow import coarsened
from sordino.errors import InvalidArgument
from sordino.survival.concordance import c_index
from sordino.survival.cox import cox_regression
from sordino.survival.performance import performance


def fitted(data):
    sites = at_sites(*data)
    return sites, cox_regression(sites, grid=16, aggregator="plain")


@pytest.mark.parametrize("data", [lung(), made()])
def test_c_index_is_harrells_within_its_bounds(data):
    sites, fit = fitted(data)
    features, time, event = data[:3]
    exact = concordance_index_censored(event, time, fit.score(features))[0]
    coarse = performance(fit, sites, grid=16)
    assert coarse.c_index.low <= exact <= coarse.c_index.high
    assert abs(coarse.c_index.value - exact) < 0.02
    fine = performance(
        fit, sites, grid="exact", discloses_patients=True, score_bins=10_000, aggregator="plain"
    )
    assert fine.c_index.low <= exact <= fine.c_index.high
    assert fine.c_index.high - fine.c_index.low < 0.02
    assert abs(fine.c_index.value - exact) < 0.002


def test_c_index_of_counts_is_that_of_their_pairs():
    random = np.random.default_rng(2)
    for _ in range(20):
        scored = random.poisson(0.7, (2, 4, 5)).astype(float)
        patients = [
            (time, score, kind == 0)
            for (kind, time, score), count in np.ndenumerate(scored)
            for _ in range(int(count))
        ]
        points, pairs, tied, unknown = 0.0, 0, 0, 0
        for one, other in combinations(patients, 2):
            first, last = sorted([one, other])
            if first[0] == last[0]:
                unknown += first[2] or last[2]
            elif first[2]:
                pairs += 1
                tied += first[1] == last[1]
                points += first[1] > last[1]
        found = c_index(scored)
        assert found.pairs == pairs
        assert found.value == pytest.approx((points + tied / 2) / pairs)
        assert found.low == pytest.approx(points / (pairs + unknown))
        assert found.high == pytest.approx((points + tied + unknown) / (pairs + unknown))


def test_c_index_without_a_pair_is_not_defined():
    assert np.isnan(c_index(np.zeros((2, 3, 4))).value)


@pytest.mark.parametrize("aggregator", ["plain", "masked"])
def test_brier_score_is_that_of_scikit_survival_on_the_grid(aggregator):
    features, time, event, where = made()
    sites, fit = fitted((features, time, event, where))
    ours = performance(fit, sites, grid=16, aggregator=aggregator)
    assert len(ours.times) >= 6
    curves = _cuts(sites)
    moved, seen = coarsened(time, event, curves)
    moved = np.where(seen, moved, np.nextafter(moved, np.inf))  # censored after the cut
    y = np.array(list(zip(seen, moved, strict=True)), dtype=[("event", bool), ("time", float)])
    survival = fit.survival(features, ours.times)
    _, theirs = brier_score(y, y, survival, ours.times)
    np.testing.assert_allclose(ours.brier, theirs, rtol=1e-7)
    assert ours.integrated_brier == pytest.approx(
        integrated_brier_score(y, y, survival, ours.times), rel=1e-7
    )


def test_late_brier_scores_of_a_coarse_grid_are_near_those_of_exact_times():
    from sksurv.datasets import load_whas500

    table, outcome = load_whas500()
    features, time = table.astype(float).to_numpy(), outcome["lenfol"].astype(float)
    where = np.array([f"site-{row % 5}" for row in range(len(time))])
    sites, fit = fitted((features, time, outcome["fstat"].astype(bool), where))
    ours = performance(fit, sites, aggregator="plain")
    late = ours.times < np.quantile(time, 0.97)
    survival = fit.survival(features, ours.times[late])
    _, theirs = brier_score(outcome, outcome, survival, ours.times[late])
    np.testing.assert_allclose(ours.brier[late], theirs, atol=0.02)


def _cuts(sites):
    from sordino.survival.curves import survival_curves

    return survival_curves(sites, grid=16, aggregator="plain").cuts


def test_model_of_other_features_and_impossible_bins_are_refused():
    sites, fit = fitted(made())
    with pytest.raises(InvalidArgument, match="the sites have others"):
        performance(fit, at_sites(*made(columns=2)))
    with pytest.raises(InvalidArgument, match="score_bins"):
        performance(fit, sites, score_bins=1)
