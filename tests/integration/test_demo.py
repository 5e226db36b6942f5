# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from sordino.cli import demo_survival
from sordino.federated.study.demonstration import SIZES

COMMAND = "from sordino.cli import main; main()"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo as a user runs it: its folder, what it told, and its processor's seconds."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-c", COMMAND, "demo", "--out", str(folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return folder, done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_demo_takes_less_than_a_minute(demo):
    assert demo[2] < 60


def test_demo_tells_of_pooled_federated_and_each_hospital_alone(demo):
    told = demo[1].stdout
    alone = [f"{hospital} alone" for hospital in SIZES]
    for name in ("all rows in one place (pooled)", "secure sums (federated)", *alone):
        (line,) = [line for line in told.splitlines() if name in line]
        assert 0.8 < float(line.split("│")[2]) <= 1.0
    assert "bit for bit: 35 of 35" in told
    assert 'across_rounds = "accept"' in told
    line = next(line for line in told.splitlines() if line.startswith("Rounds in which a dropout was"))
    assert line.endswith("6 (cedar left out), 12 (oak rebuilt), 18 (birch left out, linden rebuilt)")


def test_demo_says_who_vanishes_and_who_is_back(demo):
    told = demo[1].stderr
    for said in [
        "round 6: cedar vanished before its upload",
        "round 7: cedar back",
        "round 12: oak vanished after its upload",
        "round 18: birch vanished before its upload",
        "round 18: linden vanished after its upload",
        "round 19: birch and linden back",
    ]:
        assert said in told


def test_federated_model_of_the_demo_is_as_good_as_the_pooled_one(demo):
    metrics = json.loads((demo[0] / "run" / "metrics.json").read_text())
    simulation = metrics["simulation"]
    assert abs(simulation["test_auc_difference"]["mean"]) < 0.005
    (repeat,) = simulation["repeats"]
    assert repeat["train_objective_federated"] < repeat["train_objective_pooled"] + 0.02


def test_private_run_of_the_demo_is_nearly_as_good_at_an_epsilon_of_six(demo):
    plain, private = (json.loads((demo[0] / run / "metrics.json").read_text()) for run in ("run", "private"))
    privacy = private["privacy"]
    assert (privacy["unit"], privacy["delta"], privacy["epsilon_allowed"]) == ("patient", 1e-5, 6.0)
    assert 5.7 < privacy["epsilon"] <= 6.0
    areas = [found["simulation"]["test_auc_federated"]["mean"] for found in (plain, private)]
    assert areas[0] - 0.04 < areas[1] <= 1.0
    (repeat,) = private["secure_sums"]["repeats"]
    assert repeat["test"]["auc_noise_deviation"] < 0.06
    assert abs(repeat["test"]["auc"] - areas[1]) < 6 * repeat["test"]["auc_noise_deviation"]


def test_demo_ends_with_the_epsilon_of_the_private_run(demo):
    privacy = json.loads((demo[0] / "private" / "metrics.json").read_text())["privacy"]
    told = demo[1].stdout
    for label in ("secure sums without noise", "secure sums with noise"):
        (line,) = [line for line in told.splitlines() if label in line]
        assert 0.9 < float(line.split("│")[2]) <= 1.0
    assert f"epsilon {privacy['epsilon']:.4f} at delta 1e-05 for one patient of one hospital" in told


def test_demo_fits_survival_at_real_institutions_as_pooled_rows_would(demo):
    found = json.loads((demo[0] / "survival.json").read_text())
    assert len(found["survivors"]) == 17
    assert "inst-02" not in found["survivors"]
    assert found["sums_equal"] == sum(found["sums"].values())
    ours, same, exact = (
        np.array(found[f"coefficients{which}"]) for which in ("", "_pooled_same_times", "_pooled_exact_times")
    )
    np.testing.assert_allclose(ours, same, rtol=1e-8)
    assert np.abs(ours - exact).max() > 0.001
    assert (np.abs(ours - exact) < 0.5 * np.array(found["standard_errors"])).all()
    np.testing.assert_allclose(exact, pooled_exact(found["survivors"]), rtol=1e-6)
    assert found["log_rank_p"] < 0.05
    assert 0.6 < found["c_index"]["value"] < 0.7


def pooled_exact(sites):
    """By another program, over the rows that lifelines ships."""
    from lifelines.datasets import load_lung
    from sksurv.linear_model import CoxPHSurvivalAnalysis

    table = load_lung()[["inst", "time", "status", "age", "sex", "ph.ecog"]].dropna()
    table = table[[f"inst-{number:02.0f}" in sites for number in table["inst"]]]
    features = np.column_stack([table["age"] / 10.0, table["sex"] == 2, table["ph.ecog"]])
    outcome = np.array(
        list(zip(table["status"] == 1, table["time"], strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    return CoxPHSurvivalAnalysis(ties="breslow", tol=1e-14).fit(features, outcome).coef_


def test_demo_tells_of_survival_and_of_institutions_that_vanish(demo):
    told, lost = demo[1].stdout, demo[1].stderr
    for said in ("226 patients", "a woman", "digits are the same", "log-rank test", "C-index 0.6"):
        assert said in told
    assert "17 secure sums, 17 of them equal to the plain ones" in told
    assert "risk_sets 1: inst-12 vanished after its upload" in lost
    assert "risk_sets 2: inst-13 vanished: round lost, nothing revealed; asked again" in lost


def test_demo_says_what_to_install_for_the_survival_study(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(demo_survival, "find_spec", lambda name: None if name == "lifelines" else name)
    demo_survival.demo_survival(tmp_path)
    assert "needs lifelines: pip install 'sordino[demo]'" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_hospitals_of_the_demo_differ_in_size_and_in_case_mix(demo):
    sick = {}
    for name, size in SIZES.items():
        lines = (demo[0] / f"{name}.csv").read_text().splitlines()[1:]
        assert len(lines) == size
        sick[name] = sum(line.endswith("malignant") for line in lines) / size
    assert sick["alder"] < 0.2
    assert sick["oak"] > 0.9
    assert sum(SIZES.values()) == 569
