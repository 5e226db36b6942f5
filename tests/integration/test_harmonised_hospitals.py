# SPDX-License-Identifier: Apache-2.0

"""Four hospitals' CT features: those whose means differ between hospitals, before and after ComBat."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import f_oneway, levene

from reference.combat import combat
from sordino.statistics.combat import harmonise

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data"))
TABLE = SHARED / "keek2020" / "Keek2020.csv.gz"

pytestmark = pytest.mark.skipif(
    not TABLE.exists(), reason=f"{TABLE} is not there; SORDINO_SHARED_DATA may say where it is"
)


@pytest.fixture(scope="module")
def hospitals():
    """Features (patients, 1322) by hospital, the outcome in the same order."""
    with gzip.open(TABLE, "rt") as file:
        header, *lines = (line.rstrip("\n").split(",") for line in file)
    where = np.array([re.match("[A-Z]+?(?=[0-9])", line[header.index("ID")]).group() for line in lines])
    outcome = np.array([float(line[header.index("Target")]) for line in lines])
    numbers = [place for place, name in enumerate(header) if name not in ("ID", "Target")]
    features = np.array([[float(line[place]) for place in numbers] for line in lines])
    names = sorted(set(where.tolist()))
    return {name: features[where == name] for name in names}, {name: outcome[where == name] for name in names}


def differing(test, by_hospital):
    """Share of features for which `test` says at 0.05 that hospitals differ."""
    return float(np.mean(test(*by_hospital.values()).pvalue < 0.05))


def test_hospitals_differ_in_most_features_before_and_in_none_after(hospitals):
    features, outcome = hospitals
    given = {name: {"outcome": values} for name, values in outcome.items()}
    done = harmonise(features, covariates=given)
    shares = {
        test.__name__: (differing(test, features), differing(test, done.adjusted))
        for test in (f_oneway, levene)
    }
    print(f"\nshare of {len(done.plan.columns)} features that differ, before and after: {shares}")  # noqa: T201
    assert shares["f_oneway"][0] > 0.5
    assert shares["f_oneway"][1] < 0.01
    assert shares["levene"][1] < 0.5 * shares["levene"][0]
    rows = np.concatenate(list(features.values()))
    labels = np.repeat(list(features), [len(one) for one in features.values()])
    expected, _ = combat(rows, labels, np.concatenate(list(outcome.values()))[:, None])
    ours = np.concatenate(list(done.adjusted.values()))
    off = float(np.max(np.abs(ours - expected) / expected.std(axis=0)))
    print(f"off from the pooled computation by {off:.2g} of a feature's spread")  # noqa: T201
    assert off < 1e-8
