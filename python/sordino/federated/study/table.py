# SPDX-License-Identifier: Apache-2.0

"""A CSV file in memory as text, and its columns as numbers: each fault named by line and column."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sordino.errors import ConfigError
from sordino.models.model import Matrix

SHOWN = 5
"""Faults of one kind that are told one by one; the rest is counted."""
LARGEST = 1e100
"""Numbers beyond this are taken for a fault of the file."""
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text cells.

    path    where it came from, for messages
    header  distinct column names
    rows    one list of len(header) cells for each patient
    lines   the line of the file at which each row ends, the header being line 1
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        """The cells of one column, without surrounding blanks."""
        place = self.header.index(name)
        return [row[place].strip() for row in self.rows]

    def take(self, chosen: Sequence[int]) -> Table:
        """The same table with only these rows."""
        return Table(
            self.path,
            self.header,
            tuple(self.rows[place] for place in chosen),
            tuple(self.lines[place] for place in chosen),
        )

    def numbers(self, columns: Sequence[str], faults: list[str], *, gaps: Collection[str] = ()) -> Matrix:
        """The columns as float64, shape (rows, columns); cells that are no numbers go to `faults`.

        gaps   columns that may have missing values, or not be there at all: they become NaN
        """
        places = [self.header.index(name) if name in self.header else None for name in columns]
        values = np.zeros((len(self.rows), len(columns)))
        wrong = []
        for at, row in enumerate(self.rows):
            for to, place in enumerate(places):
                cell = "" if place is None else row[place]
                number = _number(cell)
                if number is None and columns[to] in gaps and cell.strip().lower() in _MISSING:
                    values[at, to] = np.nan
                elif number is None:
                    wrong.append((self.lines[at], columns[to], cell.strip()))
                else:
                    values[at, to] = number
        told = [
            f"{self.path}: line {line}, column {column!r}: "
            + ("the value is missing" if cell.lower() in _MISSING else f"{_short(cell)!r} is not a number")
            for line, column, cell in wrong[:SHOWN]
        ]
        faults += told
        if len(wrong) > SHOWN:
            faults.append(f"{self.path}: {len(wrong) - SHOWN} more cells are missing or not numbers")
        return values


def read_table(path: Path) -> Table:
    """Read a .csv or .csv.gz file: UTF-8, commas, one header line, at least one row.

    Raises `ConfigError` if it cannot be read, is empty, or has a header or row of the wrong form.
    """
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: is not a whole gzip file: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if row:
                rows.append(tuple(row))
                lines.append(reader.line_num)
    except csv.Error as error:
        why = "a quote is opened and not closed" if "unexpected end" in str(error) else str(error)
        raise ConfigError(f"{path}: line {(lines or [0])[-1] + 1}: {why}") from None
    if not rows:
        raise ConfigError(f"{path}: is empty")
    header = tuple(name.strip() for name in rows[0])
    _check_header(path, header)
    for cells, line in zip(rows[1:], lines[1:], strict=True):
        if len(cells) != len(header):
            hint = "; a comma inside a cell needs quotes" if len(cells) > len(header) else ""
            raise ConfigError(
                f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}{hint}"
            )
    if len(rows) == 1:
        raise ConfigError(f"{path}: has a header but no rows")
    return Table(path, header, tuple(rows[1:]), tuple(lines[1:]))


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
        raise ConfigError(f"{path}: columns are separated by {other!r}; commas are needed")
    if "" in header:
        raise ConfigError(f"{path}: column {header.index('') + 1} has no name")
    if twice := sorted(name for name, times in Counter(header).items() if times > 1):
        raise ConfigError(f"{path}: two columns are called {twice[0]!r}")


def _number(cell: str) -> float | None:
    # float() takes "1_000", which no CSV means.
    if "_" in cell:
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST else None


def _short(cell: str) -> str:
    return cell if len(cell) <= 40 else cell[:37] + "..."
