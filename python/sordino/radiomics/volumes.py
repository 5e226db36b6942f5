# SPDX-License-Identifier: Apache-2.0

"""Images and masks out of files, and what makes them unfit: told as a reason, with a place and an amount."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sordino.errors import ConfigError

if TYPE_CHECKING:
    import SimpleITK

UNEVEN = 0.01
"""Part of the usual distance of slices by which one may differ."""
_BESIDE = (".csv", ".json", ".md", ".pdf", ".txt", ".xml")
"""Files that may lie beside DICOM slices."""


def digest(image: Path, masks: dict[str, Path]) -> str:
    """SHA-256 of what features are made from: the image's bytes, and each mask's with its name."""
    files = sorted(_files(image)) if image.is_dir() else [image]
    parts = sorted(_digest(path) for path in files)
    parts += [f"{name}:{_digest(path)}" for name, path in sorted(masks.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
    # The voxels of a detached header lie beside it, under whatever name it gives.
    if path.suffix.lower() == ".nhdr":
        for line in path.read_bytes().split(b"\n\n")[0].decode("latin-1").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("data file", "datafile"):
                if not (beside := path.parent / value.strip()).is_file():
                    raise ConfigError(
                        f"{path.name}: its voxels must lie in one file beside it, not {value!r}"
                    )
                whole += _digest(beside)
    return whole


def read_image(path: Path) -> SimpleITK.Image:
    """A volume of one finite number a voxel, from a file or from the one DICOM series in a folder.

    Raises `ConfigError`.
    """
    image = _volume(_read(_series(path)) if path.is_dir() else _read(path), path)
    import SimpleITK as sitk

    wrong = np.argwhere(~np.isfinite(sitk.GetArrayViewFromImage(image)))
    if len(wrong):
        first = tuple(int(index) for index in wrong[0][::-1])
        raise ConfigError(f"{path.name}: {len(wrong)} voxels are NaN or infinite, the first at {first}")
    return image


def read_mask(path: Path, channel: int | None = None) -> tuple[SimpleITK.Image, list[int]]:
    """A label map and its labels above 0; of one with several channels, `channel`.

    Raises `ConfigError`.
    """
    import SimpleITK as sitk

    mask = _read(path)
    if channel is not None and channel < mask.GetNumberOfComponentsPerPixel() > 1:
        mask = sitk.VectorIndexSelectionCast(mask, channel)
    mask = _volume(mask, path)
    values = np.unique(sitk.GetArrayViewFromImage(mask))
    if not np.all(np.isfinite(values)) or np.any(values != np.floor(values)) or values[0] < 0:
        odd = next(value for value in values if not value >= 0 or value != np.floor(value))
        raise ConfigError(f"{path.name}: a mask holds whole numbers from 0 on; this one has {odd:g}")
    labels = [int(value) for value in values if value > 0]
    if not labels:
        raise ConfigError(f"{path.name}: the mask is empty, no voxel is marked")
    return sitk.Cast(mask, sitk.sitkUInt32), labels


def check_geometry(image: SimpleITK.Image, mask: SimpleITK.Image, tolerance: float) -> None:
    """Refuse a mask that does not lie on the image's grid.

    tolerance   as ITK has it: of a voxel for spacing and origin, absolute for the cosines of direction

    Raises `ConfigError`, which says in what they differ and by how much.
    """
    if image.GetSize() != mask.GetSize():
        raise ConfigError(
            f"image and mask differ in size: {_by(image.GetSize())} and {_by(mask.GetSize())} voxels"
        )
    voxel = min(image.GetSpacing())
    for what, ours, theirs, allowed, unit in (
        ("spacing", image.GetSpacing(), mask.GetSpacing(), tolerance * voxel, " mm"),
        ("origin", image.GetOrigin(), mask.GetOrigin(), tolerance * voxel, " mm"),
        ("direction", image.GetDirection(), mask.GetDirection(), tolerance, ""),
    ):
        off = float(np.abs(np.subtract(ours, theirs)).max())
        if off > allowed:
            raise ConfigError(
                f"image and mask differ in {what} by {off:.4g}{unit} ({_by(ours)} and {_by(theirs)}); "
                f"at most {allowed:.2g}{unit} is allowed, see geometryTolerance"
            )


def _by(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:.6g}" for number in numbers)


def _read(path: Path | list[Path]) -> SimpleITK.Image:
    import SimpleITK as sitk

    if isinstance(path, Path) and path.name.lower().endswith((".nii", ".nii.gz")):
        _refuse_truncated(path)
    try:
        return sitk.ReadImage([str(one) for one in path] if isinstance(path, list) else str(path))
    except RuntimeError as error:
        name = path[0].parent.name if isinstance(path, list) else path.name
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"{name}: cannot be read: {lines[-1].strip() if lines else 'ITK gave no reason'}"
        ) from None


def _refuse_truncated(path: Path) -> None:
    """`ConfigError` for a NIfTI file without all of its voxels: ITK would fill them up and say nothing."""
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
            head = file.read(540)
            order = "<" if head[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
            if struct.unpack_from(f"{order}i", head)[0] == 540:  # NIfTI-2
                bits, *sizes = struct.unpack_from(f"{order}h8q", head, 14)
                (start,) = struct.unpack_from(f"{order}q", head, 168)
            else:
                sizes = list(struct.unpack_from(f"{order}8h", head, 40))
                (bits,) = struct.unpack_from(f"{order}h", head, 72)
                (start,) = struct.unpack_from(f"{order}f", head, 108)
            there = len(head)
            while block := file.read(1 << 20):
                there += len(block)
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise ConfigError(f"{path.name}: cannot be read: {error}") from None
    needed = int(start) + math.prod(sizes[1 : sizes[0] + 1]) * bits // 8
    if there < needed:
        raise ConfigError(f"{path.name}: cannot be read whole: {there} bytes where {needed} are needed")


def _volume(image: SimpleITK.Image, path: Path) -> SimpleITK.Image:
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise ConfigError(f"{path.name}: has {image.GetDimension()} dimensions; a volume has 3")
    if (channels := image.GetNumberOfComponentsPerPixel()) != 1:
        raise ConfigError(f"{path.name}: has {channels} numbers a voxel; one is needed, as in a label map")
    return image


def _files(folder: Path) -> list[Path]:
    """All that should be slices of a series."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and path.name != "DICOMDIR"
        and path.suffix.lower() not in _BESIDE
    ]


def _series(folder: Path) -> list[Path]:
    """The slices of the one series in a folder, in their order in space; `ConfigError` for a gap."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    series: dict[str, list[tuple[float, Path]]] = defaultdict(list)
    modality: dict[str, str] = {}
    grids: dict[tuple[tuple[float, ...], ...], Path] = {}
    for path in sorted(_files(folder)):
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            raise ConfigError(f"{folder.name}: {path.name} cannot be read as a DICOM slice") from None
        name = _tag(reader, "0020|000e")
        modality[name] = _tag(reader, "0008|0060")
        # ITK's direction is by rows: its third column is the normal of the slice.
        normal = np.array(reader.GetDirection())[2::3]
        series[name].append((float(normal @ np.array(reader.GetOrigin())), path))
        grids.setdefault((reader.GetSize()[:2], reader.GetSpacing()[:2], reader.GetDirection()), path)
    if not series:
        raise ConfigError(f"{folder.name}: neither a volume nor a DICOM series in it")
    if len(series) > 1:
        told = ", ".join(f"{name} ({modality[name]}, {len(series[name])} files)" for name in sorted(series))
        raise ConfigError(f"{folder.name}: {len(series)} DICOM series, leave only one of them there: {told}")
    if len(grids) > 1:
        first, other, *_ = grids.values()
        raise ConfigError(f"{folder.name}: slices {first.name} and {other.name} lie on different grids")
    slices = sorted(next(iter(series.values())))
    gaps = np.diff([place for place, _ in slices])
    if len(gaps) and np.ptp(gaps) > UNEVEN * np.median(gaps):
        usual = float(np.median(gaps))
        at = int(np.argmax(np.abs(gaps - usual)))
        raise ConfigError(
            f"{folder.name}: slices are not evenly spaced, one may be missing: {slices[at][1].name} and "
            f"{slices[at + 1][1].name} are {gaps[at]:.4g} mm apart, others {usual:.4g} mm"
        )
    return [path for _, path in slices]


def _tag(reader: SimpleITK.ImageFileReader, key: str) -> str:
    return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else "unknown"
