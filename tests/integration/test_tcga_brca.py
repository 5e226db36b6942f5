# SPDX-License-Identifier: Apache-2.0

"""Six regions' breast-cancer patients, the official split: is the federated model as good as the pooled?"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored

from cohorts import at_sites
from sordino.survival.cox import cox_regression
from sordino.survival.performance import performance

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data"))
FOLDER = SHARED / "tcga-brca"

found = importlib.util.spec_from_file_location("tcga_brca", ROOT / "examples" / "tcga_brca.py")
tcga_brca = importlib.util.module_from_spec(found)
sys.modules[found.name] = tcga_brca
found.loader.exec_module(tcga_brca)
L2 = tcga_brca.L2

pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason=f"{FOLDER} is not there; SORDINO_SHARED_DATA may say where it is"
)


@pytest.fixture(scope="module")
def regions():
    return tcga_brca.read(FOLDER)


@pytest.fixture(scope="module")
def parts(regions):
    """Training and test patients: features, times, events, regions, names of the features."""

    def part(chosen):
        features, target = (np.concatenate(column) for column in zip(*chosen.values(), strict=True))
        where = np.repeat(list(chosen), [len(target) for _, target in chosen.values()])
        return features, target[:, 0], target[:, 1] == 1.0, where, next(iter(regions.values())).columns

    return (
        part({name: (site.features, site.target) for name, site in regions.items()}),
        part({name: (site.test_features, site.test_target) for name, site in regions.items()}),
    )


def structured(time, event):
    return np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])


def test_risk_set_sums_give_the_pooled_model_and_its_c_index(parts):
    train, test = parts
    features, time, event, _, columns = train
    assert len(columns) == 39
    assert len(np.unique(train[3])) == 6
    assert (len(time), len(test[1])) == (858, 218)
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


def test_table_of_the_example(regions):
    table = {row.model: row for row in tcga_brca.table(regions, rounds=25)}
    for times, expected in (("16 times", 0.836), ("exact times", 0.839)):
        pooled, federated = table[f"pooled, {times}"], table[f"risk sets, {times}"]
        assert federated.off < 1e-7
        assert federated.c_index == pooled.c_index == pytest.approx(expected, abs=0.002)
    pooled = table["pooled, within regions"]
    assert pooled.c_index == pytest.approx(0.839, abs=0.002)
    for name in ("FedAvg", "FedProx", "SCAFFOLD"):
        assert table[name].c_index == pytest.approx(pooled.c_index, abs=0.02)
        assert table[name].sums == 28
    assert table["SCAFFOLD"].off < min(table["FedAvg"].off, table["FedProx"].off)
    alone = [row.c_index for name, row in table.items() if name.endswith("alone")]
    assert len(alone) == 6
    assert max(alone) < 0.75
