# SPDX-License-Identifier: Apache-2.0

"""What is done so far: a file that grows by a line a patient, so that a run goes on where it was stopped.

The first line names the settings, each further one a patient with its rows and failures. A line that has no
end was being written when the process died, and does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sordino.errors import ConfigError, StateError
from sordino.radiomics.scans import Failure
from sordino.radiomics.table import Row, refuse_others


class PartialFile:
    """`OUT.partial`, locked while it is open, gone after it if nothing is in it that is not in the table.

    `done` is what it held when it was opened, by patient.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise ConfigError(f"{path.parent}: cannot be written to: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.done = self._read(settings)
        except BlockingIOError:
            self._file.close()
            raise StateError(f"{path}: another extraction is writing it") from None
        except BaseException:
            self._file.close()
            raise

    def _read(self, settings: str) -> dict[str, tuple[list[Row], list[Failure]]]:
        self._file.seek(0)
        *whole, _ = self._file.read().split(b"\n")
        try:
            header, *lines = [json.loads(line) for line in whole] or [{}]
            if lines:
                refuse_others(self._path, header["settings"], settings)
            done = {
                line["patient"]: (
                    [Row(**row) for row in line["rows"]],
                    [Failure(**failure) for failure in line["failures"]],
                )
                for line in lines
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self._path}: is damaged; remove it to begin anew") from None
        self._begun = bool(lines)
        self._file.truncate(sum(len(line) + 1 for line in whole) if lines else 0)
        if not lines:
            self._append({"settings": settings})
        return done

    def add(self, patient: str, rows: list[Row], failures: list[Failure]) -> None:
        """One patient is done; on return this is on disk."""
        self._begun = True
        self._append(
            {
                "patient": patient,
                "rows": [asdict(row) for row in rows],
                "failures": [asdict(failure) for failure in failures],
            }
        )

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def complete(self) -> None:
        """The table is written: what was done so far stands there."""
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._begun:
            self._path.unlink(missing_ok=True)
        self._file.close()
