# SPDX-License-Identifier: Apache-2.0

"""How fine a fixed-point grid may be so that the sum of all sites still fits 64-bit lanes."""

from __future__ import annotations

from math import ceil, log2

from sordino.errors import PolicyError

COARSEST = 8
"""Fraction bits below which a block is refused rather than rounded so roughly."""


def fraction_bits(what: str, *, clip: float, sites: int, max_weight: int, wanted: int) -> int:
    """The most fraction bits, up to `wanted`, with which sites * max_weight * clip * 2**bits < 2**63.

    Raises `PolicyError`, naming `what`, if fewer than `COARSEST` are left.
    """
    fitting = 62 - ceil(log2(clip)) - (sites * max_weight).bit_length()
    if min(fitting, wanted) < min(COARSEST, wanted):
        raise PolicyError(
            f"{what}: {sites} sites of up to {max_weight} patients with values up to {clip:g} leave only "
            f"{fitting} bits behind the point of a 64-bit lane; lower max_patients or the clip"
        )
    return min(fitting, wanted)
