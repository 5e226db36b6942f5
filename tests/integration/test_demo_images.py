# SPDX-License-Identifier: Apache-2.0

"""The demo from phantom scans to a harmonised model, in small."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sordino.cli import app, demo_images


def test_demo_of_images_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_images, "find_spec", lambda name: None if name == "radiomics" else name)
    told = CliRunner().invoke(app, ["demo", "--images", "--out", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "images need radiomics: pip install 'sordino[radiomics]'" in told.output
    assert not list((tmp_path / "out").iterdir())


def test_scanners_are_gone_from_harmonised_texture_and_the_lesions_are_not(tmp_path, capsys):
    pytest.importorskip("radiomics", reason="needs the extra radiomics")
    demo_images.demo_images(tmp_path, sites=5, patients=10)
    found = json.loads((tmp_path / "images.json").read_text())
    scanned, harmonised, true = found["texture_between_scanners"]
    assert harmonised < 0.05
    assert scanned > true + 0.05
    assert found["texture_follows"][1] > 0.8
    assert found["sums"] == found["sums_equal"] > 100
    assert 0.65 < found["auc"]["harmonised"] < 1.0
    assert "AUC of the model" in capsys.readouterr().out
    assert len(list(tmp_path.glob("site*/features.csv"))) == 5
