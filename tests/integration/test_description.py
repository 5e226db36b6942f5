# SPDX-License-Identifier: Apache-2.0

"""Real tables described by masked sums, and by pandas with all rows in one place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from sordino.statistics import describe

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data"))
KEEK = SHARED / "keek2020" / "Keek2020.csv.gz"
NSCLC = SHARED / "nsclc-captk" / "features.csv"

KINDS = ("presence", "exponents", "centres", "description")


def missing_data(path):
    reason = f"{path} is not there; SORDINO_SHARED_DATA may say where it is"
    return pytest.mark.skipif(not path.exists(), reason=reason)


def check(sites, **settings):
    """Masked, plain and pooled agree; returns what the masked sums told."""
    found = describe(sites, **settings)
    plain = describe(sites, aggregator="plain", **settings)
    for kind in KINDS:
        np.testing.assert_array_equal(found.sums[kind].integers, plain.sums[kind].integers)
    rows = pd.concat(sites.values())
    scale = np.maximum(np.abs(rows.mean()), rows.std()).to_numpy()
    told = ~np.isnan(found.mean)
    off = np.abs(found.mean - rows.mean().to_numpy())[told] / np.where(scale > 0.0, scale, 1.0)[told]
    assert off.max() < 1e-8
    variance = rows.var().to_numpy()
    np.testing.assert_allclose(found.variance[told], variance[told], rtol=1e-8)
    if found.correlation is not None:
        vary = told & (variance > 0.0)
        both = np.ix_(vary, vary)
        expected = rows.corr(min_periods=5).to_numpy()[both]
        known = ~np.isnan(found.correlation[both])
        np.testing.assert_allclose(found.correlation[both][known], expected[known], rtol=1e-8, atol=1e-8)
        assert known.mean() > 0.99
    for part, quantiles in found.quantiles.items():
        for place in np.flatnonzero(told):
            exact = np.nanquantile(rows.iloc[:, place], part, method="inverted_cdf")
            assert quantiles[place].low <= exact < quantiles[place].high
    return found


def test_breast_cancer_over_five_sites():
    rows = load_breast_cancer(as_frame=True).data
    sites = {f"site-{number}": rows.iloc[number::5] for number in range(5)}
    found = check(sites, correlation=True)
    assert found.patients == 569
    assert not found.withheld


@missing_data(KEEK)
def test_keek2020_over_its_four_hospitals():
    rows = pd.read_csv(KEEK)
    hospitals = rows.pop("ID").str.extract("([A-Z]+)")[0]
    sites = {name: group.drop(columns="Target") for name, group in rows.groupby(hospitals)}
    found = check(sites)
    assert (found.patients, len(found.columns)) == (273, 1322)


@missing_data(KEEK)
def test_correlations_of_radiomic_features_of_four_hospitals():
    rows = pd.read_csv(KEEK)
    hospitals = rows.pop("ID").str.extract("([A-Z]+)")[0]
    sites = {name: group.iloc[:, 1:201] for name, group in rows.groupby(hospitals)}
    check(sites, correlation=True, grid=None)


@missing_data(NSCLC)
def test_lung_cancer_with_its_missing_values():
    rows = pd.read_csv(NSCLC, encoding="utf-8-sig").set_index("SubjectID").select_dtypes("number")
    clinical = pd.read_csv(NSCLC.with_name("clinical.csv"), index_col=0).select_dtypes("number")
    rows = rows.join(clinical, how="outer")
    sites = {f"site-{number}": rows.iloc[number::5] for number in range(5)}
    found = check(sites, correlation=True)
    missing = rows.isna().sum().to_numpy()
    assert missing.max() > 50
    shown = ~np.isnan(found.missing)
    np.testing.assert_array_equal(found.missing[shown], missing[shown])
    assert ((missing[~shown] < 5) | (found.holders[~shown] < 5)).all()
