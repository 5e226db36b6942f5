# SPDX-License-Identifier: Apache-2.0

"""Which image and which masks belong to which patient: by name alone, before anything is opened.

images/P017.nii.gz            a file for each patient: .nii, .nii.gz, .nrrd or .nhdr
images/P018/...               or a folder with one such file, or with the files of one DICOM series
masks/P017.nii.gz             the patient's only mask file, whatever number of labels it holds
masks/P018_liver.nrrd         one of several: what follows the patient and "_" names the lesion
masks/P018/lung-left.nrrd     or in a folder for the patient
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sordino.errors import ConfigError

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr")


@dataclass(frozen=True)
class Scan:
    """One patient's image, a file or a folder with a DICOM series, and its mask files by lesion's name."""

    patient: str
    image: Path
    masks: dict[str, Path]


@dataclass(frozen=True)
class Failure:
    """Why a patient, or one lesion of it, has no row; `scan` is its digest where a new try were in vain."""

    patient: str
    lesion: str
    scan: str
    reason: str


def find_scans(images: Path, masks: Path) -> tuple[list[Scan], list[Failure]]:
    """All patients with one image and at least one mask, by name, and why the others have not.

    Raises `ConfigError` if a folder cannot be read, if both are one, or if there is no image at all.
    """
    if images.resolve() == masks.resolve():
        raise ConfigError(f"{images}: images and masks are told apart by their folders; give two")
    failures = []
    found: dict[str, list[Path]] = defaultdict(list)
    for path in _entries(images):
        if path.is_dir():
            found[path.name] += _volumes(path) or [path]
        elif name := _stem(path):
            found[name].append(path)
    if not found:
        raise ConfigError(
            f"{images}: no image in it: a {' or '.join(SUFFIXES)} file for each patient, or a folder with "
            "its DICOM series"
        )
    drawn: dict[str, dict[str, list[Path]]] = {patient: defaultdict(list) for patient in found}
    for patient, lesion, path in _masks(masks, found):
        if patient in drawn:
            drawn[patient][lesion].append(path)
        else:
            failures.append(Failure(patient, "", "", f"no image for the mask {path.name}"))
    scans = []
    for patient, paths in found.items():
        several = [f"two masks for {name!r}" for name, twice in drawn[patient].items() if len(twice) > 1]
        if len(paths) > 1:
            several = [f"{len(paths)} images: {', '.join(path.name for path in paths)}"]
        if not drawn[patient]:
            several = [
                f"no mask: {patient}{SUFFIXES[0]}, {patient}_LESION{SUFFIXES[0]} or a folder {patient}"
            ]
        if several:
            failures.append(Failure(patient, "", "", "; ".join(several)))
        else:
            scans.append(
                Scan(patient, paths[0], {name: drawn[patient][name][0] for name in sorted(drawn[patient])})
            )
    return sorted(scans, key=lambda scan: scan.patient), failures


def _masks(folder: Path, patients: dict[str, list[Path]]) -> Iterator[tuple[str, str, Path]]:
    """Patient, lesion's name and path of every mask; the longest patient's name that fits is meant."""
    for path in _entries(folder):
        if path.is_dir():
            for inside in _volumes(path):
                name = _stem(inside)
                yield path.name, "" if name == path.name else name.removeprefix(f"{path.name}_"), inside
        elif name := _stem(path):
            cuts = [place for place, letter in enumerate(name) if letter == "_"]
            at = next((cut for cut in (len(name), *reversed(cuts)) if name[:cut] in patients), len(name))
            yield name[:at], name[at + 1 :], path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def _volumes(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_file() and _stem(path)]


def _stem(path: Path) -> str:
    """The name without the suffix of a volume; nothing if it has none."""
    lower = path.name.lower()
    return next((path.name[: -len(suffix)] for suffix in SUFFIXES if lower.endswith(suffix)), "")
