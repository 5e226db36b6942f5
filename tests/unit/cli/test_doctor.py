# SPDX-License-Identifier: Apache-2.0

"""`sordino doctor` tells what is wrong with a machine or a site's files, and its exit code says whether."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sordino import _core
from sordino.cli import doctor as module
from sordino.cli.app import app
from sordino.cli.keys import keys  # noqa: F401  # adds its commands to the app

NAMES = ("alder", "birch", "cedar")


def sordino(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def findings(*arguments: object) -> tuple[int, dict[str, dict[str, str]]]:
    told = sordino("doctor", "--json", *arguments)
    found = json.loads(told.stdout)["findings"]
    return told.exit_code, {one["what"]: one for one in found}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    entries = [sordino("keys", "new", name, "--out", tmp_path).stdout for name in NAMES]
    (tmp_path / "roster.toml").write_text("\n".join(entries))
    (tmp_path / "journal").mkdir(mode=0o700)
    path = tmp_path / "site.toml"
    path.write_text(
        'name = "alder"\nidentity = "alder.key"\nroster = "roster.toml"\n'
        'journal = "journal"\ndataset = "ct"\n'
    )
    for file in (path, tmp_path / "roster.toml"):
        file.chmod(0o600)
    return path


def test_a_sound_machine_and_site_have_no_fault(site: Path) -> None:
    code, found = findings(site)
    assert code == 0
    assert {one["verdict"] for one in found.values()} <= {"ok", "absent", "warning"}
    assert _core.backend() in found["masks"]["said"]
    assert "equal to OpenSSL's" in found["masks"]["said"]
    assert "one of 3" in found["site"]["said"]
    assert "intact" in found["chain"]["said"]
    assert found["clock"]["verdict"] == "ok"
    told = sordino("doctor", site)
    assert told.exit_code == 0
    assert all(what in told.stdout for what in found)


def test_a_journal_that_is_not_there_is_made_and_told(site: Path) -> None:
    journal = site.parent / "journal"
    journal.rmdir()
    code, found = findings(site)
    assert code == 0
    assert "was not there; without a fault it is made" in found["journal"]["said"]
    assert journal.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("file", "mode", "what", "verdict"),
    [
        ("alder.key", 0o640, "identity", "fault"),
        ("alder.key", 0o620, "identity", "fault"),
        ("roster.toml", 0o644, "roster", "warning"),
        ("roster.toml", 0o664, "roster", "fault"),
        ("site.toml", 0o646, "settings", "fault"),
        ("journal", 0o755, "journal", "fault"),
    ],
)
def test_files_that_others_can_read_or_change_are_told(
    site: Path, file: str, mode: int, what: str, verdict: str
) -> None:
    (site.parent / file).chmod(mode)
    code, found = findings(site)
    assert found[what]["verdict"] == verdict
    assert "chmod 0" in found[what]["said"]
    assert code == (2 if verdict == "fault" else 0)


def test_files_that_are_missing_or_of_another_site_are_faults(site: Path) -> None:
    (site.parent / "roster.toml").rename(site.parent / "other.toml")
    code, found = findings(site)
    assert (code, found["roster"]["verdict"], found["site"]["verdict"]) == (2, "fault", "fault")
    (site.parent / "other.toml").rename(site.parent / "roster.toml")
    site.write_text(site.read_text().replace('"alder.key"', '"birch.key"'))
    code, found = findings(site)
    assert code == 2
    assert "does not have site 'alder'" in found["site"]["said"]
    code, found = findings(site.parent / "nowhere.toml")
    assert (code, found["site"]["verdict"]) == (2, "fault")


def test_a_floor_that_no_study_can_meet_is_a_warning(site: Path) -> None:
    assert "floor" not in findings(site)[1]
    site.write_text(site.read_text() + "[floor]\nmin_cohort = 4\n")
    code, found = findings(site)
    assert (code, found["floor"]["verdict"]) == (0, "warning")
    assert "min_cohort is 4, of 3 sites it can be 3 at most" in found["floor"]["said"]


def test_a_broken_journal_is_a_fault(site: Path) -> None:
    (site.parent / "journal" / "journal.jsonl").write_bytes(b"not a journal\n")
    code, found = findings(site)
    assert (code, found["site"]["verdict"]) == (2, "fault")


def test_a_keystream_that_is_not_aes_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "keystream", lambda _seed, out: out.__setitem__(slice(None), bytes(len(out))))
    code, found = findings()
    assert (code, found["masks"]["verdict"]) == (2, "fault")


def test_the_portable_path_is_a_warning() -> None:
    _core.select_backend("portable")
    try:
        code, found = findings()
    finally:
        _core.select_backend(None)
    assert (code, found["masks"]["verdict"]) == (0, "warning")


def test_a_clock_that_is_behind_the_build_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = tmp_path / "core"
    future.touch()
    os.utime(future, (2**33, 2**33))
    monkeypatch.setattr(_core, "__file__", str(future))
    code, found = findings()
    assert (code, found["clock"]["verdict"]) == (0, "warning")


def test_extras_say_their_version_or_what_to_install() -> None:
    _, found = findings()
    for extra in ("ckks", "flower", "nvflare", "pld", "radiomics"):
        assert found[extra]["verdict"] in ("ok", "absent", "warning")
        if found[extra]["verdict"] == "absent":
            assert f"pip install 'sordino[{extra}]'" in found[extra]["said"]


@pytest.mark.parametrize(
    ("here", "wanted", "fits"),
    [
        ("1.41.0", "==1.41.*", True),
        ("1.42.0", "==1.41.*", False),
        ("3.1.4", "==3.1.4", True),
        ("2.5.7", ">=2.4", True),
        ("2.10.1", ">=2.4,<2.5", False),
        ("2.3.9", ">=2.4", False),
        ("2.4.6", "<2.5", True),
        ("2.5.0", "<2.5", False),
        ("2.13.0+cpu", ">=2.13", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_by_number(here: str, wanted: str, fits: bool) -> None:
    assert module._fits(here, wanted) is fits
