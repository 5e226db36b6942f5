# SPDX-License-Identifier: Apache-2.0

"""Linear regression of a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec import Struct

from sordino.course.arrays import Arrays
from sordino.federated.study.families.stored import StoredModel
from sordino.federated.study.keys import Penalty, Switch
from sordino.federated.study.outcomes.number import Number
from sordino.models.linear import Linear
from sordino.models.model import Matrix

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


class LinearFile(StoredModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="linear"):
    """A trained linear model.

    coefficients  one for each feature, for standardised features if there is a scaler, in the target's unit
    """

    l2: float
    l1: float = 0.0
    target: str
    coefficients: list[float]
    intercept: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The expected number."""
        return (f"expected_{self.target}",)

    @property
    def lengths(self) -> Mapping[str, int]:
        """The coefficients."""
        return {"coefficients": len(self.coefficients)}

    def predicted(self, features: Matrix) -> Matrix:
        """The expected number, in the target's unit."""
        expected: Matrix = features @ np.array(self.coefficients)[:, np.newaxis] + self.intercept
        return expected


class LinearFamily(Struct, frozen=True, kw_only=True, tag_field="type", tag="linear"):
    """Table [model] with type = "linear"."""

    l2: Penalty = 0.01
    l1: Penalty = 0.0
    standardise: Switch = True

    outcome: ClassVar[Number] = Number()
    takes_noise: ClassVar[bool] = False
    has_auto_rate: ClassVar[bool] = True

    def model(self, columns: int) -> Linear:
        """See `Family`."""
        return Linear(columns, self.l2, self.l1)

    def stored(self, state: Arrays, data: Data, common: Mapping[str, Any]) -> LinearFile:
        """See `Family`; training was in standard deviations of the target."""
        unit, mean = float(state["target_scale"][0]), float(state["target_mean"][0])
        parameters = unit * state["parameters"]
        return LinearFile(
            **common,
            l2=self.l2,
            l1=self.l1,
            target=data.target,
            coefficients=parameters[:-1].tolist(),
            intercept=float(parameters[-1]) + mean,
        )
