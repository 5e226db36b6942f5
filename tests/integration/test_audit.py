# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from hospitals import write_study
from sordino.audit.targets import MODEL, NOISED, RAW, SUM
from sordino.cli.app import app

KINDS = ("membership", "attribute", "inversion", "epsilon")


def test_an_audit_writes_rows_pictures_and_what_is_missing_and_its_report_shows_them(tmp_path: Path) -> None:
    study, out = write_study(tmp_path), tmp_path / "out"
    result = CliRunner().invoke(app, ["audit", str(study), "--out", str(out), "--quick"])
    assert result.exit_code == 0, result.output
    found = json.loads((out / "audit.json").read_text())
    by = {(row["attack"], row["target"]): row["figures"] for row in found["rows"]}
    for attack in ("loss threshold", "likelihood ratio"):
        assert by[f"membership, {attack}", "control"]["auc"]["low"] > 0.9
        null = by[f"membership, {attack}", "null"]["auc"]
        assert null["low"] <= 0.5 <= null["high"]
        assert by[f"membership, {attack}", "final model"]["tpr"]["0.01"] is not None
    assert by["attribute inference, a coin", "control"]["gained"]["low"] > 0.3
    assert by["inversion, analytic, one patient", RAW]["error"] < 1e-12
    for target in (SUM, NOISED, MODEL):
        assert by["inversion, analytic, one patient", target]["error"] > 0.1
        assert by["inversion, optimised, image patches", target]["matched"]["value"] < 1.0
    assert by["inversion, optimised, image patches", "null"]["matched"]["value"] == 0.0
    halved, null = (
        by["one-run epsilon, noise halved", "control"],
        by["one-run epsilon, patients", "null"],
    )
    assert halved["least"] > halved["claimed"] > null["least"]
    targets: dict[str, set[str]] = {}
    for row in found["rows"]:
        targets.setdefault(row["kind"], set()).add(row["target"])
        assert row["expected"] is True or row["target"] not in ("control", "null")
        assert row["expected"] is not False
        assert row["target"] in ("control", "null") or not row["figures"].get("refuted")
    assert all({RAW, SUM, NOISED, MODEL} <= targets[kind] for kind in KINDS)
    assert any("0.1% false positives" in line for line in found["missing"])
    assert "proves nothing" in result.stdout
    assert (out / "image-patches-one-sites-raw-update.png").read_bytes().startswith(b"\x89PNG")
    # The study's own patients are drawn where only their owner looks.
    assert (out / "patients" / "features-one-sites-raw-update.png").exists()
    assert (out / "patients").stat().st_mode & 0o077 == 0
    assert not list(out.glob("features-*"))
    for command in (["run", str(study), "--out", str(out)], ["report", str(out)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text()
    for kind in (*KINDS, "mask"):
        assert f'id="audit-{kind}"' in page
    assert page.count("data:image/png") == 4
    assert "Image patches from one site's raw update: median error" in page
    assert json.loads((out / "report.json").read_text())["audit"]["rows"] == found["rows"]
    assert "another study" not in page


def test_canaries_that_do_not_fit_are_told_before_anything_runs(tmp_path: Path) -> None:
    command = ["audit", str(write_study(tmp_path)), "--out", str(tmp_path / "audit"), "--canaries", "750"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "750 canaries do not fit sums of 500: take a multiple" in result.stderr
    assert "membership" not in result.stderr


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["audit", str(write_study(tmp_path)), "--out", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
