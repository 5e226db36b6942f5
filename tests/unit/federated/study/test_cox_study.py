# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pytest
from statsmodels.duration.hazard_regression import PHReg
from typer.testing import CliRunner

from hospitals import NAMES, write_csv, write_study
from sordino.cli.app import app
from sordino.federated.study.file import examine_study
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.run import run_study
from sordino.federated.study.table import read_table
from sordino.survival.concordance import harrell

EXACT = 'algorithm = "risk_sets"'
COX = '[model]\ntype = "cox"\nl2 = 0.0\n'
DISCLOSED = COX + 'grid = "exact"\ndiscloses_patients = true\n[simulation]\ncompare_plain = true\n'
HEADER = ["id", "dose", "age", "months", "died"]


def written(folder, *, training=EXACT, more=COX, rows=60, **changes):
    """A study of survival at four sites, of 60 patients each, 200 of 240 events in whole months."""
    random = np.random.default_rng(11)
    data = changes.pop("data", 'time = "months"\nevent = "died"')
    path = write_study(folder, training=training, more=more, data=data, **changes)
    path.write_text(path.read_text().replace('target = "target"\n', ""))
    for place, name in enumerate(NAMES):
        features = random.normal(0.2 * place, 1.0, size=(rows, 2))
        months = np.ceil(20.0 * random.exponential(np.exp(-features @ [0.8, -0.5])))
        died = (random.random(rows) < 0.8).astype(int)
        lines = [[f"{name}{k}", *features[k].tolist(), months[k], died[k]] for k in range(rows)]
        write_csv(folder / f"{name}.csv", HEADER, lines)
    return path


def ran(folder, **changes):
    prepared = prepare(written(folder, **changes))
    run_study(prepared, folder / "out")
    found = json.loads((folder / "out" / "metrics.json").read_text())
    return prepared, read_model(folder / "out" / "model.json"), found


def pooled(prepared, *, held_out=False):
    sites = prepared.sites(0).values()
    parts = [
        (site.test_features, site.test_target) if held_out else (site.features, site.target) for site in sites
    ]
    features, target = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features, target[:, 0], target[:, 1]


def test_exact_grid_is_the_pooled_breslow_fit(tmp_path):
    prepared, model, found = ran(tmp_path, more=DISCLOSED)
    features, time, event = pooled(prepared)
    expected = PHReg(time, features, status=event, ties="breslow").fit(disp=False)
    scale = np.array(model.scaler.scale)
    np.testing.assert_allclose(np.array(model.coefficients) / scale, expected.params, rtol=1e-6)
    np.testing.assert_allclose(np.array(model.standard_errors) / scale, expected.bse, rtol=1e-6)
    assert found["secure_sums"]["repeats"][0]["stopped"]["round"] < 12
    compared = found["simulation"]["compared_with_plain_sums"]
    assert compared["sums"] == compared["equal_bit_for_bit"]


def test_c_index_from_sums_is_within_its_bounds_of_harrells(tmp_path):
    prepared, model, found = ran(tmp_path)
    features, time, event = pooled(prepared, held_out=True)
    exact = harrell(time, event == 1.0, model.predict(features)[:, 0])
    test = found["secure_sums"]["repeats"][0]["test"]
    assert test["patients"] == len(time)
    assert test["events"] == event.sum()
    assert test["c_index_low"] <= exact <= test["c_index_high"]
    assert abs(test["c_index"] - exact) < 0.06
    assert exact > 0.6
    assert found["secure_sums"]["test_c_index"]["mean"] == test["c_index"]


def test_run_that_stopped_between_newton_steps_goes_on_to_the_same_model(tmp_path):
    class Stop(Exception):
        pass

    def watch(now):
        if now.done == 7:  # three sums scale, two cut the time: the second step is made
            raise Stop

    prepared = prepare(written(tmp_path))
    run_study(prepared, tmp_path / "whole")
    with pytest.raises(Stop):
        run_study(prepared, tmp_path / "halves", watch=watch)
    assert run_study(prepared, tmp_path / "halves")
    for name in ("model.json", "metrics.json", "sites.json"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_new_patients_get_a_risk_and_a_curve(tmp_path):
    _, model, _ = ran(tmp_path)
    assert model.columns[0] == "log_hazard"
    assert model.columns[1].startswith("survival_")
    write_csv(tmp_path / "new.csv", ["id", "dose", "age"], [["low", -1, 0], ["high", 2, 0]])
    low, high = model.score(read_table(tmp_path / "new.csv"))
    assert low[1] < high[1]
    curves = np.array([low[2:], high[2:]])
    assert (np.diff(curves, axis=1) <= 0.0).all()
    assert (curves[0] > curves[1]).all()


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_local_steps_come_near_the_exact_fit(tmp_path, algorithm):
    momentum = "\nmomentum = 0.5" if algorithm == "fedavg" else ""
    training = f'algorithm = "{algorithm}"\nrounds = 60\nlocal_steps = 2\nlearning_rate = 0.3{momentum}'
    _, model, found = ran(tmp_path, training=training)
    (tmp_path / "exact").mkdir()
    _, exact, whole = ran(tmp_path / "exact")
    assert model.hazard is None
    # Patients are compared within their own site, which is another model of the same hazard ratios.
    np.testing.assert_allclose(model.coefficients, exact.coefficients, atol=2.0 * max(exact.standard_errors))
    tests = [one["secure_sums"]["repeats"][0]["test"]["c_index"] for one in (found, whole)]
    assert abs(tests[0] - tests[1]) < 0.03


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"more": "[model]\ntype = 'cox'\ngrid = 'exact'"}, "set 'model.discloses_patients' = true"),
        ({"more": "[model]\ntype = 'cox'\ngrid = [3.0, 2.0]"}, "the times of the grid must increase"),
        ({"more": "[model]\ntype = 'cox'\ngrid = 'fine'"}, "'model.grid' is 'fine', allowed is"),
        ({"more": "[model]\ntype = 'cox'\nstandardise = false"}, "needs 'model.standardise' = true"),
        ({"more": ""}, '"risk_sets" goes with \'model.type\' = "cox" only'),
        ({"data": 'time = "months"'}, "the key 'data.event' is missing"),
        ({"training": EXACT + "\nmomentum = 0.5"}, "'training.momentum' goes with algorithm ="),
        ({"data": 'time = "months"\nevent = "died"\nmissing = "mean"'}, "goes without 'modalities'"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path, changes, said):
    _, faults = examine_study(written(tmp_path, **changes))
    assert any(said in fault for fault in faults), faults


def test_check_plan_run_and_predict_from_the_command_line(tmp_path):
    path, out = written(tmp_path), tmp_path / "out"
    assert "ready to run" in CliRunner().invoke(app, ["check", str(path)]).stdout
    plan = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout)
    assert {one["kind"] for one in plan["questions"]} >= {"risk_sets", "leaving", "concordance"}
    told = CliRunner().invoke(app, ["run", str(path), "--out", str(out)])
    assert told.exit_code == 0
    assert "test C-index, from secure sums: 0." in told.stdout
    told = CliRunner().invoke(app, ["predict", str(out / "model.json"), str(tmp_path / "north.csv")])
    assert told.stdout.startswith("id,log_hazard,survival_")


def test_times_and_events_that_are_none_are_named_by_line(tmp_path):
    path = written(tmp_path)
    rows = [["p0", 1, 2, 5, 1], ["p1", 1, 2, 0, 1], ["p2", 1, 2, -3, 0], ["p3", 2, 1, 4, "lost"]]
    write_csv(tmp_path / "north.csv", HEADER, rows)
    said = "\n".join(examine(path)[1].faults)
    assert "line 3, column 'months': the time 0 is not above zero" in said
    assert "line 4, column 'months': the time -3" in said
    assert "line 5, column 'died': 'lost' is neither 0 (censored) nor 1 (event)" in said


def test_no_events_at_all_is_refused_and_at_a_site_doubted(tmp_path):
    path = written(tmp_path)
    rows = [[f"n{k}", k % 3, k, 5 + k, 0] for k in range(30)]
    write_csv(tmp_path / "north.csv", HEADER, rows)
    prepared, findings = examine(path)
    assert prepared is not None
    assert "site 'north' has no patient with the event" in findings.warnings
    for name in NAMES:
        write_csv(tmp_path / f"{name}.csv", HEADER, [[f"{name}{row[0]}", *row[1:]] for row in rows])
    assert any("no patient has the event" in fault for fault in examine(path)[1].faults)


def test_disclosing_patients_is_warned_of(tmp_path):
    _, findings = examine(written(tmp_path, more=DISCLOSED))
    assert any("show the covariates of single patients" in warning for warning in findings.warnings)
