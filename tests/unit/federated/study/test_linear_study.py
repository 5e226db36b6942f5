# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from hospitals import NAMES, write_csv, write_study
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.run import run_study
from sordino.federated.study.table import read_table

LINEAR = '[model]\ntype = "linear"\nl2 = 0.05\n[simulation]\ncompare_pooled = true\n'


def written(folder, **changes):
    """A study of a cost in the ten thousands that three features explain in part."""
    path = write_study(folder, **{"more": LINEAR, "training": "rounds = 120", **changes})
    random = np.random.default_rng(5)
    for name in NAMES:
        with (folder / f"{name}.csv").open() as file:
            header, *rows = csv.reader(file)
        changed = []
        for row in rows:
            features = np.array(row[1:4], dtype=float)
            cost = 50_000.0 + 3000.0 * features[0] - 1000.0 * features[2] + 500.0 * random.normal()
            changed.append([*row[:4], cost])
        write_csv(folder / f"{name}.csv", header, changed)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    prepared = prepare(written(folder))
    run_study(prepared, folder / "out")
    return prepared, folder, json.loads((folder / "out" / "metrics.json").read_text())


def test_federated_ridge_is_pooled_ridge(finished):
    prepared, folder, _ = finished
    sites = prepared.sites(0).values()
    features = np.concatenate([site.features for site in sites])
    target = np.concatenate([site.target for site in sites])
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    unit = target.std()
    pooled = Ridge(alpha=0.05 * len(target)).fit(scaled, (target - target.mean()) / unit)
    model = read_model(folder / "out" / "model.json")
    np.testing.assert_allclose(model.coefficients, unit * pooled.coef_, rtol=1e-4)
    assert model.intercept == pytest.approx(target.mean() + unit * pooled.intercept_, rel=1e-4)


def test_metrics_are_those_of_the_predictions_in_the_targets_unit(finished):
    prepared, folder, found = finished
    model = read_model(folder / "out" / "model.json")
    sites = prepared.sites(0).values()
    truth = np.concatenate([site.test_target for site in sites])
    off = model.predict(np.concatenate([site.test_features for site in sites]))[:, 0] - truth
    (repeat,) = found["secure_sums"]["repeats"]
    assert repeat["test"]["patients"] == len(truth)
    assert repeat["test"]["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-4)
    assert repeat["test"]["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-4)
    assert repeat["test"]["r2"] == pytest.approx(1.0 - (off**2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert found["simulation"]["test_r2_pooled"]["mean"] == pytest.approx(repeat["test"]["r2"], abs=1e-4)


def test_new_patients_are_scored(finished):
    _, folder, _ = finished
    model = read_model(folder / "out" / "model.json")
    assert model.columns == ("expected_target",)
    scores = [score for _, score in model.score(read_table(folder / "north.csv"))]
    assert 40_000 < min(scores) < max(scores) < 70_000


def test_target_that_is_no_number_or_one_number_is_refused(tmp_path):
    path = write_study(tmp_path, more=LINEAR)
    header = ["id", "feature 0", "feature 1", "feature 2", "target"]
    rows = [[f"p{k}", k, -k, k * k, "high" if k == 2 else 1.5] for k in range(6)]
    write_csv(tmp_path / "north.csv", header, rows)
    assert any("line 4, column 'target': 'high'" in fault for fault in examine(path)[1].faults)
    for name in NAMES:
        write_csv(tmp_path / f"{name}.csv", header, [[f"{name}{k}", k, -k, k * k, 1.5] for k in range(6)])
    assert "the target 'target' is 1.5 for every patient" in examine(path)[1].faults


def test_privacy_goes_with_classes_only(tmp_path):
    more = LINEAR + '[privacy]\nunit = "patient"\nepsilon = 9.0\ndelta = 1e-5\n'
    path = written(tmp_path, more=more, policy="max_patients = 100")
    assert any("[privacy] does not go with this 'model.type'" in fault for fault in examine(path)[1].faults)
