# SPDX-License-Identifier: Apache-2.0

"""Results of real runs as a notebook takes them: scores, a table, and figures on axes of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest

import sordino
from hospitals import hospitals, write_csv, write_study
from sordino.errors import ConfigError
from sordino.report.results import Results

LOSSES = (
    '[[dropouts]]\nround = 2\nsite = "north"\n[[dropouts]]\nround = 3\nsite = "south"\nstep = "unmask"\n'
    "[simulation]\ncompare_pooled = true\n"
)


@pytest.fixture
def axes():
    return pytest.importorskip("matplotlib.figure").Figure().subplots()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    study = write_study(folder, test="fraction = 0.4\nrepeats = 3\nbins = 20", more=LOSSES)
    sordino.run_study(sordino.prepare(study), folder / "out")
    return sordino.read_results(folder / "out")


def test_scores_are_those_of_metrics_json_and_stand_in_the_table(results):
    scores = results.scores()
    assert list(scores) == ["secure sums", "federated", "pooled", "difference"]
    assert scores["difference"]["mean"] == pytest.approx(
        scores["federated"]["mean"] - scores["pooled"]["mean"], abs=1e-12
    )
    heading, first, *others = results.table().splitlines()
    assert "AUC, 3 splits" in heading
    assert f"{scores['secure sums']['mean']:.3f}" in first
    assert f"{scores['secure sums']['low']:.3f} to" in first
    assert len(others) == 3
    assert repr(results) == results.table()


def test_roc_goes_through_the_bands_from_corner_to_corner(results, axes):
    points = results.roc()
    np.testing.assert_array_equal(points[[0, -1]], [[0.0, 0.0], [1.0, 1.0]])
    assert (np.diff(points, axis=0) >= 0.0).all()
    bands = results.test["figures"]["bands"]
    assert points[1, 1] == pytest.approx(bands[-1]["positives"] / results.test["splits"][0]["positives"])
    results.draw_roc(axes)
    np.testing.assert_array_equal(axes.lines[-1].get_xydata(), points)


def test_calibration_has_a_dot_and_an_interval_for_every_band(results, axes):
    bands = results.test["figures"]["bands"]
    results.draw_calibration(axes)
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [band["mean_predicted"] for band in bands]
    assert len(axes.lines) == 1 + 2 * len(bands)


def test_rounds_show_who_vanished_before_and_after_the_upload(results, axes):
    results.draw_rounds(axes, split=2)
    marks = {line.get_label(): line.get_xydata() for line in axes.lines}
    rounds = [one for one in results.report["history"]["rounds"] if one["repeat"] == 2]
    kinds = [(one["question"], one["number"]) for one in rounds]
    names = list(results.report["history"]["sites"])
    at = kinds.index(("fedavg", 2)) + 1
    np.testing.assert_array_equal(marks["vanished before its upload"], [[at, names.index("north")]])
    np.testing.assert_array_equal(
        marks["vanished after its upload, rebuilt"], [[at + 1, names.index("south")]]
    )
    assert len(marks["took part"]) == len(names) * len(rounds) - 2
    with pytest.raises(ConfigError, match="no sum of a split 4"):
        results.draw_rounds(axes, split=4)


def test_what_a_run_has_not_is_told(results, axes):
    with pytest.raises(ConfigError, match="its sums had no noise"):
        results.draw_spending(axes)
    with pytest.raises(ConfigError, match="'tested' has no curves that may be drawn"):
        results.draw_survival(axes)
    with pytest.raises(ConfigError, match="nobody was held out"):
        Results({**results.report, "test": None}).scores()


def test_spending_is_drawn_from_zero_to_epsilon(results, axes):
    privacy = {"epsilon_allowed": 6.0, "epsilon_after_sum": [1.0, 2.5, 4.0]}
    Results({**results.report, "privacy": privacy}).draw_spending(axes)
    assert axes.lines[-1].get_ydata().tolist() == [0.0, 1.0, 2.5, 4.0]


def test_survival_is_drawn_for_both_halves_of_a_cox_run(tmp_path, axes):
    study = write_study(tmp_path, test="fraction = 0.5", training='algorithm = "risk_sets"')
    for name, site in hospitals().items():
        rows = [
            [f"{name}{at}", *row, 1 + (at * 7) % 40 + 9 * target, at % 3 % 2]
            for at, (row, target) in enumerate(zip(site.features.tolist(), site.target, strict=True))
        ]
        write_csv(tmp_path / f"{name}.csv", ["id", *site.columns, "time", "event"], rows)
    text = study.read_text().replace('target = "target"', 'time = "time"\nevent = "event"')
    study.write_text(text + '[model]\ntype = "cox"\nl2 = 0.01\n')
    sordino.run_study(sordino.prepare(study), tmp_path / "out")
    results = sordino.read_results(tmp_path / "out")
    curves = json.loads((tmp_path / "out" / "metrics.json").read_text())["secure_sums"]["repeats"][0][
        "figures"
    ]["curves"]
    results.draw_survival(axes)
    assert [line.get_ydata()[1:].tolist() for line in axes.lines] == [curve["survival"] for curve in curves]
    assert "C-index, 1 splits" in results.table()
