# SPDX-License-Identifier: Apache-2.0

"""One site's rows in memory: features and target, training and held-out patients apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sordino.course.memory import Memory, Transient
from sordino.models.model import Matrix, Vector


@dataclass(frozen=True, repr=False)
class Origins:
    """What ComBat has to know of patients: the batch of each, and covariates, (patients, their columns)."""

    batches: NDArray[np.str_]
    covariates: Matrix

    def take(self, chosen: NDArray[np.bool_]) -> Origins:
        """Those of some of the patients."""
        return Origins(self.batches[chosen], self.covariates[chosen])


@dataclass(frozen=True, repr=False)
class Site:
    """What one site trains on and tests on.

    features, target            float64 of shapes (patients, columns) and (patients,), target in {0, 1}
    test_features, test_target  the same for the held-out patients; None if there are none
    validation_features, validation_target  those of the patients by whom training is stopped early
    columns                     names of the features, for messages
    modalities                  lane groups that it has besides the one of everybody: blocks of features that
                                not every site has. Features that it has not, and missing values, are NaN
    test_groups                 bool of shape (held-out patients, cells): the subgroups that each is in
    memory                      what the site itself remembers from round to round
    origins                     where the rows are to be harmonised, by the names of the features above
    effects                     what the site remembers of its own batches
    """

    name: str
    features: Matrix
    target: Vector
    columns: tuple[str, ...]
    test_features: Matrix | None = None
    test_target: Vector | None = None
    modalities: frozenset[str] = frozenset()
    test_groups: NDArray[np.bool_] | None = None
    validation_features: Matrix | None = None
    validation_target: Vector | None = None
    memory: Memory = field(default_factory=Transient)
    origins: Mapping[str, Origins] = field(default_factory=dict)
    effects: Memory = field(default_factory=Transient)

    def __repr__(self) -> str:
        return f"Site({self.name!r})"
