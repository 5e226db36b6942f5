# SPDX-License-Identifier: Apache-2.0

"""Small scans for tests: a textured ball in a box, and ways to write and break it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SMALL = {"featureClass": {"shape": ["VoxelVolume", "Sphericity"], "firstorder": ["Mean", "Entropy"]}}
"""Settings that are quick to carry out."""
SETTINGS = "featureClass: {shape: [VoxelVolume, Sphericity], firstorder: [Mean, Entropy]}\n"
"""The same as a file."""


def volume(values, *, spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0)):
    """An image of an array whose axes are z, y, x."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def ball(radius=4.0, size=16, seed=0):
    """Values and mask of a ball, float32 and uint8, shape (size, size, size)."""
    places = np.indices((size,) * 3) - size / 2
    mask = (places**2).sum(axis=0) <= radius**2
    values = np.random.default_rng(seed).normal(100.0, 40.0, (size,) * 3) * mask - 50.0
    return values.astype(np.float32), mask.astype(np.uint8)


def write(path: Path, values, **grid):
    """Write an array as a volume; folders are made."""
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(volume(values, **grid), str(path))
    return path


def write_series(folder: Path, values, *, series="1.2.826.0.1.1", spacing=2.5, start=0.0):
    """Write an array as one DICOM series: a file for each slice."""
    import SimpleITK as sitk

    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, plane in enumerate(np.asarray(values)):
        image = sitk.GetImageFromArray(plane.astype(np.int16))
        image.SetSpacing((1.0, 1.0))
        tags = {
            "0008|0008": "DERIVED\\SECONDARY", "0008|0060": "CT", "0020|000e": series,
            "0020|000d": "1.2.826.0.1.9", "0020|0013": str(number), "0008|0018": f"{series}.{number}",
            "0020|0032": f"0\\0\\{start + spacing * number}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": str(spacing),
        }  # fmt: skip
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}-{number:03d}.dcm"))
        writer.Execute(image)
    return folder


def write_cohort(folder: Path, patients: int, *, size=16, radius=4.0):
    """Images, masks and a settings file for patients P00, P01, ...; returns the options of the command."""
    for number in range(patients):
        values, mask = ball(radius=radius + 0.2 * number, size=size, seed=number)
        write(folder / "images" / f"P{number:02d}.nii.gz", values)
        write(folder / "masks" / f"P{number:02d}.nii.gz", mask)
    (folder / "settings.yaml").write_text(SETTINGS)
    parts = {"images": "images", "masks": "masks", "settings": "settings.yaml"}
    return [f"--{option}={folder / name}" for option, name in parts.items()]
