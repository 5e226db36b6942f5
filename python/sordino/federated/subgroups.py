# SPDX-License-Identifier: Apache-2.0

"""How good a model is in subgroups of the held-out patients, each of them large enough to be told of.

Two sums. The first counts the held-out patients of every cell. The second asks for the evaluation of those
cells only that may be told: a cell of fewer than `minimum` patients may not, nor one whose patients are at
fewer than `least_sites` sites, since its figures would be those of these sites; and not those either by whose
difference from the whole it would show. The coordinator sees no figure of a smaller cell but its size, and at
how many sites it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument
from sordino.federated.site import Site
from sordino.models.model import Vector
from sordino.protocol.policy import Block, Question

OTHER = "other"
"""The cell of patients who are in none of the named ones."""


@dataclass(frozen=True)
class Subgroups:
    """The declared cells; every patient is in one cell of each partition.

    partitions   by name of what parts them, the names of its cells
    minimum      the fewest patients of all sites together that a cell may be told with
    least_sites  the fewest sites that they may be at
    """

    partitions: tuple[tuple[str, tuple[str, ...]], ...]
    minimum: int = 10
    least_sites: int = 3

    @property
    def cells(self) -> int:
        """How many cells there are, over all partitions."""
        return sum(len(cells) for _, cells in self.partitions)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The partition and the cell, in the order of a site's `test_groups`."""
        return tuple((name, cell) for name, cells in self.partitions for cell in cells)

    def told(self, sizes: Vector, holders: Vector) -> Vector:
        """1.0 for each cell that may be told with these patients, at so many sites, else 0.0."""
        parts, start = [], 0
        for _, cells in self.partitions:
            own = slice(start, start + len(cells))
            parts.append(self._told(sizes[own], holders[own]))
            start += len(cells)
        return np.concatenate(parts)

    def _told(self, sizes: Vector, holders: Vector) -> Vector:
        """Withholds small cells, and the next larger ones until what is withheld together is large enough.

        It is at no fewer sites than its cell at the most sites is.
        """
        told = (sizes >= self.minimum) & (holders >= self.least_sites)
        for cell in np.argsort(sizes, kind="stable"):
            there = ~told & (sizes > 0.0)
            few = sizes[there].sum() < self.minimum or holders[there].max(initial=0.0) < self.least_sites
            if not (there.any() and few):
                break
            told[cell] = False
        return told.astype(np.float64)


@dataclass(frozen=True)
class SubgroupSizes:
    """First sum: held-out patients in each cell, and the sites that have any.

    State: `subgroup_sizes` and `subgroup_told`, (cells,).
    """

    subgroups: Subgroups
    max_patients: int

    kind = "subgroup_sizes"
    reads: tuple[str, ...] = ()

    def question(self) -> Question:
        """Two lanes a cell; these are totals, so the weight is 1."""
        cells = self.subgroups.cells
        sizes = Block("sizes", cells, float(self.max_patients), 0)
        return Question(kind=self.kind, blocks=(sizes, Block("holders", cells, 1.0, 0)))

    def contribute(self, site: Site, known: Arrays) -> Contribution:  # noqa: ARG002 (nothing is known yet)
        """The site's own sizes."""
        sizes = np.zeros(self.subgroups.cells)
        if site.test_groups is not None:
            sizes += site.test_groups.sum(axis=0)
        return Contribution({"sizes": sizes, "holders": (sizes > 0.0).astype(np.float64)})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Settles which cells may be told."""
        sizes = total.sums["sizes"]
        told = self.subgroups.told(sizes, total.sums["holders"])
        return {**state, "subgroup_sizes": sizes, "subgroup_told": told}


@dataclass(frozen=True)
class SubgroupEvaluation:
    """Second sum: an evaluation for each cell that may be told, side by side in the lanes of one vector.

    evaluation   one whose contributions are totals, of weight 1

    State: for each cell that is told what the evaluation sets, its name led by the number of the cell and a
    dot (`cell_state`).
    """

    subgroups: Subgroups
    evaluation: Stage[Site]

    kind = "subgroup_evaluation"

    def __post_init__(self) -> None:
        if self.evaluation.question().max_weight != 1:
            raise InvalidArgument("subgroups need an evaluation by totals, of weight 1")

    @property
    def reads(self) -> tuple[str, ...]:
        """What the evaluation reads, and who may be told."""
        return (*self.evaluation.reads, "subgroup_told")

    def question(self) -> Question:
        """The evaluation's blocks, each as many times as there are cells."""
        blocks = self.evaluation.question().blocks
        wider = (
            Block(block.name, block.length * self.subgroups.cells, block.clip, block.fraction_bits)
            for block in blocks
        )
        return Question(kind=self.kind, blocks=tuple(wider))

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The evaluation of the site's held-out patients in each cell, zeros for a cell that is not told."""
        lengths = {block.name: block.length for block in self.evaluation.question().blocks}
        values: dict[str, list[Vector]] = {name: [] for name in lengths}
        for cell in range(self.subgroups.cells):
            given: Mapping[str, NDArray[Any]] = {}
            if known["subgroup_told"][cell] and site.test_groups is not None:
                members = _only(site, site.test_groups[:, cell])
                given = self.evaluation.contribute(members, known).values
            for name, length in lengths.items():
                values[name].append(np.asarray(given.get(name, np.zeros(length)), np.float64))
        return Contribution({name: np.concatenate(vectors) for name, vectors in values.items()})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Advances the evaluation for each cell by itself."""
        parts = {name: np.split(vector, self.subgroups.cells) for name, vector in total.sums.items()}
        found = dict(state)
        for cell in np.flatnonzero(state["subgroup_told"]):
            own = replace(total, sums={name: split[cell] for name, split in parts.items()})
            after = self.evaluation.advance(state, own)
            found |= {f"{cell}.{name}": after[name] for name in after if after[name] is not state.get(name)}
        return found


def cell_state(state: Arrays, cell: int) -> Arrays:
    """What the evaluation of one cell has set; empty for a cell that is not told."""
    lead = f"{cell}."
    return {name.removeprefix(lead): vector for name, vector in state.items() if name.startswith(lead)}


def membership(labels: Sequence[str | None], cells: Sequence[str]) -> NDArray[np.bool_]:
    """Which of `cells`, the last of which is `OTHER`, each patient is in: bool of shape (patients, cells)."""
    places = {cell: place for place, cell in enumerate(cells)}
    chosen = np.zeros((len(labels), len(cells)), dtype=np.bool_)
    for patient, label in enumerate(labels):
        chosen[patient, places.get(label or OTHER, len(cells) - 1)] = True
    return chosen


def _only(site: Site, members: NDArray[np.bool_]) -> Site:
    """The site with these of its held-out patients only."""
    if site.test_features is None or site.test_target is None:
        return site
    return replace(site, test_features=site.test_features[members], test_target=site.test_target[members])
