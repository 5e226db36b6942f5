# SPDX-License-Identifier: Apache-2.0

"""Logistic regression for two classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec import Struct

from sordino.course.arrays import Arrays
from sordino.federated.study.families.stored import StoredModel
from sordino.federated.study.keys import Penalty, Switch
from sordino.federated.study.outcomes.classes import TwoClasses
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


class LogisticFile(StoredModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="logistic"):
    """A trained logistic model.

    coefficients  one for each feature, for standardised features if there is a scaler
    classes       the labels of probability 0 and of probability 1
    """

    l2: float
    l1: float = 0.0
    target: str
    classes: tuple[str, str]
    coefficients: list[float]
    intercept: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The probability of the second class."""
        return (f"probability_{self.classes[1]}",)

    @property
    def lengths(self) -> Mapping[str, int]:
        """The coefficients."""
        return {"coefficients": len(self.coefficients)}

    def predicted(self, features: Matrix) -> Matrix:
        """The probability of `classes[1]`."""
        parameters = np.array([*self.coefficients, self.intercept])
        return Logistic(len(self.features)).probability(parameters, features)[:, np.newaxis]


class LogisticFamily(Struct, frozen=True, kw_only=True, tag_field="type", tag="logistic"):
    """Table [model] with type = "logistic"."""

    l2: Penalty = 0.01
    l1: Penalty = 0.0
    standardise: Switch = True

    outcome: ClassVar[TwoClasses] = TwoClasses()
    takes_noise: ClassVar[bool] = True
    has_auto_rate: ClassVar[bool] = True

    def model(self, columns: int) -> Logistic:
        """See `Family`."""
        return Logistic(columns, self.l2, self.l1)

    def stored(self, state: Arrays, data: Data, common: Mapping[str, Any]) -> LogisticFile:
        """See `Family`."""
        parameters = state["parameters"]
        return LogisticFile(
            **common,
            l2=self.l2,
            l1=self.l1,
            target=data.target,
            classes=(str(data.classes[0]), str(data.classes[1])),
            coefficients=parameters[:-1].tolist(),
            intercept=float(parameters[-1]),
        )
