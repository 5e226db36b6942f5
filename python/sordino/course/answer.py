# SPDX-License-Identifier: Apache-2.0

"""How rows of patients become the answer to a question, and its sum numbers again, for each unit of privacy.

A stage makes one row a patient for each of its blocks, of a length that it bounds, and sees sums and a count;
what happens in between hangs on whom the noise hides:

patient         the rows go to the core as they are, which clips, rounds and adds them up
site            their mean goes there, with the number of patients as its weight
patient-local   the site clips, sums and noises them by itself; the sum counts every site once
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.resolution import fraction_bits
from sordino.errors import StateError
from sordino.models.model import Vector
from sordino.privacy.local import private_sums
from sordino.protocol.noise import Noise, Unit
from sordino.protocol.policy import EVERYONE, Block, Question

Rows: TypeAlias = Mapping[str, NDArray[np.floating[Any]]]

GRID = 16
"""A clip of 1 is so many binary digits of grid units long: rounding adds 0.005 % to the sensitivity."""


@dataclass(frozen=True)
class Part:
    """One block of a question: its lanes, the L2 norm of a patient's row, and how coarse its grid is.

    All lanes of a question get the same noise in grid units, so a grid that is 2**coarser coarser has that
    much more noise for what it means, and takes that much less of the joint sensitivity.
    """

    name: str
    length: int
    clip: float
    coarser: int = 0


@dataclass(frozen=True)
class Answering:
    """How the sites of a study answer, the same for all its private questions.

    max_patients   public bound on the patients of one site
    noise          the noise of each kind of question once it is planned: needed to answer, not to ask
    entropy        count -> random bytes, for secret batches and local noise
    """

    unit: Unit
    sites: int
    max_patients: int
    noise: Mapping[str, Noise]
    entropy: Callable[[int], bytes] = os.urandom

    def question(self, kind: str, parts: Sequence[Part]) -> Question:
        """The question with these parts, without its noise."""
        if self.unit == "patient-local":
            # Each site's own noise is in it: a sum that saturates has less noise than signal in any case.
            parts = [Part(part.name, part.length, 2.0 * self.max_patients * part.clip) for part in parts]
            parts.append(Part("count", 1, 2.0 * self.max_patients))
        weight = 1 if self.unit == "patient-local" else self.max_patients
        blocks = [
            Block(
                part.name,
                part.length,
                part.clip,
                fraction_bits(
                    f"{kind}, {part.name}",
                    clip=part.clip,
                    sites=self.sites,
                    max_weight=weight,
                    wanted=GRID,
                )
                - part.coarser,
            )
            for part in parts
        ]
        return Question(kind=kind, blocks=tuple(blocks), max_weight=weight)

    def planned(self, kind: str) -> Noise:
        """The noise of a kind of question; raises `StateError` before it is planned."""
        if kind not in self.noise:
            raise StateError(f"the noise of question {kind!r} is not planned yet")
        return self.noise[kind]

    def answer(
        self, kind: str, parts: Sequence[Part], rows: Rows, *, sampling_rate: float = 1.0
    ) -> Contribution:
        """A site's contribution; `rows` has shape (patients, length) for each part, patients perhaps 0.

        sampling_rate   by which these patients were drawn from the site's
        """
        patients = len(rows[parts[0].name])
        if self.unit == "patient":
            return Contribution(rows, weight=patients, sampling_rate=sampling_rate)
        if self.unit == "site":
            sums = {name: block.sum(axis=0) for name, block in rows.items()}
            return Contribution({name: total / max(patients, 1) for name, total in sums.items()}, patients)
        sigma = self.planned(kind).local_sigma
        sums, count = private_sums(
            rows, {part.name: part.clip for part in parts}, sigma, entropy=self.entropy
        )
        return Contribution(
            {**sums, "count": np.array([count])},
            sampling_rate=sampling_rate,
            local_steps=1,
            local_sigma=sigma,
        )

    def patients(self, total: Aggregate) -> float:
        """How many patients are in a sum, up to its noise, and 1 at least."""
        counted = float(total.sums["count"][0]) if self.unit == "patient-local" else total.weights[EVERYONE]
        return max(counted, 1.0)


def mean(total: Aggregate, block: str, patients: float) -> Vector:
    """The sum of a block for each of so many patients."""
    return total.sums[block] / patients
