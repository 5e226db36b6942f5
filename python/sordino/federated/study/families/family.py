# SPDX-License-Identifier: Apache-2.0

"""The port between a study file and a kind of model: table [model], which is the family itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sordino.course.arrays import Arrays
from sordino.federated.study.families.stored import StoredModel
from sordino.federated.study.outcomes.outcome import Outcome
from sordino.models.model import Model

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


class Family(Protocol):
    """Table [model] for one `type`, and what follows from it.

    l2           penalty (l2 / 2) ||coefficients||^2 on the mean loss
    standardise  whether features are brought to mean 0 and standard deviation 1 first
    """

    @property
    def l2(self) -> float:
        """See above."""

    @property
    def standardise(self) -> bool:
        """See above."""

    @property
    def outcome(self) -> Outcome:
        """What this kind of model predicts."""

    @property
    def takes_noise(self) -> bool:
        """Whether it may be trained and tested with [privacy]."""

    @property
    def has_auto_rate(self) -> bool:
        """Whether a safe learning rate follows from a secure sum."""

    def model(self, columns: int) -> Model:
        """The model over so many features."""

    def stored(self, state: Arrays, data: Data, common: Mapping[str, Any]) -> StoredModel:
        """What model.json holds: `common`, the fields of `StoredModel`, and the family's own."""
