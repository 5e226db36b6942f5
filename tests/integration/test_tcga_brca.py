"""Six regions' breast-cancer patients, the official split: is the federated model as good as the pooled?"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored

from cohorts import at_sites
from sordino.survival.cox import cox_regression
from sordino.survival.performance import performance

SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
FOLDER = SHARED / "tcga-brca"
L2 = 0.001
"""The dummies of stages and of diagnoses are collinear."""

pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason=f"{FOLDER} is not there; SORDINO_SHARED_DATA may say where it is"
)


def rows(name):
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def parts():
    """Training and test patients: features, times, events, regions; those of time zero are left out."""
    region = {row["TSS Code"]: row["Region"] for row in rows("centers.csv")}
    fold = {row["pid"]: row["fold"] for row in rows("train_test_split.csv")}
    patients = {row["pid"]: row for row in rows("brca.csv") if row["pid"] in fold and float(row["T"]) > 0.0}
    columns = [name for name in next(iter(patients.values())) if name not in ("pid", "E", "T")]

    def part(which):
        chosen = [row for row in patients.values() if fold[row["pid"]] == which]
        return (
            np.array([[float(row[name]) for name in columns] for row in chosen]),
            np.array([float(row["T"]) for row in chosen]),
            np.array([float(row["E"]) == 1.0 for row in chosen]),
            np.array([region[row["pid"][5:7]] for row in chosen]),
            tuple(columns),
        )

    return part("train"), part("test")


def structured(time, event):
    return np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])


def test_risk_set_sums_give_the_pooled_model_and_its_c_index(parts):
    train, test = parts
    features, time, event, _, columns = train
    assert len(columns) == 39
    assert len(np.unique(train[3])) == 6
    fit = cox_regression(at_sites(*train), grid="exact", discloses_patients=True, l2=L2, aggregator="plain")
    scale = features.std(axis=0)
    pooled = CoxPHSurvivalAnalysis(alpha=L2 * len(time), ties="breslow", tol=1e-14)
    pooled.fit((features - fit.mean) / scale, structured(time, event))
    np.testing.assert_allclose(fit.coefficients * scale, pooled.coef_, atol=1e-6)
    ours = concordance_index_censored(test[2], test[1], fit.score(test[0]))[0]
    theirs = concordance_index_censored(test[2], test[1], pooled.predict((test[0] - fit.mean) / scale))[0]
    assert ours == theirs
    assert ours > 0.8


def test_coarse_grid_costs_little_and_the_secure_c_index_is_within_its_bounds(parts):
    train, test = parts
    fit = cox_regression(at_sites(*train), l2=L2)
    assert (fit.at_risk - np.append(fit.at_risk[1:], 0.0)).min() >= 10
    exact = concordance_index_censored(test[2], test[1], fit.score(test[0]))[0]
    assert exact > 0.8
    found = performance(fit, at_sites(*test))
    assert found.c_index.low <= exact <= found.c_index.high
    assert abs(found.c_index.value - exact) < 0.02
    print(f"\nC-index {exact:.4f}, secure {found.c_index}, Brier {found.integrated_brier:.4f}")  # noqa: T201
