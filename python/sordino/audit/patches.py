# SPDX-License-Identifier: Apache-2.0

"""Image patches of the phantoms' lesions, as rows of a network's input: what an inversion draws again."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np

from sordino.models.model import Matrix
from sordino.radiomics.lesion import HIGHEST, LOWEST, SCANNERS, Lesion, body, scanned

IMAGES = "image patches"
"""What pictures of them are called."""

EDGE = 12
"""Pixels across, of 2 mm."""

_SIZE, _WINDOW = 56, (-160.0, 240.0)  # mm; Hounsfield units, that of soft tissue


def lesion_patches(patients: int, *, seed: int = 0) -> Matrix:
    """The middle of each patient's lesion, shape (patients, EDGE * EDGE), grey values from -1 to 1."""
    rows = []
    for patient in range(patients):
        rng = np.random.default_rng([seed, 9, patient])
        lesion = Lesion(*rng.uniform(astuple(LOWEST), astuple(HIGHEST)))
        image, _ = scanned(*body(lesion, _SIZE, rng), SCANNERS[0], rng)
        first = _SIZE // 2 - EDGE
        middle = image[_SIZE // 2, first : first + 2 * EDGE, first : first + 2 * EDGE].astype(float)
        small = middle.reshape(EDGE, 2, EDGE, 2).mean(axis=(1, 3))
        low, high = _WINDOW
        rows.append(2.0 * (np.clip(small, low, high).ravel() - low) / (high - low) - 1.0)
    return np.array(rows)
