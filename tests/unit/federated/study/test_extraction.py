# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv

import pytest

from hospitals import NAMES, write_csv, write_study
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import PolicyRefused
from sordino.federated.study.extraction import NO_FEATURES, PROVENANCE
from sordino.federated.study.prepared import examine, prepare
from sordino.radiomics.table import NAMES as TOLD
from sordino.radiomics.table import PROVENANCE as ORIGIN

OURS, THEIRS = "a" * 64, "b" * 64


def extracted(folder, hashes, *, data="", within=None):
    """A study whose files look as `sordino extract` writes them, with these hashes by site."""
    path = write_study(folder, data=data)
    for name in NAMES:
        with (folder / f"{name}.csv").open() as file:
            header, *rows = csv.reader(file)
        own = [
            [row[0], row[0], "", row[4], "s", within if within and k == 3 else hashes[name], "v", *row[1:4]]
            for k, row in enumerate(rows)
        ]
        first = ["id", "patient", "lesion", "target", "scan", "settings", "software"]
        write_csv(folder / f"{name}.csv", [*first, *header[1:4]], own)
    return path


def test_columns_are_those_of_the_extraction():
    assert set(ORIGIN) == PROVENANCE
    assert {*TOLD, *ORIGIN} - {"id"} == NO_FEATURES


def test_features_of_one_extraction_make_a_study(tmp_path):
    prepared = prepare(extracted(tmp_path, dict.fromkeys(NAMES, OURS)))
    assert prepared.cohort.schema.features == ("feature 0", "feature 1", "feature 2")
    assert prepared.cohort.schema.extraction == OURS


def test_site_that_extracted_differently_is_named_with_both_hashes(tmp_path):
    path = extracted(tmp_path, {**dict.fromkeys(NAMES, OURS), "north": THEIRS})
    _, findings = examine(path)
    (fault,) = findings.faults
    assert "site 'north'" in fault
    assert OURS in fault
    assert THEIRS in fault


def test_hash_that_the_study_states_is_the_one_that_counts(tmp_path):
    path = extracted(tmp_path, dict.fromkeys(NAMES, OURS), data=f'extraction = "{THEIRS}"')
    _, findings = examine(path)
    assert [f"site {name!r}" in fault for name, fault in zip(NAMES, findings.faults, strict=True)] == [
        True
    ] * 4
    path = write_study(tmp_path, data=f'extraction = "{OURS}"')
    assert any("none are told" in fault for fault in examine(path)[1].faults)


def test_rows_of_one_file_must_agree_too(tmp_path):
    path = extracted(tmp_path, dict.fromkeys(NAMES, OURS), within=THEIRS)
    said = "\n".join(examine(path)[1].faults)
    assert f"east.csv: its rows were extracted with different settings: {OURS} (line" in said


def test_the_hash_is_part_of_what_every_site_signs(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours = prepare(extracted(tmp_path / "ours", dict.fromkeys(NAMES, OURS)))
    theirs = prepare(extracted(tmp_path / "theirs", dict.fromkeys(NAMES, THEIRS)))
    assert ours.cohort.schema.digest != theirs.cohort.schema.digest
    schemas = {**ours.cohort.schemas, "north": theirs.cohort.schemas["north"]}
    with pytest.raises(PolicyRefused, match="north|schema"):
        MaskedAggregator(ours.policy, NAMES, schemas=schemas)
