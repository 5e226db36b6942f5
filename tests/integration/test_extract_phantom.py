# SPDX-License-Identifier: Apache-2.0

"""The whole way: phantoms, features of every site by the command, and a model over them by secure sums."""

from __future__ import annotations

import csv
import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("radiomics", reason="needs the extra radiomics")

from sordino.cli import app
from sordino.radiomics import settings_hash, settings_of


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return {row["patient"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The folder of a cohort whose printed commands were all carried out."""
    folder = tmp_path_factory.mktemp("phantoms") / "cohort"
    options = ["--out", str(folder), "--sites=3", "--patients=16", "--size=48"]
    told = CliRunner().invoke(app, ["phantom", *options], catch_exceptions=False)
    assert told.exit_code == 0
    commands = [line for line in told.stdout.splitlines() if line.startswith("sordino ")]
    assert len(commands) == 4
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def columns(cohort):
    """What a site extracted and what is true, by name, in one order of patients."""
    truth = table(cohort / "truth.csv")
    rows = {
        name: row
        for site in (1, 2, 3)
        for name, row in table(cohort / f"site{site}" / "features.csv").items()
    }
    assert list(rows) == list(truth)
    return lambda name: np.array([(truth[one] | rows[one])[name] for one in truth])


def test_extracted_volume_is_the_true_one(columns):
    extracted, true = columns("original_shape_MeshVolume").astype(float), columns("volume").astype(float)
    assert np.corrcoef(extracted, true)[0, 1] > 0.98
    assert np.median(extracted / true) == pytest.approx(1.0, abs=0.08)


def test_texture_follows_its_true_amplitude_within_a_scanner(columns):
    texture = columns("original_firstorder_RobustMeanAbsoluteDeviation").astype(float)
    amplitude, site = columns("amplitude").astype(float), columns("site")
    for one in np.unique(site):
        assert np.corrcoef(texture[site == one], amplitude[site == one])[0, 1] > 0.5


def test_scanners_shift_texture_beyond_what_is_true_of_the_lesions(columns):
    # One-way analysis of variance over the sites.
    from scipy.stats import f_oneway

    site, amplitude = columns("site"), columns("amplitude").astype(float)
    texture = columns("original_firstorder_RobustMeanAbsoluteDeviation").astype(float)

    def p(values):
        return f_oneway(*(values[site == one] for one in np.unique(site))).pvalue

    assert p(np.log(texture / amplitude)) < 1e-4
    assert p(amplitude) > 0.05


def test_the_model_finds_the_law(cohort):
    from sklearn.metrics import roc_auc_score

    model = json.loads((cohort / "results" / "model.json").read_text())
    found = dict(zip(model["features"], model["coefficients"], strict=True))
    assert found["original_shape_MeshVolume"] > 0
    truth, clinical = table(cohort / "truth.csv"), {}
    for site in (1, 2, 3):
        clinical |= table(cohort / f"site{site}" / "clinical.csv")
    outcome = [int(clinical[name]["outcome"]) for name in truth]
    best = roc_auc_score(outcome, [float(row["eta"]) for row in truth.values()])
    scored = cohort / "scored.csv"
    scores = {}
    for site in (1, 2, 3):
        table_of = cohort / f"site{site}" / "features.csv"
        command = ["predict", str(cohort / "results" / "model.json"), str(table_of), "--out", str(scored)]
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
        with scored.open() as file:
            scores |= {row[0]: float(row[1]) for row in list(csv.reader(file))[1:]}
    assert 0.7 < roc_auc_score(outcome, [scores[name] for name in truth]) < best + 0.08


def test_every_site_carries_the_hash_of_the_settings(cohort):
    hashes = {settings_of(cohort / f"site{site}" / "features.csv") for site in (1, 2, 3)}
    assert hashes == {settings_hash(cohort / "settings.toml")}
