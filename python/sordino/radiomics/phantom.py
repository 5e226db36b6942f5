# SPDX-License-Identifier: Apache-2.0

"""Phantom cohorts on disk: scans, masks and outcomes by a stated law, and a study file over them.

    DIR/study.toml              trains on the tables that `sordino extract` will write
    DIR/settings.toml           for the extraction
    DIR/truth.csv               what is true of every patient; no site has it
    DIR/SITE/images, masks      one .nii.gz a patient each
    DIR/SITE/clinical.csv       patient, age, outcome, days, event

The law. With a lesion's place between the lowest and the highest, from -1 to 1, in radius r, amplitude of
texture a and spiculation s, and the age y from 45 to 80 likewise:

    eta = 3 r + 2.4 a + 1.2 s + 0.6 y
    outcome  1 with probability 1 / (1 + exp(-eta))
    days     exponential with hazard exp(eta / 2) / 900 a day, censored evenly between 300 and 1800 days

What scanners do to a scan is no part of it: features see a lesion through the scanner, the outcome does not.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sordino.errors import ConfigError, InvalidArgument
from sordino.radiomics.lesion import HIGHEST, LOWEST, SCANNERS, Lesion, Scanner, body, scanned

LAW = {"radius": 3.0, "amplitude": 2.4, "spiculation": 1.2, "age": 0.6}
AGES = (45, 80)
DAYS = 900.0
FOLLOW_UP = (300.0, 1800.0)
SMALLEST = 48
"""Voxels, and mm, along an edge: below, the largest lesions do not fit."""

SETTINGS = """\
# Quick, and enough for the law: all of a lesion's shape, its grey values and one kind of texture.
[setting]
resampledPixelSpacing = [2.0, 2.0, 2.0]
binWidth = 25.0
resegmentRange = [-300.0, 400.0]  # voxels that are half lung are no texture; shape keeps them

[featureClass]
shape = []
firstorder = []
glcm = []
"""

_STUDY = """\
# {sites} sites with {patients} patients each. First their features, at every SITE:
#   sordino extract --images SITE/images --masks SITE/masks --settings settings.toml \\
#     --join SITE/clinical.csv --out SITE/features.csv
# then: sordino run study.toml --out results
name = "phantoms"

[data]
id = "id"
target = "outcome"
features = [
  "age", "original_shape_MeshVolume", "original_shape_Sphericity",
  "original_firstorder_RobustMeanAbsoluteDeviation", "original_glcm_Contrast",
]

{tables}
[model]
type = "logistic"
l2 = 0.02

[training]
rounds = 40

[test]
fraction = 0.25

[policy]
across_rounds = "freeze"
max_patients = 1000

[simulation]
compare_pooled = true
"""


@dataclass(frozen=True)
class Phantoms:
    """Where everything is: the study and settings files, and the folder of each site by its name."""

    study: Path
    settings: Path
    sites: dict[str, Path]


def write_phantoms(
    folder: Path | str, *, sites: int = 5, patients: int = 24, size: int = 56, seed: int = 0
) -> Phantoms:
    """Write a cohort, the same for the same arguments; a patient is the same whatever the numbers of others.

    folder    must not exist, or be empty
    sites     at least 3, since a study has as many
    patients  at each site
    size      of a scan, in mm and in voxels across, at least 48

    Raises `InvalidArgument` for numbers that are too small, `ConfigError` for a folder that cannot be used or
    without the extra `radiomics`.
    """
    for name, number, least in (("sites", sites, 3), ("patients", patients, 1), ("size", size, SMALLEST)):
        if number < least:
            raise InvalidArgument(f"{name}: {number} is too small; at least {least}")
    if not 0 <= seed < 2**32:
        raise InvalidArgument(f"seed: {seed} is not a whole number from 0 to 4294967295")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder}: is not empty; phantoms go to a folder of their own")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written to: {error.strerror}") from None
    names = [f"site{number}" for number in range(1, sites + 1)]
    truth = []
    for number, name in enumerate(names):
        clinical = []
        scanner = SCANNERS[number % len(SCANNERS)]
        for patient in range(1, patients + 1):
            rng = np.random.default_rng([seed, number, patient])
            known, true = _write_patient(folder / name, f"{name}-{patient:03d}", scanner, size, rng)
            clinical.append(known)
            truth.append({"site": name} | true)
        _write_table(folder / name / "clinical.csv", clinical)
    _write_table(folder / "truth.csv", truth)
    tables = "".join(f'[[sites]]\nname = "{name}"\npath = "{name}/features.csv"\n\n' for name in names)
    found = Phantoms(folder / "study.toml", folder / "settings.toml", {name: folder / name for name in names})
    found.study.write_text(_STUDY.format(sites=sites, patients=patients, tables=tables), encoding="utf-8")
    found.settings.write_text(SETTINGS, encoding="utf-8")
    return found


def _write_patient(
    folder: Path, patient: str, scanner: Scanner, size: int, rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One patient's scan and mask; returns what the clinic knows and what is true."""
    places = dict(
        zip([*(field.name for field in fields(Lesion)), "age"], rng.uniform(-1, 1, size=6), strict=True)
    )
    lesion = Lesion(
        *(
            round(float(low + (high - low) * (1 + places[field.name]) / 2), 4)
            for field, low, high in zip(fields(Lesion), astuple(LOWEST), astuple(HIGHEST), strict=True)
        )
    )
    age = round(AGES[0] + (AGES[1] - AGES[0]) * (1 + places["age"]) / 2)
    eta = float(sum(weight * places[name] for name, weight in LAW.items()))
    outcome = int(rng.random() < 1 / (1 + np.exp(-eta)))
    lived = rng.exponential(DAYS * np.exp(-eta / 2))
    watched = rng.uniform(*FOLLOW_UP)
    density, mask = body(lesion, size, rng)
    image, drawn = scanned(density, mask, scanner, rng)
    for kind, voxels in (("images", image), ("masks", drawn)):
        _write_volume(folder / kind / f"{patient}.nii.gz", voxels, scanner.slice)
    known = {
        "patient": patient,
        "age": age,
        "outcome": outcome,
        "days": max(1, round(min(lived, watched))),
        "event": int(lived <= watched),
    }
    true = {"patient": patient} | asdict(lesion) | {"volume": int(mask.sum()), "eta": round(eta, 4)}
    return known, true | asdict(scanner)


def _write_volume(path: Path, voxels: np.ndarray[Any, Any], thickness: int) -> None:
    try:
        import SimpleITK as sitk
    except ImportError:
        raise ConfigError("SimpleITK is not installed: pip install 'sordino[radiomics]'") from None

    path.parent.mkdir(parents=True, exist_ok=True)
    volume = sitk.GetImageFromArray(voxels)
    volume.SetSpacing((1.0, 1.0, float(thickness)))
    sitk.WriteImage(volume, str(path), useCompression=True)


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines: Iterable[Iterable[Any]] = [rows[0], *(row.values() for row in rows)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
