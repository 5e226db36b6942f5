# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sordino.statistics import Histogram, describe
from sordino.statistics.histogram import outer_bounds

EDGES = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]

counted = st.lists(st.integers(0, 12), min_size=4, max_size=30)


def rows(seed=0, sizes=(40, 50, 60)):
    random = np.random.default_rng(seed)
    return {
        name: pd.DataFrame({"a": random.normal(size=size), "b": random.exponential(size=size)})
        for name, size in zip("xyz", sizes, strict=True)
    }


def by_hand(values, edges):
    """Counts of edges[i] <= value < edges[i + 1], and of what is below and beyond."""
    outer = [-np.inf, *edges, np.inf]
    return [((values >= low) & (values < high)).sum() for low, high in pairwise(outer)]


def test_bins_count_the_pooled_patients_and_what_is_out_of_range():
    sites = rows()
    found = describe(sites, grid=EDGES, min_patients=1)
    whole = pd.concat(sites.values())
    for place, name in enumerate(("a", "b")):
        np.testing.assert_array_equal(found.histograms[place].counts, by_hand(whole[name], EDGES))
        np.testing.assert_array_equal(found.histograms[place].edges, [-np.inf, *EDGES, np.inf])


def test_a_value_on_an_edge_is_in_the_bin_above_it():
    sites = {name: pd.DataFrame({"a": [0.0, 1.0, 2.0]}) for name in "xyz"}
    found = describe(sites, grid=[0.0, 1.0, 2.0], min_patients=1)
    np.testing.assert_array_equal(found.histograms[0].counts, [0, 3, 3, 3])


def test_each_feature_may_have_a_grid_of_its_own():
    sites = rows()
    found = describe(sites, grid={"a": EDGES, "b": [0.0, 1.0]}, min_patients=1)
    whole = pd.concat(sites.values())
    np.testing.assert_array_equal(found.histograms[0].counts, by_hand(whole["a"], EDGES))
    np.testing.assert_array_equal(found.histograms[1].counts, by_hand(whole["b"], [0.0, 1.0]))


def test_missing_values_are_in_no_bin():
    sites = rows()
    sites["x"].iloc[:10, 0] = np.nan
    assert describe(sites, grid=EDGES).histograms[0].counts.sum() == 140


@pytest.mark.parametrize("grid", [EDGES, 7, 64, 1000])
@pytest.mark.parametrize("min_patients", [1, 5, 20])
def test_quantiles_are_off_by_no_more_than_they_say(grid, min_patients):
    sites = rows()
    whole = pd.concat(sites.values())
    parts = (0.0, 0.01, 0.25, 0.5, 0.9, 1.0)
    found = describe(sites, grid=grid, quantiles=parts, min_patients=min_patients)
    for part in parts:
        for place, name in enumerate(("a", "b")):
            quantile = found.quantiles[part][place]
            exact = np.quantile(whole[name], part, method="inverted_cdf")
            assert quantile.low <= exact < quantile.high
            assert abs(exact - quantile.value) <= quantile.error


def test_a_finer_grid_gives_finer_quantiles():
    sites = rows()
    errors = [describe(sites, grid=grid, min_patients=1).quantiles[0.5][0].error for grid in (10, 100, 1000)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


@given(counted, st.integers(2, 9))
def test_no_cell_is_about_fewer_than_k_patients_and_none_is_lost(bins, least):
    edges, bins = np.arange(len(bins) - 1.0), np.array(bins, float)
    merged = Histogram.of_bins(edges, bins, least)
    if bins.sum() < least:
        assert np.isnan(merged.counts).all()
        return
    assert (merged.counts >= least).all()
    assert merged.counts.sum() == bins.sum()
    assert merged.edges[0] == -np.inf
    assert merged.edges[-1] == np.inf
    outer = [-np.inf, *edges, np.inf]
    for low, high, count in zip(merged.edges, merged.edges[1:], merged.counts, strict=False):
        first, last = outer.index(low), outer.index(high)
        assert bins[first:last].sum() == count


@given(counted, st.integers(1, 9))
def test_fewer_than_k_patients_lie_beyond_the_bounds(bins, least):
    edges, bins = np.arange(len(bins) - 1.0), np.array(bins, float)
    low, high = outer_bounds(edges, bins, least)
    if bins.sum() < least:
        assert np.isnan([low, high]).all()
        return
    lower, upper = np.append(-np.inf, edges), np.append(edges, np.inf)
    assert bins[upper <= low].sum() < least
    assert bins[lower >= high].sum() < least
    # And no narrower bounds of the grid would do.
    assert bins[lower <= low].sum() >= least
    assert bins[upper >= high].sum() >= least


def test_the_bounds_are_never_one_patients_value():
    sites = rows()
    sites["x"].iloc[0, 0] = 1000.0
    found = describe(sites, grid=np.linspace(-2000, 2000, 401))
    assert found.high[0] < 20.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=90, max_size=90))
def test_any_split_of_the_rows_gives_the_same_histograms(cut):
    cut[:3] = range(3)
    values = pd.DataFrame({"a": np.random.default_rng(3).normal(size=90)})
    sites = {name: values[np.array(cut) == place] for place, name in enumerate("xyz")}
    found = describe(sites, aggregator="plain", grid=EDGES, min_patients=1)
    np.testing.assert_array_equal(found.histograms[0].counts, by_hand(values["a"], EDGES))
