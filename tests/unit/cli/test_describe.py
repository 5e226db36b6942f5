# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hospitals import NAMES, write_study
from sordino.cli.app import app


@pytest.fixture
def sordino():
    """Calls the command in this process: exit code, stdout, stderr."""

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


def change(folder, site, change):
    """Write a site's file anew."""
    path = folder / f"{site}.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def rows_of(folder):
    return pd.concat(pd.read_csv(folder / f"{name}.csv") for name in NAMES).filter(like="feature")


def test_a_study_with_missing_cells_is_described(sordino, tmp_path):
    study = write_study(tmp_path, more="[description]\ncorrelation = true\nquantiles = [0.5]")

    def empty(rows):
        rows.loc[:7, "feature 1"] = np.nan
        return rows

    change(tmp_path, "west", empty)
    code, told, _ = sordino("describe", study, "--out", tmp_path / "description.json")
    assert code == 0
    lines = told.splitlines()
    assert lines[0] == "122 patients of 4 sites: east, north, south, west"
    assert lines[3].split()[:4] == ["feature", "1", "114", "8"]
    found, rows = json.loads((tmp_path / "description.json").read_text()), rows_of(tmp_path)
    assert found["study"] == "tested"
    np.testing.assert_allclose([one["mean"] for one in found["features"]], rows.mean(), rtol=1e-8)
    np.testing.assert_allclose([one["variance"] for one in found["features"]], rows.var(), rtol=1e-8)
    np.testing.assert_allclose(found["correlation"], rows.corr(), atol=1e-8)
    assert found["features"][1]["missing"] == 8
    assert found["features"][0]["histogram"]["edges"][0] is None


def test_a_column_that_one_site_lacks_is_described_by_the_others(sordino, tmp_path):
    study = write_study(tmp_path)
    change(tmp_path, "east", lambda rows: rows.drop(columns="feature 2"))
    code, _, _ = sordino("describe", study, "--out", tmp_path / "told.json")
    assert code == 0
    features = json.loads((tmp_path / "told.json").read_text())["features"]
    assert [one["holders"] for one in features] == [4, 4, 3]


def test_a_grid_is_stated_by_the_study(sordino, tmp_path):
    ranges = "\n".join(f'"feature {number}" = [-5.0, 5.0]' for number in range(3))
    study = write_study(
        tmp_path, more=f"[description]\nbins = 10\nmin_patients = 1\n[description.ranges]\n{ranges}"
    )
    code, _, _ = sordino("describe", study, "--out", tmp_path / "told.json")
    assert code == 0
    histogram = json.loads((tmp_path / "told.json").read_text())["features"][1]["histogram"]
    assert histogram["edges"] == [None, *range(-5, 6), None]
    exact = np.histogram(rows_of(tmp_path)["feature 1"], range(-5, 6))[0]
    np.testing.assert_array_equal(histogram["counts"][1:-1], exact)


PRIVACY = '[privacy]\nunit = "patient"\nepsilon = 5.0\ndelta = 1e-5\n'


def test_a_private_description_says_what_it_cost(sordino, tmp_path):
    study = write_study(
        tmp_path, policy="max_patients = 100", more=PRIVACY + "[description]\nepsilon = 2.0\nbins = 4"
    )
    code, told, _ = sordino("describe", study, "--out", tmp_path / "told.json")
    assert code == 0
    assert told.splitlines()[-1] == "privacy of one patient: epsilon 2 at delta 1e-05"
    found = json.loads((tmp_path / "told.json").read_text())
    assert found["privacy"]["epsilon"] <= 2.0
    assert set(found["deviations"]) >= {"patients", "count", "mean", "variance", "bins"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (PRIVACY, "with [privacy] a description has a price: set 'description.epsilon'"),
        ("[description]\nepsilon = 1.0", "'description.epsilon' goes with [privacy] only"),
        ("[description]\nquantile = [0.5]", "unknown key 'description.quantile'; did you mean 'quantiles'?"),
        ("[description.ranges]\n'feature 0' = [1.0, 0.0]", "allowed is a lower and a higher number"),
        ("[description.ranges]\n'feature 0' = [0.0, 1.0]", "lacks the feature 'feature 1'"),
        ("[description.ranges]\nage = [0.0, 1.0]", "'description.ranges' names what is no feature: 'age'"),
    ],
)
def test_a_description_that_cannot_be_is_refused_in_a_line(sordino, tmp_path, more, message):
    policy = "" if more == PRIVACY else 'across_rounds = "accept"'
    code, _, told = sordino("describe", write_study(tmp_path, policy=policy, more=more))
    assert code == 2
    assert message in told


def test_a_cell_that_is_no_number_is_told_by_line_and_column(sordino, tmp_path):
    study = write_study(tmp_path)
    change(tmp_path, "east", lambda rows: rows.astype({"feature 1": object}).replace({rows.iloc[2, 2]: "m"}))
    code, _, told = sordino("describe", study)
    assert code == 2
    assert "east.csv: line 4, column 'feature 1': 'm' is not a number" in told
