# SPDX-License-Identifier: Apache-2.0

"""`sordino extract` as real processes: stopped, killed, gone on with, and told apart from another."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interrupts import hear_interrupts

pytest.importorskip("radiomics", reason="needs the extra radiomics")

from scans import ball, write, write_cohort
from sordino.errors import ConfigError
from sordino.radiomics import extract, settings_hash, settings_of

COMMAND = [sys.executable, "-c", "from sordino.cli import main; main()", "extract"]


def start(options, out, *more):
    return subprocess.Popen(
        [*COMMAND, *options, f"--out={out}", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def finish(options, out, *more, code=0):
    process = start(options, out, *more)
    told, warned = process.communicate(timeout=120)
    assert process.returncode == code, warned
    return told if code in (0, 4) else warned


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def workers_of(process):
    """Processes whose parent this one is."""
    return [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def stop_amid(options, out, number, wanted):
    """Start, and send a signal once so many more patients are on disk; returns the process."""
    partial = out.with_name(out.name + ".partial")
    process, goal = start(options, out, "--workers=1"), lines(partial) + wanted
    while process.poll() is None and lines(partial) < goal:
        time.sleep(0.002)
    children = workers_of(process) if process.poll() is None else []
    process.send_signal(number)
    return process, children


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    options = write_cohort(folder, 8)
    finish(options, folder / "whole.csv", "--workers=2")
    return options, (folder / "whole.csv").read_bytes()


def test_an_extraction_that_is_killed_goes_on_to_the_same_table(cohort, tmp_path):
    options, whole = cohort
    out = tmp_path / "features.csv"
    process, children = stop_amid(options, out, signal.SIGKILL, 3)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    process.communicate()
    # Whoever was killed leaves no worker behind.
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    # A line half written does not count.
    partial = out.with_name("features.csv.partial")
    before = partial.read_bytes()
    done = [json.loads(line)["patient"] for line in before.splitlines()[1:]]
    partial.write_bytes(before[:-20])
    told = finish(options, out)
    assert f"({len(done) - 1} patients done before)" in told
    assert out.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failures.csv", "features.csv"]


def test_ctrl_c_is_told_in_one_line_and_the_same_command_goes_on(cohort, tmp_path):
    options, whole = cohort
    out = tmp_path / "features.csv"
    process, children = stop_amid(options, out, signal.SIGINT, 2)
    _, warned = process.communicate(timeout=60)
    assert process.returncode == 130
    assert warned.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in warned
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert "patients done before" in finish(options, out)
    assert out.read_bytes() == whole


def test_rows_and_columns_are_the_same_whatever_the_workers(cohort, tmp_path):
    options, whole = cohort
    finish(options, tmp_path / "features.csv", "--workers=1")
    assert (tmp_path / "features.csv").read_bytes() == whole
    header, *rows = csv.reader(whole.decode().splitlines())
    assert header == [
        "id", "patient", "lesion", "scan", "settings", "software", "original_shape_Sphericity",
        "original_shape_VoxelVolume", "original_firstorder_Entropy", "original_firstorder_Mean",
    ]  # fmt: skip
    assert [row[0] for row in rows] == [f"P{number:02d}" for number in range(8)]


def test_a_complete_table_is_added_to_and_only_changed_scans_are_done_again(tmp_path):
    folder, out = tmp_path / "scans", tmp_path / "features.csv"
    options = write_cohort(folder, 3)
    finish(options, out)
    write_cohort(folder, 4)
    values, _ = ball(radius=5, seed=99)
    write(folder / "images" / "P01.nii.gz", values)
    before = {row["patient"]: row for row in table(out)}
    assert "4 lesions of 4 patients (2 patients done before)" in finish(options, out)
    after = {row["patient"]: row for row in table(out)}
    assert [name for name in before if before[name] != after[name]] == ["P01"]
    (folder / "images" / "P00.nii.gz").unlink()
    (folder / "masks" / "P00.nii.gz").unlink()
    assert "has 1 patients that are not in" in finish(options, out, code=2)


def test_other_settings_do_not_go_into_the_same_table(cohort, tmp_path):
    options, _ = cohort
    out, other = tmp_path / "features.csv", tmp_path / "other.toml"
    other.write_text("[featureClass]\nshape = ['Sphericity']\n")
    process, _ = stop_amid(options, out, signal.SIGKILL, 3)
    process.communicate()
    told = finish([*options[:2], f"--settings={other}"], out, code=2)
    assert "features.csv.partial: was begun with other settings or software" in told
    finish(options, out)
    told = finish([*options[:2], f"--settings={other}"], out, code=2)
    assert "features.csv: was begun with other settings or software" in told
    # What was refused leaves nothing behind.
    assert "(8 patients done before)" in finish(options, out)
    assert settings_of(out) == settings_hash(options[2].partition("=")[2]) != settings_hash(other)


def test_two_extractions_do_not_write_one_table(cohort, tmp_path):
    options, _ = cohort
    out = tmp_path / "features.csv"
    process, _ = stop_amid(options, out, signal.SIGSTOP, 2)
    try:
        assert "another extraction is writing it" in finish(options, out, code=2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_worker_that_dies_takes_one_patient_with_it(tmp_path):
    options, out = write_cohort(tmp_path, 4, size=96, radius=30.0), tmp_path / "out" / "features.csv"
    process = start(options, out, "--workers=1")
    while process.poll() is None and not workers_of(process):
        time.sleep(0.002)
    (worker,) = workers_of(process)
    os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 0
    (failure,) = table(out.with_name("failures.csv"))
    assert failure["patient"] == "P00"
    assert failure["reason"].startswith("the process that read it was killed by SIGKILL")
    assert len(table(out)) == 3
    # It was no fault of the scan, so it is tried again.
    assert "4 lesions of 4 patients (3 patients done before), 0 failures" in finish(options, out)


def test_a_broken_scan_is_a_failure_and_not_the_end(tmp_path):
    options, out = write_cohort(tmp_path, 3), tmp_path / "out" / "features.csv"
    broken = tmp_path / "images" / "P01.nii.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    assert finish(options, out).startswith("2 lesions of 3 patients, 1 failures")
    (failure,) = table(out.with_name("failures.csv"))
    assert (failure["patient"], failure["lesion"]) == ("P01", "")
    assert failure["reason"].startswith("P01.nii.gz: cannot be read: ")
    assert "(3 patients done before), 1 failures" in finish(options, out)


def test_when_every_scan_fails_the_exit_code_says_so(tmp_path):
    options, out = write_cohort(tmp_path, 2), tmp_path / "out" / "features.csv"
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no scan")
    assert finish(options, out, code=4).startswith("0 lesions of 2 patients, 2 failures")
    assert not out.exists()


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_read(cohort, tmp_path):
    options, _ = cohort
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in finish(options, tmp_path / "file" / "features.csv", code=2)
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "cannot be written to" in finish(options, tmp_path / "closed" / "features.csv", code=2)


def test_clinical_columns_are_joined_by_patient(cohort, tmp_path):
    options, _ = cohort
    clinical, out = tmp_path / "clinical.csv", tmp_path / "features.csv"
    clinical.write_text("age,patient,outcome\n" + "".join(f"{50 + n},P{n:02d},{n % 2}\n" for n in range(7)))
    assert "7 lesions of 8 patients, 1 failures" in finish(options, out, f"--join={clinical}")
    rows = table(out)
    assert [*rows[0]][:8] == ["id", "patient", "lesion", "age", "outcome", "scan", "settings", "software"]
    assert [row["age"] for row in rows] == [str(50 + n) for n in range(7)]
    (failure,) = table(out.with_name("failures.csv"))
    assert (failure["patient"], failure["reason"]) == ("P07", "no row in the clinical table")
    with clinical.open("a") as file:
        file.write("57,P07,1\n")
    assert "8 lesions of 8 patients (7 patients done before)" in finish(options, out, f"--join={clinical}")


@pytest.mark.parametrize(("text", "told"), [
    ("name,age\nP00,3\n", "has no column 'patient'"),
    ("patient,age\nP00,3\nP00,4\n", "patient 'P00' is there twice"),
    ("patient,age\nP00\n", "row 2 has 1 cells"),
    ("patient,scan\nP00,3\nP01,2\n", "a column 'scan'"),
])  # fmt: skip
def test_a_clinical_table_that_cannot_be_joined_is_refused(tmp_path, text, told):
    write_cohort(tmp_path, 2)
    (tmp_path / "clinical.csv").write_text(text)
    with pytest.raises(ConfigError, match=told):
        extract(
            tmp_path / "images",
            tmp_path / "masks",
            tmp_path / "features.csv",
            settings=tmp_path / "settings.yaml",
            clinical=tmp_path / "clinical.csv",
            workers=1,
        )


@pytest.mark.parametrize(("name", "text", "told"), [
    ("features.csv", "a,b\n1,2\n", "is no table of sordino extract"),
    ("features.csv", "id,patient,lesion,scan,settings,software\n1,2\n", "row 2 has 2 cells"),
    ("failures.csv", "mine\n", "was not written by sordino extract"),
])  # fmt: skip
def test_a_table_that_is_somebody_elses_is_left_alone(cohort, tmp_path, name, text, told):
    options, whole = cohort
    (tmp_path / "features.csv").write_bytes(whole)
    (tmp_path / name).write_text(text)
    assert told in finish(options, tmp_path / "features.csv", code=2)
    assert (tmp_path / name).read_text() == text
