# SPDX-License-Identifier: Apache-2.0

"""A process of its own that measures one patient after another: JSON lines in, JSON lines out.

The first line holds the settings, each further one a patient; the answer has its rows and failures. It ends
when its input does, so that nothing is left behind when the process that started it is killed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sordino.errors import ConfigError
from sordino.radiomics.settings import extractor
from sordino.radiomics.volumes import check_geometry, digest, read_image, read_mask

if TYPE_CHECKING:
    import SimpleITK

TOLERANCE = 1e-6
"""ITK's own, where the settings name none."""


class Heard(logging.Handler):
    """PyRadiomics' warnings, kept for the reason of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning."""
        self.lines.append(record.getMessage())


class Measurement:
    """PyRadiomics, set up once and asked for one patient after another."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from radiomics import logger

        self._heard = Heard()
        logger.handlers = [self._heard]
        logger.propagate = False
        self._setting = settings["setting"]
        self._extractor = extractor(settings)
        self._extractor.addProvenance(provenance_on=False)

    def measure(self, image: Path, masks: dict[str, Path], known: str | None) -> dict[str, Any]:
        """The features of all lesions of one patient.

        image   a file, or the folder of a DICOM series
        masks   mask files by the name of the lesion
        known   digest of the files when they were measured last: if it is still theirs nothing is done

        Returns `scan`, the digest, or none if they could not be read; unless it is `known`, `rows`: [lesion,
        whether it is the patient's only one, values by feature as text]; and `failures`: [lesion, reason].
        """
        rows: list[Any] = []
        failures: list[tuple[str, str]] = []
        scan = ""
        try:
            if (scan := digest(image, masks)) == known:
                return {"scan": scan}
            volume = read_image(image)
            lesions = []
            for name, path in masks.items():
                try:
                    mask, labels = self._mask(volume, path)
                except ConfigError as error:
                    failures.append((name, str(error)))
                    continue
                single = len(labels) == 1
                lesions += [
                    ((name if single else f"{name}-{label}") if name else str(label), mask, label)
                    for label in labels
                ]
            alone = len(lesions) + len(failures) == 1
            for lesion, mask, label in lesions:
                try:
                    rows.append((lesion, alone, self._features(volume, mask, label)))
                except ConfigError as error:
                    failures.append((lesion, str(error)))
        except ConfigError as error:
            failures.append(("", str(error)))
        except OSError as error:
            failures.append(("", f"{error.filename}: cannot be read: {error.strerror}"))
        return {"scan": scan, "rows": rows, "failures": failures}

    def _mask(self, volume: SimpleITK.Image, path: Path) -> tuple[SimpleITK.Image, list[int]]:
        mask, labels = read_mask(path, self._setting.get("label_channel"))
        if not self._setting.get("correctMask", False):
            check_geometry(volume, mask, self._setting.get("geometryTolerance", TOLERANCE))
        if (wanted := self._setting.get("label")) is not None:
            if wanted not in labels:
                raise ConfigError(f"{path.name}: label {wanted} is absent; the mask has {labels}")
            labels = [wanted]
        return mask, labels

    def _features(self, volume: SimpleITK.Image, mask: SimpleITK.Image, label: int) -> dict[str, str]:
        self._heard.lines.clear()
        try:
            found = self._extractor.execute(volume, mask, label=label)
        except Exception as error:  # noqa: BLE001  (whatever a scan brings PyRadiomics or ITK to raise)
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise ConfigError("; ".join([lines[-1].strip(), *self._heard.lines])) from None
        return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> str:
    if np.iscomplexobj(value):
        raise ConfigError(f"{name} is a complex number, as with NumPy 2.5: pip install 'numpy<2.5'")
    number = float(value)
    if not np.isfinite(number):
        raise ConfigError(f"{name} is {number} for this lesion; leave the feature out, or the lesion")
    return repr(number)


def main() -> None:
    """Answer until the input ends."""
    # What C or Python code prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    measurement = Measurement(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        task = json.loads(line)
        masks = {name: Path(path) for name, path in task["masks"].items()}
        answer = measurement.measure(Path(task["image"]), masks, task["known"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
