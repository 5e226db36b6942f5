# SPDX-License-Identifier: Apache-2.0

"""Cox's proportional hazards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct

from sordino.course.arrays import Arrays
from sordino.federated.study.families.stored import StoredModel
from sordino.federated.study.keys import Penalty, Switch
from sordino.federated.study.outcomes.survival import Survival
from sordino.federated.survival import NewtonSteps
from sordino.models.cox import Cox
from sordino.models.model import Matrix
from sordino.survival.grid import INTERVALS, LEAST_PATIENTS
from sordino.survival.risk_sets import RiskSets

if TYPE_CHECKING:
    from sordino.federated.study.file import Data

Grid = Annotated[
    Annotated[int, Meta(ge=1, le=10_000)] | list[float] | Literal["exact"],
    Meta(description='a number of intervals, a list of rising times above 0, or "exact"'),
]


class CoxFile(StoredModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cox"):
    """A trained Cox model.

    coefficients     log hazard ratios, one for each feature, for standardised features if there is a scaler
    standard_errors  of them; None where training was not by risk sets
    cuts, hazard     times, and the cumulative hazard there of a patient at the mean; None likewise
    """

    time: str
    event: str
    l2: float
    coefficients: list[float]
    standard_errors: list[float] | None = None
    cuts: list[float] | None = None
    hazard: list[float] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The log of the hazard relative to a patient at the mean, and the chance to survive each cut."""
        return ("log_hazard", *(f"survival_{cut:g}" for cut in self.cuts or ()))

    @property
    def lengths(self) -> Mapping[str, int]:
        """The coefficients, and their errors."""
        errors = {} if self.standard_errors is None else {"standard_errors": len(self.standard_errors)}
        return {"coefficients": len(self.coefficients), **errors}

    def predicted(self, features: Matrix) -> Matrix:
        """See `columns`."""
        score: Matrix = features @ np.array(self.coefficients)[:, np.newaxis]
        if self.hazard is None:
            return score
        return np.column_stack([score, np.exp(-np.exp(score) * np.array(self.hazard))])


class CoxFamily(Struct, frozen=True, kw_only=True, tag_field="type", tag="cox"):
    """Table [model] with type = "cox"."""

    l2: Penalty = 0.01
    grid: Grid = INTERVALS
    least_patients: Annotated[int, Meta(ge=2, le=1_000_000, description="a whole number from 2 on")] = (
        LEAST_PATIENTS
    )
    discloses_patients: Switch = False
    standardise: Switch = True

    takes_noise: ClassVar[bool] = False
    has_auto_rate: ClassVar[bool] = True

    @property
    def outcome(self) -> Survival:
        """See `Family`."""
        grid = None if isinstance(self.grid, str) else self.grid
        least = 1 if self.discloses_patients else self.least_patients
        return Survival(tuple(grid) if isinstance(grid, list) else grid, least)

    def model(self, columns: int) -> Cox:
        """See `Family`."""
        return Cox(columns, self.l2)

    def newton(
        self, outcome: Survival, features: tuple[str, ...], *, sites: int, patients: int
    ) -> NewtonSteps:
        """The exact training, over the grid of `outcome`; `patients` bounds those of a site."""
        sets = RiskSets(features, outcome.most, sites, patients, outcome.least, self.l2)
        return NewtonSteps(sets)

    def stored(self, state: Arrays, data: Data, common: Mapping[str, Any]) -> CoxFile:
        """See `Family`."""
        found: dict[str, Any] = {}
        if "covariance" in state:
            size = len(state["parameters"])
            covariance = state["covariance"].reshape(size, size)
            zero = np.where(state["hazard"] > 0.0, state["hazard"], 1.0)
            found = {
                "standard_errors": np.sqrt(np.diag(covariance)).tolist(),
                "cuts": state["cuts"].tolist(),
                "hazard": np.cumsum(state["events"] / zero).tolist(),
            }
        return CoxFile(
            **common,
            time=data.time,
            event=data.event,
            l2=self.l2,
            coefficients=state["parameters"].tolist(),
            **found,
        )
