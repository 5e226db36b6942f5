# SPDX-License-Identifier: Apache-2.0

"""A site's own noise, for the unit "patient-local": a sum over its patients that is private before it leaves.

Each patient's row is clipped and rounded in the core, the integers are summed together with the number of
rows, and discrete Gaussian noise goes onto all of them; the grid is the site's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.privacy.mechanisms import sqrt_up
from sordino.protocol.noise import rounded_limit
from sordino.protocol.secret import SECRET_BYTES

FRACTION_BITS = 20
"""A clip is so many binary digits of grid units long."""

_COUNT = 2 ** (FRACTION_BITS - 2)  # a patient's own grid units on the lane that counts: 3 % of the noise
_STREAMS = 64  # of the rounding seed, for each block, as every attempt to round a row has its own


def private_sums(
    rows: Mapping[str, NDArray[np.floating[Any]]],
    clips: Mapping[str, float],
    multiplier: float,
    *,
    entropy: Callable[[int], bytes] = os.urandom,
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """For each block the noised sum of its clipped rows, float64 of shape (length,), and how many there are.

    rows         shape (patients, length) for each block, patients perhaps 0; rows with NaN add nothing
    clips        the L2 norm to which each block's rows are clipped
    multiplier   standard deviation of the noise over the joint L2 norm of what one patient adds to everything

    A block's noise is in proportion to its clip.
    """
    rounding = entropy(SECRET_BYTES)
    lengths = {name: block.shape[1] for name, block in rows.items()}
    lanes = np.zeros(sum(lengths.values()) + 1, np.uint64)
    squared, start, patients = _COUNT**2, 0, 0
    spans = {}
    for place, (name, block) in enumerate(rows.items()):
        spans[name] = slice(start, start + lengths[name])
        limit = rounded_limit(1.0, FRACTION_BITS, lengths[name])
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.ascontiguousarray(block / clips[name])
        _core.clip_accumulate(
            scaled,
            lanes[spans[name]],
            bound=1.0,
            scale=2.0**FRACTION_BITS,
            limit=limit,
            rounding_seed=rounding,
            stream=place * _STREAMS,
        )
        squared += limit
        start += lengths[name]
        patients = len(block)
    lanes[-1] = patients * _COUNT
    seed = bytearray(entropy(SECRET_BYTES))
    _core.add_noise(lanes, seed, [multiplier * sqrt_up(squared)])
    _core.wipe(seed)
    values = lanes.view(np.int64) / 2.0**FRACTION_BITS
    return {name: values[span] * clips[name] for name, span in spans.items()}, 4.0 * float(values[-1])
