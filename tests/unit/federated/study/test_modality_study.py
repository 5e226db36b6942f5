# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from hospitals import write_csv, write_study
from sordino.cli.app import app
from sordino.errors import ConfigError
from sordino.federated.study.families.late import LateFile, Scored
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.run import run_study
from sordino.federated.study.table import read_table

SITES = ("east", "far", "isle", "north", "rim", "south", "west")
GENES = '[[modalities]]\nname = "genes"\ncolumns = ["feature 1", "feature 2"]\n'
IMAGES = '[[modalities]]\nname = "images"\ncolumns = ["feature 0"]\n'
LATE = GENES + IMAGES + '[fusion]\ntype = "late"\nrounds = 4\n'
TERMS = 'across_rounds = "accept"\ncolluders = 1\nmin_cohort = 3'


def written(folder, lacking, *, how="columns", **changes):
    """A study in which some sites' files lack two columns, or have nothing in them."""
    path = write_study(folder, names=SITES, **{"more": GENES, "policy": TERMS, **changes})
    for name in lacking:
        with (folder / f"{name}.csv").open() as file:
            header, *rows = csv.reader(file)
        kept = [0, 1, 4]
        if how == "columns":
            write_csv(
                folder / f"{name}.csv", [header[k] for k in kept], [[row[k] for k in kept] for row in rows]
            )
        else:
            write_csv(folder / f"{name}.csv", header, [[*row[:2], "", "NA", *row[4:]] for row in rows])
    return path


@pytest.mark.parametrize("how", ["columns", "cells"])
def test_study_goes_on_where_sites_lack_a_modality(tmp_path, how):
    path = written(
        tmp_path, ("east", "isle", "rim"), how=how, more=GENES + "[simulation]\ncompare_plain = true"
    )
    prepared = prepare(path)
    assert prepared.groups["north"] == {"genes"}
    assert prepared.groups["east"] == frozenset()
    assert len(set(prepared.cohort.schemas.values())) == 1
    run_study(prepared, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    compared = found["simulation"]["compared_with_plain_sums"]
    assert compared["equal_bit_for_bit"] == compared["sums"] > 0
    model = read_model(tmp_path / "out" / "model.json")
    assert model.modalities == {"genes": ["feature 1", "feature 2"]}
    whole = model.score(read_table(tmp_path / "north.csv"))
    lacking = model.score(read_table(tmp_path / "east.csv"))
    assert len(whole) == 20 + 7 * 3
    scaled = (np.array([[1.0]]) - model.scaler.mean[0]) / model.scaler.scale[0]
    write_csv(tmp_path / "one.csv", ["id", "feature 0"], [["p", 1.0]])
    ((_, chance),) = model.score(read_table(tmp_path / "one.csv"))
    expected = 1 / (1 + np.exp(-(scaled[0, 0] * model.coefficients[0] + model.intercept)))
    assert chance == pytest.approx(expected)
    assert len(lacking) == 20


def test_check_and_plan_tell_of_modalities_and_what_they_cost(tmp_path):
    path = written(tmp_path, ("east", "isle", "rim"))
    told = CliRunner().invoke(app, ["check", str(path)])
    assert told.exit_code == 0
    assert "genes: 2 features at 4 of 7 sites" in told.stdout
    plan = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout)
    asked = {one["kind"]: one for one in plan["questions"]}
    # The intercept, one feature and two of the genes, the loss, and a weight for each lane group.
    assert asked["fedavg"]["lanes"] == 2 + 2 + 1 + 2
    assert asked["moments"]["times"] == 1


def test_half_a_modality_is_a_missing_column(tmp_path):
    path = written(tmp_path, ())
    with (tmp_path / "east.csv").open() as file:
        header, *rows = csv.reader(file)
    kept = [0, 1, 2, 4]
    write_csv(tmp_path / "east.csv", [header[k] for k in kept], [[row[k] for k in kept] for row in rows])
    assert any("east.csv: no column 'feature 2'" in fault for fault in examine(path)[1].faults)


@pytest.mark.parametrize("how", ["columns", "cells"])
@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        (("east",), "modalities: 1 survivors have lane group 'all' but not 'genes'"),
        (("east", "far", "isle", "north", "rim"), "'feature 1' has values at 2 sites, 3 are needed"),
        (SITES, "'feature 1' has values at 0 sites, 3 are needed"),
    ],
)
def test_modality_of_too_few_sites_or_of_nearly_all_is_refused(tmp_path, lacking, how, why):
    assert why in "\n".join(examine(written(tmp_path, lacking, how=how))[1].faults)


def test_a_patient_without_any_modality_gets_the_intercept(tmp_path):
    path = written(tmp_path, ("east", "isle", "rim"), more=GENES + IMAGES, data='missing = "mean"')
    with (tmp_path / "north.csv").open() as file:
        header, *rows = csv.reader(file)
    write_csv(tmp_path / "north.csv", header, [[rows[0][0], "", "", "", rows[0][4]], *rows[1:]])
    run_study(prepare(path), tmp_path / "out")
    model = read_model(tmp_path / "out" / "model.json")
    chance = dict(model.score(read_table(tmp_path / "north.csv")))[rows[0][0]]
    assert chance == pytest.approx(1 / (1 + np.exp(-model.intercept)))


def test_modality_that_every_site_has_is_no_group(tmp_path):
    prepared = prepare(written(tmp_path, ()))
    assert prepared.cohort.groups == ()
    assert {group for question in prepared.policy.plan for group in question.groups} == {"all"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (GENES + GENES, "two modalities have the name 'genes'"),
        (GENES + GENES.replace("genes", "other"), "names the column 'feature 1' twice"),
        ('[[modalities]]\nname = "all"\ncolumns = ["a"]', "what every site has"),
        ('[[modalities]]\nname = "x"\ncolumns = []', "'modalities[1].columns' is empty"),
        ('[[modalities]]\nname = "x"\ncolumns = ["target"]', "names 'target', which is no feature"),
    ],
)
def test_what_is_wrong_with_modalities_is_said(tmp_path, more, said):
    assert any(said in fault for fault in examine(written(tmp_path, (), more=more))[1].faults)


def test_late_fusion_scores_patients_with_and_without_a_modality(tmp_path):
    more = LATE + "[simulation]\ncompare_plain = true\ncompare_pooled = true"
    prepared = prepare(written(tmp_path, ("east", "isle", "rim"), more=more))
    run_study(prepared, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    compared = found["simulation"]["compared_with_plain_sums"]
    assert compared["equal_bit_for_bit"] == compared["sums"] > 0
    assert found["secure_sums"]["test_auc"]["mean"] > 0.5
    off = found["secure_sums"]["repeats"][0]["test"]["auc_off_by_at_most"]
    federated = found["simulation"]["test_auc_federated"]["mean"]
    assert abs(found["secure_sums"]["test_auc"]["mean"] - federated) <= off + 1e-12
    assert 0.5 < found["simulation"]["test_auc_pooled"]["mean"] <= 1.0
    report = json.loads((tmp_path / "out" / "sites" / "north" / "report.json").read_text())
    assert report["own_performance"][0]["patients"] > 0
    model = read_model(tmp_path / "out" / "model.json")
    assert list(model.scored) == ["genes", "images"]
    write_csv(tmp_path / "one.csv", ["id", "feature 0"], [["p", 1.0], ["q", ""]])
    (_, chance), (_, nobody) = model.score(read_table(tmp_path / "one.csv"))
    images = model.scored["images"]
    scaled = (1.0 - model.scaler.mean[0]) / model.scaler.scale[0]
    odds = images.weight * (scaled * images.coefficients[0] + images.intercept - images.mean)
    assert chance == pytest.approx(1 / (1 + np.exp(-odds - model.intercept)))
    assert nobody == pytest.approx(1 / (1 + np.exp(-model.intercept)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"more": GENES + '[fusion]\ntype = "late"'}, "needs two [[modalities]] or more"),
        ({"more": LATE + '[model]\ntype = "linear"'}, "'model.type' = \"linear\" is not"),
        ({"more": GENES + "[fusion]\nfolds = 3"}, "'fusion.folds' goes with type = \"late\" only"),
        ({"more": LATE, "training": "validation = 0.2"}, "'training.validation' does not go with"),
        (
            {"more": LATE.replace("feature 0", "feature 2").replace(', "feature 2"', "")},
            "the feature 'feature 0' is in none of the modalities",
        ),
        (
            {"more": LATE + '[privacy]\nunit = "patient"\nepsilon = 3.0\ndelta = 1e-5'},
            "have no form with noise",
        ),
    ],
)
def test_what_does_not_go_with_late_fusion_is_said(tmp_path, change, said):
    assert any(said in fault for fault in examine(written(tmp_path, (), **change))[1].faults)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fill": None}, "'fill' is missing"),
        ({"scored": {}}, "have other names"),
        ({"modalities": {"genes": ["feature 1"], "images": ["feature 0"]}}, "other coefficients"),
        ({"modalities": {"genes": ["x", "y"], "images": ["feature 0"]}}, "none of the features"),
    ],
)
def test_late_model_whose_parts_do_not_fit_is_refused(tmp_path, wrong, said):
    one = Scored([1.0], 0.0, 0.0, 1.0)
    model = LateFile(
        **{
            "study": "s",
            "id": "id",
            "features": ["feature 0", "feature 1", "feature 2"],
            "scaler": None,
            "fill": [0.0, 0.0, 0.0],
            "modalities": {"genes": ["feature 1", "feature 2"], "images": ["feature 0"]},
            "rounds": 1,
            "schema": "",
            "policy": "",
            "sordino": "0",
            "target": "t",
            "classes": ("0", "1"),
            "scored": {"genes": replace(one, coefficients=[1.0, 2.0]), "images": one},
            "intercept": 0.0,
        }
        | wrong
    )
    (tmp_path / "model.json").write_bytes(msgspec.json.encode(model))
    with pytest.raises(ConfigError, match=said):
        read_model(tmp_path / "model.json")


def with_gaps(folder, **changes):
    path = write_study(folder, data='missing = "mean"', **changes)
    for name in ("east", "north", "south", "west"):
        with (folder / f"{name}.csv").open() as file:
            header, *rows = csv.reader(file)
        rows = [[*row[:2], "NA" if k % 5 == 0 else row[2], *row[3:]] for k, row in enumerate(rows)]
        write_csv(folder / f"{name}.csv", header, rows)
    return path


def test_missing_values_are_filled_from_training_rows_and_alike_in_new_files(tmp_path):
    prepared = prepare(with_gaps(tmp_path))
    run_study(prepared, tmp_path / "out")
    model = read_model(tmp_path / "out" / "model.json")
    rows = np.concatenate([site.features for site in prepared.sites(0).values()])
    np.testing.assert_allclose(model.fill, np.nanmean(rows, axis=0), rtol=1e-9)
    header = ["id", "feature 0", "feature 1", "feature 2"]
    write_csv(tmp_path / "gap.csv", header, [["p", 1, "", 2], ["q", 1, model.fill[1], 2]])
    (_, gap), (_, told) = model.score(read_table(tmp_path / "gap.csv"))
    assert gap == pytest.approx(told)


def test_missing_value_without_being_asked_for_is_an_error_in_study_and_prediction(tmp_path):
    path = with_gaps(tmp_path)
    path.write_text(path.read_text().replace('missing = "mean"', ""))
    said = "\n".join(examine(path)[1].faults)
    assert "east.csv: line 2, column 'feature 1': the value is missing" in said
    run_study(prepare(write_study(tmp_path)), tmp_path / "out")
    write_csv(tmp_path / "gap.csv", ["id", "feature 0", "feature 1", "feature 2"], [["p", 1, "", 2]])
    with pytest.raises(ConfigError, match="the value is missing"):
        read_model(tmp_path / "out" / "model.json").score(read_table(tmp_path / "gap.csv"))


def test_text_is_not_taken_for_a_missing_value(tmp_path):
    path = with_gaps(tmp_path)
    rows = [[f"p{k}", k, "low", 1, k % 2] for k in range(6)]
    write_csv(tmp_path / "north.csv", ["id", "feature 0", "feature 1", "feature 2", "target"], rows)
    assert any("'low' is not a number" in fault for fault in examine(path)[1].faults)


def test_filling_does_not_go_with_privacy(tmp_path):
    more = '[privacy]\nunit = "patient"\nepsilon = 9.0\ndelta = 1e-5\n'
    path = with_gaps(tmp_path, more=more, policy="max_patients = 100")
    assert any("'data.missing' fills by sums without noise" in fault for fault in examine(path)[1].faults)
