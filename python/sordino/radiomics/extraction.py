# SPDX-License-Identifier: Apache-2.0

"""A folder of scans and a folder of masks to a table of features, a row a lesion."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sordino.errors import ConfigError, InvalidArgument
from sordino.radiomics.partial import PartialFile
from sordino.radiomics.pool import measured
from sordino.radiomics.scans import Failure, find_scans
from sordino.radiomics.settings import Settings, hash_of, read_settings, versions
from sordino.radiomics.table import (
    FAILURES,
    Clinical,
    Row,
    read_clinical,
    read_failures,
    read_rows,
    write_failures,
    write_rows,
)


@dataclass(frozen=True)
class Extracted:
    """What an extraction came to.

    rows      lesions in the table
    patients  whose scans were found
    reused    patients that were done before and have the same files still
    failures  why there are not more rows
    settings  the hash, as `settings_hash` gives it
    """

    rows: int
    patients: int
    reused: int
    failures: tuple[Failure, ...]
    settings: str


@dataclass(frozen=True)
class Progress:
    """Patients done so far, those among them with a failure, and all there are."""

    done: int
    failed: int
    total: int


def extract(
    images: Path | str,
    masks: Path | str,
    out: Path | str,
    *,
    settings: Path | str | Settings | None = None,
    clinical: Path | str | None = None,
    workers: int | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Extracted:
    """Extract the features of all lesions to a table, and go on where a run was stopped.

    images    folder of images, named by patient (see `scans`)
    masks     folder of masks
    out       the table, a .csv file (see `table`); `failures.csv` is written beside it
    settings  a TOML, YAML or JSON file of PyRadiomics' parameters, the tables themselves, or nothing for CT
    clinical  a CSV file whose columns are joined by its column `patient`
    workers   processes, each with one thread; as many as there are processors if left out
    watch     is called after every patient

    A patient whose files are the same as when it was done last, before a stop or in a completed run, is not
    done again. Rows and columns stand in the same order whatever the number of workers. A scan, a mask or a
    lesion that cannot be used is a failure and nothing else; without any row no table is written.

    Raises `ConfigError` for folders, settings or a clinical table that cannot be used, for an `out` that was
    extracted with other settings or holds patients that are not in `images`; `StateError` if another run is
    writing it; `InvalidArgument` for fewer than one worker.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise InvalidArgument(f"workers: {workers} is too few; one is needed")
    table = Path(out)
    if table.suffix != ".csv" or table.name == FAILURES:
        raise ConfigError(f"{table}: the table needs a name that ends in .csv and is not {FAILURES}")
    canonical = read_settings(settings)
    hashed = hash_of(canonical)
    joined = read_clinical(Path(clinical)) if clinical is not None else None
    scans, failures = find_scans(Path(images), Path(masks))
    releases = {"sordino": version("sordino")} | versions()
    software = "; ".join(f"{name} {release}" for name, release in releases.items())
    with PartialFile(table.with_name(table.name + ".partial"), hashed) as partial:
        done = _done(table, hashed) | partial.done
        patients = {scan.patient for scan in scans} | {failure.patient for failure in failures}
        if strangers := sorted(
            patient for patient, (rows, _) in done.items() if rows and patient not in patients
        ):
            raise ConfigError(
                f"{table}: has {len(strangers)} patients that are not in {images}, such as {strangers[0]!r}; "
                "give another --out, or remove the file to extract all anew"
            )
        known = {patient: same for patient, found in done.items() if (same := _digest(*found))}
        reused = failed = 0
        with closing(measured(scans, known, canonical, workers=workers)) as answers:
            for number, (scan, answer) in enumerate(answers, start=1):
                if "rows" not in answer:
                    reused += 1
                else:
                    done[scan.patient] = _kept(scan.patient, answer, software)
                    partial.add(scan.patient, *done[scan.patient])
                failed += bool(done[scan.patient][1])
                watch(Progress(number, failed, len(scans)))
        rows, left_out = _usable([row for scan in scans for row in done[scan.patient][0]], joined)
        failures += left_out + [failure for scan in scans for failure in done[scan.patient][1]]
        failures.sort(key=lambda failure: (failure.patient, failure.lesion))
        if rows:
            write_rows(table, rows, hashed, joined)
        else:
            table.unlink(missing_ok=True)
        write_failures(table.with_name(FAILURES), failures)
        partial.complete()
    return Extracted(len(rows), len(patients), reused, tuple(failures), hashed)


def _done(table: Path, settings: str) -> dict[str, tuple[list[Row], list[Failure]]]:
    """What a completed run left, by patient."""
    done: dict[str, tuple[list[Row], list[Failure]]] = {}
    for row in read_rows(table, settings):
        done.setdefault(row.patient, ([], []))[0].append(row)
    if done:  # else they may be those of another table
        for failure in read_failures(table.with_name(FAILURES)):
            done.setdefault(failure.patient, ([], []))[1].append(failure)
    return done


def _digest(rows: list[Row], failures: list[Failure]) -> str:
    """The digest that all of a patient's rows and failures carry; nothing if one carries another or none."""
    found = {row.scan for row in rows} | {failure.scan for failure in failures}
    return found.pop() if len(found) == 1 else ""


def _kept(patient: str, answer: dict[str, Any], software: str) -> tuple[list[Row], list[Failure]]:
    """A worker's answer as rows and failures; more than one lesion needs more than the patient for an id."""
    scan = answer["scan"]
    rows = [
        Row(patient if alone else f"{patient}/{lesion}", patient, lesion, scan, software, features)
        for lesion, alone, features in answer["rows"]
    ]
    return rows, [Failure(patient, lesion, scan, reason) for lesion, reason in answer["failures"]]


def _usable(rows: list[Row], clinical: Clinical | None) -> tuple[list[Row], list[Failure]]:
    """Those with a cell for every column, and why the others have none."""
    every = {name for row in rows for name in row.features}
    kept, failures = [], []
    for row in rows:
        if clinical and row.patient not in clinical.cells:
            failures.append(Failure(row.patient, row.lesion, "", "no row in the clinical table"))
        elif missing := sorted(every - row.features.keys()):
            reason = f"{len(missing)} features that other lesions have could not be computed: {missing[0]}"
            failures.append(Failure(row.patient, row.lesion, "", reason))
        else:
            kept.append(row)
    return kept, failures
