# SPDX-License-Identifier: Apache-2.0

"""The sum of keystreams that masks a vector, one lane at a time."""

from __future__ import annotations

from collections.abc import Sequence

from reference.aes256 import keystream


def add_masks(
    lanes: Sequence[int],
    add: Sequence[bytes],
    subtract: Sequence[bytes],
    *,
    width: int,
    stream: int = 0,
    offset: int = 0,
) -> list[int]:
    """Give lanes + sum PRG(add) - sum PRG(subtract) mod 2^width."""
    size = width // 8
    result = list(lanes)
    for sign, seeds in ((1, add), (-1, subtract)):
        for seed in seeds:
            pad = keystream(seed, len(result) * size, stream=stream, offset=offset * size)
            for i in range(len(result)):
                word = int.from_bytes(pad[i * size : (i + 1) * size], "little")
                result[i] = (result[i] + sign * word) % 2**width
    return result
