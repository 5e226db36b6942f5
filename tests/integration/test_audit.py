# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from hospitals import write_study
from sordino.cli.app import app


def test_an_audit_writes_rows_pictures_and_what_is_missing(tmp_path: Path) -> None:
    study, out = write_study(tmp_path), tmp_path / "audit"
    result = CliRunner().invoke(app, ["audit", str(study), "--out", str(out), "--quick"])
    assert result.exit_code == 0, result.output
    found = json.loads((out / "audit.json").read_text())
    by = {(row["attack"], row["target"]): row["figures"] for row in found["rows"]}
    for attack in ("loss threshold", "likelihood ratio"):
        assert by[f"membership, {attack}", "control"]["auc"]["low"] > 0.9
        null = by[f"membership, {attack}", "null"]["auc"]
        assert null["low"] <= 0.5 <= null["high"]
    assert by["attribute inference, a coin", "control"]["gained"]["low"] > 0.3
    assert by["inversion, analytic, one patient", "one site's raw update"]["error"] < 1e-12
    assert by["inversion, analytic, one patient", "secure sum"]["error"] > 0.1
    assert by["inversion, analytic, one patient", "secure sum with noise"]["error"] > 0.1
    control, null = by["one-run epsilon", "control"], by["one-run epsilon", "null"]
    assert control["least"] > control["claimed"] > null["least"]
    assert [row["expected"] for row in found["rows"] if row["target"] in ("control", "null")] == [True] * 9
    assert any("0.1% false positives" in line for line in found["missing"])
    assert "proves nothing" in result.stdout
    assert (out / "image-patches-one-sites-raw-update.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["audit", str(write_study(tmp_path)), "--out", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
