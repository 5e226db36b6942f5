# SPDX-License-Identifier: Apache-2.0

"""The clip of a round: fixed, or moving to a quantile of the norms (Andrew et al. 2021).

Rows reach the core in units of the clip of the round and are clipped there at 1, so the sensitivity is the
same whatever the clip is. Where it adapts, each row also says whether it was within the clip, as +1/2 or -1/2
on a lane of its own in the same noised question: its part of the joint sensitivity is the price, about 1 % of
the noise, and no event can forget it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate
from sordino.course.answer import Part, Rows
from sordino.course.arrays import Arrays
from sordino.models.model import Matrix, Vector

_FARTHEST = 2.0**20
"""The clip stays within this factor of the first one."""


@dataclass(frozen=True)
class ClipRule:
    """The first clip, the quantile of the norms that it shall move to (None: it stays), and how fast."""

    first: float
    quantile: float | None = None
    rate: float = 0.2

    @property
    def parts(self) -> tuple[Part, ...]:
        """The block that says who is within; 1/8 of the main block's sensitivity."""
        return () if self.quantile is None else (Part("within", 1, 0.5, coarser=2),)

    def rows(self, block: str, rows: Matrix, known: Arrays) -> Rows:
        """`rows` (patients, length) in units of the clip, and who is within it."""
        clip = float(known["clip"][0])
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what is not finite is not within, and adds nothing
            given = {block: rows / clip}
            if self.quantile is not None:
                within = np.linalg.norm(rows, axis=1) <= clip
                given["within"] = np.where(within, 0.5, -0.5)[:, np.newaxis]
        return given

    def moved(self, clip: Vector, total: Aggregate, patients: float) -> Vector:
        """The next clip: larger while fewer than the quantile are within, smaller while more are.

        C exp(-rate (b - quantile)), b the noised part of norms at or below C (algorithm 1).
        """
        if self.quantile is None:
            return clip
        within = min(max(float(total.sums["within"][0]) / patients + 0.5, 0.0), 1.0)
        moved: Vector = clip * np.exp(-self.rate * (within - self.quantile))
        return np.clip(moved, self.first / _FARTHEST, self.first * _FARTHEST)
