# SPDX-License-Identifier: Apache-2.0

"""The same for subgroups with noise: one private sum, so that no small cell has to be hidden beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Part
from sordino.course.arrays import Arrays
from sordino.federated.private.evaluation import PrivateEvaluation, count_deviation
from sordino.federated.site import Site
from sordino.federated.subgroups import Subgroups
from sordino.protocol.policy import Question


@dataclass(frozen=True)
class PrivateSubgroups:
    """Every held-out patient counts once in each partition, by cell, class and predicted probability.

    State: as `SubgroupEvaluation`, for every cell whose noised size is at least the minimum.
    """

    subgroups: Subgroups
    evaluation: PrivateEvaluation

    kind = "private_subgroups"
    reads = PrivateEvaluation.reads

    @property
    def parts(self) -> tuple[Part, ...]:
        """One lane is 1 in each of the partitions."""
        length = self.subgroups.cells * 2 * self.evaluation.bins
        return (Part("counts", length, sqrt(len(self.subgroups.partitions))),)

    def question(self) -> Question:
        """The lanes of `PrivateEvaluation`, cell after cell."""
        return self.evaluation.answering.question(self.kind, self.parts)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """A row for each held-out patient."""
        rows = self.evaluation.rows(site, known)
        groups = np.zeros((0, self.subgroups.cells))
        if site.test_groups is not None:
            groups = site.test_groups.astype(np.float64)
        placed = (groups[:, :, np.newaxis] * rows[:, np.newaxis, :]).reshape(len(rows), -1)
        return self.evaluation.answering.answer(self.kind, self.parts, {"counts": placed})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps the histograms of the cells that are large enough, as far as the noise lets that be seen."""
        counts = np.split(total.sums["counts"], self.subgroups.cells)
        deviation = count_deviation(self.evaluation.answering, self, total)
        sizes = np.array([part.sum() for part in counts])
        # Noise stands for the rule of small cells: a difference has it too.
        told = (sizes >= self.subgroups.minimum).astype(np.float64)
        found = {**state, "subgroup_sizes": sizes, "subgroup_told": told}
        for cell in np.flatnonzero(found["subgroup_told"]):
            positives, negatives = np.split(counts[cell], 2)
            found |= {f"{cell}.positives": positives, f"{cell}.negatives": negatives}
            found[f"{cell}.counts_deviation"] = np.array([deviation])
        return found
