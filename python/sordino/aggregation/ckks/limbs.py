# SPDX-License-Identifier: Apache-2.0

"""Lanes as limbs, small non-negative integers in float64, and summed limbs as lanes again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.ckks.parameters import Parameters
from sordino.errors import PeerError
from sordino.protocol.lanes import Lanes, empty_lanes


def split(lanes: Lanes, parameters: Parameters) -> NDArray[np.float64]:
    """The limbs, lowest first, shape (limbs * lanes,)."""
    mask = lanes.dtype.type((1 << parameters.limb_bits) - 1)
    return np.concatenate(
        [
            ((lanes >> lanes.dtype.type(place * parameters.limb_bits)) & mask).astype(np.float64)
            for place in range(parameters.limbs)
        ]
    )


def join(limbs: NDArray[np.floating[Any]], parameters: Parameters, *, sites: int, bits: int) -> Lanes:
    """The lanes, mod 2**bits, of summed limbs that decryption left near whole numbers.

    Raises `PeerError` where a limb is none: farther from a whole number than noise takes it, or larger than
    so many sites' limbs can add up to. Then it was no sum of so many uploads.
    """
    whole = np.rint(limbs)
    if not (np.abs(limbs - whole) < 0.45).all() or whole.min() < 0.0:
        raise PeerError("what was decrypted is no sum of the sites' lanes")
    if whole.max() > sites * ((1 << parameters.limb_bits) - 1):
        raise PeerError("what was decrypted is larger than the sites' lanes add up to")
    parts = whole.astype(np.uint64).reshape(parameters.limbs, -1)
    total = np.zeros(parts.shape[1], np.uint64)
    for place, part in enumerate(parts):
        total += part << np.uint64(place * parameters.limb_bits)
    lanes = empty_lanes(len(total), bits)
    lanes[:] = total & np.uint64((1 << bits) - 1)
    return lanes
