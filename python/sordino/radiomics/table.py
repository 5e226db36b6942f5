# SPDX-License-Identifier: Apache-2.0

"""The table of features: a row a lesion, and before the features what tells where they came from.

id        tells rows apart: the patient, or PATIENT/LESION where a patient has several
patient   the name of its scan
lesion    what its mask file says after the patient, and the label
...       columns joined from a clinical table
scan      SHA-256 of image and mask
settings  hash of the settings and the software that carried them out
software  releases of sordino, PyRadiomics, SimpleITK and NumPy
...       features, in the order of PyRadiomics
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sordino.errors import ConfigError
from sordino.radiomics.scans import Failure

NAMES = ("id", "patient", "lesion")
PROVENANCE = ("scan", "settings", "software")
FAILURES = "failures.csv"
_FAILURE = ["patient", "lesion", "scan", "reason"]


@dataclass(frozen=True)
class Row:
    """One lesion; values are numbers as text, just as they were first written."""

    id: str
    patient: str
    lesion: str
    scan: str
    software: str
    features: dict[str, str]


@dataclass(frozen=True)
class Clinical:
    """Columns to be joined: cells by patient."""

    columns: tuple[str, ...]
    cells: dict[str, tuple[str, ...]]


def read_rows(path: Path, settings: str) -> list[Row]:
    """The rows of a table that is there already; none if it is not.

    Raises `ConfigError` if it is another kind of file, or was extracted with other settings.
    """
    if not path.exists():
        return []
    header, *lines = _read(path)
    if header[: len(NAMES)] != [*NAMES] or not {*PROVENANCE} <= {*header}:
        raise ConfigError(f"{path}: is there already and is no table of sordino extract; give another --out")
    if lines:
        refuse_others(path, settings_of(path), settings)
    at = {name: header.index(name) for name in (*NAMES, *PROVENANCE)}
    first = at[PROVENANCE[-1]] + 1
    return [
        Row(
            id=cells[at["id"]],
            patient=cells[at["patient"]],
            lesion=cells[at["lesion"]],
            scan=cells[at["scan"]],
            software=cells[at["software"]],
            features=dict(zip(header[first:], cells[first:], strict=True)),
        )
        for cells in lines
    ]


def refuse_others(path: Path, theirs: str, ours: str) -> None:
    """`ConfigError` unless both settings are one."""
    if theirs != ours:
        raise ConfigError(
            f"{path}: was begun with other settings or software ({theirs[:12]}, not {ours[:12]}): go on with "
            "those, or give another --out"
        )


def write_rows(path: Path, rows: Sequence[Row], settings: str, clinical: Clinical | None) -> None:
    """Write the table in one step, in the order given."""
    columns, cells = (clinical.columns, clinical.cells) if clinical else ((), {})
    features = list(dict.fromkeys(name for row in rows for name in row.features))
    if both := {*columns} & {*features}:
        raise ConfigError(f"the clinical table has a column {min(both)!r}, as the features have; rename it")
    _write(
        path,
        [
            [*NAMES, *columns, *PROVENANCE, *features],
            *(
                [
                    row.id,
                    row.patient,
                    row.lesion,
                    *cells.get(row.patient, ()),
                    row.scan,
                    settings,
                    row.software,
                ]
                + [row.features[name] for name in features]
                for row in rows
            ),
        ],
    )


def read_failures(path: Path) -> list[Failure]:
    """What `write_failures` wrote; none if the file is not there."""
    if not path.exists():
        return []
    header, *lines = _read(path)
    if header != _FAILURE:
        raise ConfigError(
            f"{path}: is there already and was not written by sordino extract; give another --out"
        )
    return [Failure(*cells) for cells in lines]


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write the table in one step, in the order given."""
    rows = [[one.patient, one.lesion, one.scan, one.reason] for one in failures]
    _write(path, [_FAILURE, *rows])


def read_clinical(path: Path) -> Clinical:
    """A table with a column `patient`, each patient once; its other columns are to be joined."""
    header, *lines = _read(path)
    if "patient" not in header:
        raise ConfigError(f"{path}: has no column 'patient' to be joined by; it has {', '.join(header)}")
    if both := {*header} & {"id", "lesion", *PROVENANCE}:
        raise ConfigError(f"{path}: has a column {min(both)!r}, as the features have; rename it")
    place = header.index("patient")
    cells: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, start=2):
        if line[place] in cells:
            raise ConfigError(f"{path}: row {number}: patient {line[place]!r} is there twice")
        cells[line[place]] = (*line[:place], *line[place + 1 :])
    return Clinical((*header[:place], *header[place + 1 :]), cells)


def settings_of(table: Path | str) -> str:
    """The settings hash that all rows of an extracted table carry, as `settings_hash` gives it.

    table   a .csv or .csv.gz file with the column `settings`

    Raises `ConfigError` if it cannot be read, has no such column or no row, or if rows differ in it: then
    they were extracted differently and must not stand in one table.
    """
    path = Path(table)
    header, *rows = _read(path)
    if "settings" not in header:
        raise ConfigError(f"{path}: has no column 'settings'; was it written by sordino extract?")
    place = header.index("settings")
    found = {row[place]: number for number, row in enumerate(rows, start=2)}
    if len(found) > 1:
        several = ", ".join(
            f"{value[:12] or 'none'} (row {number})" for value, number in sorted(found.items())
        )
        raise ConfigError(f"{path}: its rows were extracted with different settings: {several}")
    if not "".join(found):
        raise ConfigError(f"{path}: has no row that says how it was extracted")
    return next(iter(found))


def _read(path: Path) -> list[list[str]]:
    """All rows with anything in them, the header first."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(
            path, "rt", encoding="utf-8-sig", newline=""
        ) as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (OSError, EOFError, csv.Error, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read: {why}") from None
    if not rows:
        raise ConfigError(f"{path}: is empty")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise ConfigError(f"{path}: row {number} has {len(row)} cells, the header has {len(rows[0])}")
    return rows


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
