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
from pathlib import Path

from sordino.errors import ConfigError

NAMES = ("id", "patient", "lesion")
PROVENANCE = ("scan", "settings", "software")


def settings_of(table: Path | str) -> str:
    """The settings hash that all rows of an extracted table carry, as `settings_hash` gives it.

    table   a .csv or .csv.gz file with the column `settings`

    Raises `ConfigError` if it cannot be read, has no such column or no row, or if rows differ in it: then
    they were extracted differently and must not stand in one table.
    """
    path = Path(table)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if "settings" not in (rows.fieldnames or ()):
                raise ConfigError(f"{path}: has no column 'settings'; was it written by sordino extract?")
            found: dict[str, int] = {row["settings"] or "": rows.line_num for row in rows}
    except (OSError, EOFError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if len(found) > 1:
        several = ", ".join(f"{value[:12] or 'none'} (line {line})" for value, line in sorted(found.items()))
        raise ConfigError(f"{path}: its rows were extracted with different settings: {several}")
    if not "".join(found):
        raise ConfigError(f"{path}: has no row that says how it was extracted")
    return next(iter(found))
