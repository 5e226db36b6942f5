# SPDX-License-Identifier: Apache-2.0

"""Tables [[subgroups]]: by which columns held-out patients are parted, and into which cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from sordino.federated.study.keys import Column, Label
from sordino.federated.study.outcomes.classes import label_of
from sordino.federated.study.table import Table
from sordino.federated.subgroups import OTHER, Subgroups, membership

if TYPE_CHECKING:
    from sordino.federated.study.file import StudyFile


class SubgroupTable(Struct, frozen=True, kw_only=True):
    """One [[subgroups]]: cells by the labels of a column, or by ranges of its numbers."""

    column: Column
    levels: Annotated[list[Label], Meta(description="a list of labels")] | None = None
    edges: Annotated[list[float], Meta(description="a list of rising numbers")] | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells; the last is for whoever is in none of the others."""
        if self.edges is None:
            return (*(str(level) for level in self.levels or ()), OTHER)
        bounds = [f"{edge:g}" for edge in self.edges]
        between = [f"{low} to below {high}" for low, high in pairwise(bounds)]
        return (f"below {bounds[0]}", *between, f"{bounds[-1]} and above", OTHER)

    def cell_of(self, cell: str) -> str | None:
        """The name of the cell that a patient with this entry is in; None for the last."""
        value = label_of(cell)
        if self.edges is None:
            known = {label_of(str(level)): str(level) for level in self.levels or ()}
            return known.get(value)
        if isinstance(value, str) or not isfinite(value):
            return None
        return self.cells[int(np.searchsorted(self.edges, value, side="right"))]


def subgroups_of(study: StudyFile) -> Subgroups | None:
    """All declared cells, or None without any."""
    if study.test is None or not study.subgroups:
        return None
    return Subgroups(
        tuple((table.column, table.cells) for table in study.subgroups),
        minimum=study.test.min_subgroup,
        least_sites=study.policy.min_cohort or 3,
    )


def memberships(tables: Sequence[SubgroupTable], rows: Table) -> NDArray[np.bool_] | None:
    """The cells that each patient is in, bool of shape (patients, cells)."""
    if not tables:
        return None
    return np.concatenate(
        [
            membership([table.cell_of(cell) for cell in rows.column(table.column)], table.cells)
            for table in tables
        ],
        axis=1,
    )


def subgroup_faults(study: StudyFile, special: Mapping[str, str]) -> list[str]:
    """What is wrong with [[subgroups]]; `special` are the columns with a meaning of their own, by key."""
    faults = []
    if study.subgroups and study.test is None:
        faults.append("'subgroups' needs [test]: it parts the held-out patients")
    seen: set[str] = set()
    for number, table in enumerate(study.subgroups, start=1):
        at = f"subgroups[{number}]"
        if table.column in seen:
            faults.append(f"'{at}.column' is {table.column!r}, which is parted already")
        seen.add(table.column)
        faults += [
            f"'{at}.column' is {table.column!r}, which is the column of {key!r}"
            for key, column in special.items()
            if column == table.column and key != "data.site_column"
        ]
        if (table.levels is None) == (table.edges is None):
            faults.append(f"'{at}' needs one of 'levels' and 'edges'")
        elif table.levels is not None:
            labels = [label_of(str(level)) for level in table.levels]
            if not labels or len(set(labels)) < len(labels) or OTHER in labels:
                faults.append(f"'{at}.levels' must name labels, each once and none {OTHER!r}")
        elif table.edges is not None and (
            not table.edges
            or not all(isfinite(edge) for edge in table.edges)
            or any(low >= high for low, high in pairwise(table.edges))
        ):
            faults.append(f"'{at}.edges' must hold rising numbers, got {table.edges}")
    return faults
