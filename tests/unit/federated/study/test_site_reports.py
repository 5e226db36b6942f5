# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json
import stat

import pytest

from hospitals import NAMES, write_csv, write_study
from sordino.federated.study.outcomes.classes import auc
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.run import run_study

SITES = ("east", "far", "isle", "north", "rim", "south", "west")
LOST = """
[[dropouts]]
round = [1, 3]
site = "east"
[[dropouts]]
round = [1, 2]
site = "far"
[[dropouts]]
round = 4
site = "isle"
step = "unmask"
[[dropouts]]
round = 3
site = "isle"
"""
BY_AGE = """
[[subgroups]]
column = "age"
edges = [50, 70]
"""


def written(folder, *, names=NAMES, attributes=None, share=(), more="", **changes):
    """A study whose files have an age, with attributes of the sites."""
    path = write_study(folder, names=names, more=more, **changes)
    for name in names:
        with (folder / f"{name}.csv").open() as file:
            header, *rows = csv.reader(file)
        aged = [[*row, 40 + 7 * (number % 7)] for number, row in enumerate(rows)]
        write_csv(folder / f"{name}.csv", [*header, "age"], aged)
    text = path.read_text()
    for name in names:
        own = f'path = "{name}.csv"'
        added = own
        if attributes:
            added += f'\nattributes = {{ size = "{attributes[name]}" }}'
        if name in share:
            added += "\nshare_performance = true"
        text = text.replace(own, added)
    path.write_text(text)
    return path


def results(path, out):
    prepared = prepare(path)
    run_study(prepared, out)
    return prepared, {name: json.loads((out / f"{name}.json").read_text()) for name in ("metrics", "sites")}


def test_result_says_how_often_each_site_was_left_out_and_warns(tmp_path):
    size = {name: "small" if name in ("east", "far", "isle") else "large" for name in SITES}
    path = written(tmp_path, names=SITES, attributes=size, more=LOST, data="exclude = ['age']")
    _, found = results(path, tmp_path / "out")
    sites = found["sites"]["sites"]
    assert {name: own["rounds"] for name, own in sites.items() if own["left_out"]} == {
        "east": [1, 3],
        "far": [1, 2],
        "isle": [3],
    }
    assert sites["far"]["part_of_rounds"] == 0.5
    (test,) = found["sites"]["exclusion"]
    assert test["correlated"]
    assert test["p_value"] == pytest.approx(1 / 35)
    (warning,) = found["sites"]["warnings"]
    assert "the attribute 'size'" in warning


def test_exclusion_that_goes_with_no_attribute_is_no_warning(tmp_path):
    size = {name: "small" if name in ("east", "north", "west") else "large" for name in SITES}
    path = written(tmp_path, names=SITES, attributes=size, more=LOST, data="exclude = ['age']")
    _, found = results(path, tmp_path / "out")
    assert [test["correlated"] for test in found["sites"]["exclusion"]] == [False]
    assert found["sites"]["warnings"] == []


def test_own_performance_is_told_to_its_own_site_unless_it_opts_in(tmp_path):
    path = written(tmp_path, share=("north",), data="exclude = ['age']", test="fraction = 0.4")
    prepared, found = results(path, tmp_path / "out")
    assert set(found["sites"]["shared_performance"]) == {"north"}
    for name, site in prepared.sites(0).items():
        report = tmp_path / "out" / "sites" / name / "report.json"
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
        assert stat.S_IMODE(report.parent.stat().st_mode) == 0o700
        (own,) = json.loads(report.read_text())["own_performance"]
        model = json.loads((tmp_path / "out" / "model.json").read_text())
        scaled = (site.test_features - model["scaler"]["mean"]) / model["scaler"]["scale"]
        exact = auc(site.test_target, scaled @ model["coefficients"])
        assert own["patients"] == len(site.test_target)
        assert abs(own["auc"] - exact) <= own["auc_off_by_at_most"] + 1e-12
        shared = found["sites"]["shared_performance"].get(name)
        assert shared == ([own] if name == "north" else None)
        if name != "north":
            assert f"{own['log_loss']}" not in (tmp_path / "out" / "sites.json").read_text()


def test_subgroups_are_told_from_sums_and_small_ones_withheld(tmp_path):
    path = written(tmp_path, more=BY_AGE, test="fraction = 0.4\nmin_subgroup = 14")
    prepared, found = results(path, tmp_path / "out")
    assert prepared.cohort.schema.features == ("feature 0", "feature 1", "feature 2")
    counted = sum(site.test_groups.sum(axis=0) for site in prepared.sites(0).values())
    assert counted.tolist() == [14, 23, 12, 0]
    told = found["metrics"]["secure_sums"]["repeats"][0]["subgroups"]
    # With the cell of 12 the next larger one goes, or the whole less the two would show the 12.
    assert [(one["cell"], one.get("patients")) for one in told] == [
        ("below 50", None),
        ("50 to below 70", 23),
        ("70 and above", None),
    ]


def test_subgroups_with_privacy_are_charged_and_noised(tmp_path):
    more = BY_AGE + '[privacy]\nunit = "patient"\nepsilon = 90.0\ndelta = 1e-5\n'
    path = written(
        tmp_path, more=more, policy="max_patients = 100", test="fraction = 0.4\nmin_subgroup = 3\nbins = 4"
    )
    prepared, found = results(path, tmp_path / "out")
    assert found["metrics"]["privacy"]["epsilon"] <= 90.0
    assert set(found["metrics"]["privacy"]["noise_multipliers"]) >= {
        "private_evaluation",
        "private_subgroups",
    }
    counted = sum(site.test_groups.sum(axis=0) for site in prepared.sites(0).values())
    told = {one["cell"]: one for one in found["metrics"]["secure_sums"]["repeats"][0]["subgroups"]}
    for (_, cell), size in zip(prepared.training.subgroups.names, counted.tolist(), strict=True):
        if size >= 20:
            assert abs(told[cell]["patients"] - size) < 12
            assert told[cell]["accuracy_noise_deviation"] > 0.0


def test_sharing_does_not_go_with_privacy_and_subgroups_not_without_a_test(tmp_path):
    more = '[privacy]\nunit = "patient"\nepsilon = 90.0\ndelta = 1e-5\n'
    shared = written(tmp_path, share=("north",), more=more, policy="max_patients = 100")
    assert any("'sites.share_performance' of 'north'" in fault for fault in examine(shared)[1].faults)
    path = written(tmp_path, more=BY_AGE)
    path.write_text(path.read_text().replace("[test]\nfraction = 0.3", ""))
    assert any("'subgroups' needs [test]" in fault for fault in examine(path)[1].faults)


def test_column_of_subgroups_must_be_there(tmp_path):
    path = write_study(tmp_path, more=BY_AGE)
    assert any("east.csv: no column 'age'" in fault for fault in examine(path)[1].faults)
