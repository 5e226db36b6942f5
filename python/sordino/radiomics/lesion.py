# SPDX-License-Identifier: Apache-2.0

"""Phantoms in memory: a textured lesion of known shape in a piece of body, and a scanner that looks at it.

All is in Hounsfield units on a grid of 1 mm, axes z, y, x. The lesion is an ellipsoid whose surface is waved
by direction, filled with a Gaussian random field. The scanner averages slices, adds white noise and applies
its kernel within each slice, so that the kernel colours the noise as it does in CT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AIR, LUNG, FAT, TISSUE, TUMOUR = -1000.0, -780.0, -100.0, 60.0, 30.0
_FAT_MM = 3.0
_LUNG_FROM = 0.34
"""Part of the edge from the middle to where lung begins: the largest lesions touch it."""
_WAVES = 6
"""Cosines in the surface of a lesion."""


@dataclass(frozen=True)
class Lesion:
    """What is true of a lesion.

    radius       of a ball of the same volume but for the waves, mm
    elongation   the two short axes over the long one, above 0 to 1
    spiculation  standard deviation of the surface's waves, in radii
    correlation  of the texture: sigma of the Gaussian that smooths it, mm
    amplitude    standard deviation of the texture, HU
    """

    radius: float
    elongation: float
    spiculation: float
    correlation: float
    amplitude: float


LOWEST = Lesion(radius=5.0, elongation=0.55, spiculation=0.0, correlation=1.0, amplitude=20.0)
HIGHEST = Lesion(radius=10.0, elongation=1.0, spiculation=0.15, correlation=3.0, amplitude=120.0)
"""Lesions are drawn evenly between the two."""


@dataclass(frozen=True)
class Scanner:
    """How a site scans.

    slice   thickness and distance of slices, whole mm
    kernel  above 0: sigma of a smoothing kernel, mm; below 0: how much of what a smoothing takes off is added
    noise   standard deviation before the kernel, HU
    """

    slice: int
    kernel: float
    noise: float


SCANNERS = (
    Scanner(slice=1, kernel=0.0, noise=10.0),
    Scanner(slice=2, kernel=1.0, noise=15.0),
    Scanner(slice=1, kernel=-0.8, noise=20.0),
    Scanner(slice=3, kernel=0.5, noise=10.0),
    Scanner(slice=2, kernel=0.0, noise=40.0),
)
"""Of the first sites; then they come again."""

Volume = NDArray[np.float64]


def body(lesion: Lesion, size: int, rng: np.random.Generator) -> tuple[Volume, NDArray[np.bool_]]:
    """Density and true mask of a piece of body, with the lesion in soft tissue near its middle.

    Returns two arrays of shape (size, size, size).
    """
    places = np.moveaxis(np.indices((size,) * 3) - (size - 1) / 2, 0, -1)
    across = np.hypot(places[..., 1], places[..., 2])
    edge = size / 2 - 1
    places_of = [across > edge, across > edge - _FAT_MM, places[..., 1] < -_LUNG_FROM * size]
    density = np.select(places_of, [AIR, FAT, LUNG], TISSUE)

    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    long = lesion.radius * lesion.elongation ** (-2 / 3)
    axes = long * np.array([1.0, lesion.elongation, lesion.elongation])
    scaled = (places - rng.uniform(-2.0, 2.0, size=3)) @ turned / axes
    distance = np.linalg.norm(scaled, axis=-1)
    direction = scaled / np.maximum(distance, 1e-9)[..., None]
    waves = np.sqrt(2 / _WAVES) * sum(
        np.cos(direction @ rng.normal(scale=4.0, size=3) + rng.uniform(0, 2 * np.pi)) for _ in range(_WAVES)
    )
    mask = distance < 1 + lesion.spiculation * waves

    texture = _smoothed(rng.normal(size=density.shape), lesion.correlation)
    texture = (texture - texture[mask].mean()) * lesion.amplitude / texture[mask].std()
    return np.where(mask, TUMOUR + texture, density), mask


def scanned(
    density: Volume, mask: NDArray[np.bool_], scanner: Scanner, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """What a scanner makes of it: image, and the mask of voxels at least half of which are lesion.

    Returns two arrays of shape (size // slice, size, size).
    """
    image, part = (_averaged(volume, scanner.slice) for volume in (density, mask.astype(float)))
    image = image + rng.normal(scale=scanner.noise, size=image.shape)
    if scanner.kernel > 0:
        image = _smoothed(image, (0.0, scanner.kernel, scanner.kernel))
    elif scanner.kernel < 0:
        image = image - scanner.kernel * (image - _smoothed(image, (0.0, 1.0, 1.0)))
    return np.clip(np.round(image), -1024, 3071).astype(np.int16), (part >= 0.5).astype(np.uint8)


def _averaged(volume: Volume, thickness: int) -> Volume:
    slices = len(volume) // thickness
    whole: Volume = volume[: slices * thickness].reshape(slices, thickness, *volume.shape[1:])
    return np.asarray(whole.mean(axis=1))


def _smoothed(volume: Volume, sigma: float | tuple[float, ...]) -> Volume:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(volume, sigma))
