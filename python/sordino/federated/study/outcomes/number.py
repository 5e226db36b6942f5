# SPDX-License-Identifier: Apache-2.0

"""A number: one column, brought to mean 0 and standard deviation 1 for training by secure sums."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.federated.regression import RegressionEvaluation
from sordino.federated.site import Site
from sordino.federated.study.outcomes.outcome import Metrics, Unscaled
from sordino.federated.study.table import Table
from sordino.federated.target_scaling import scaled_target, target_scaling
from sordino.models.model import Matrix, Model, Vector

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


class Number(Unscaled):
    """Column `data.target` holds a number for every patient."""

    headline, title = "r2", "R2"
    scales: ClassVar[bool] = True

    def keys(self, data: Data) -> Mapping[str, str]:
        """See `Outcome`."""
        return {"data.target": data.target} if data.target else {}

    def faults(self, data: Data) -> list[str]:
        """See `Outcome`."""
        faults = [] if data.target else ["the key 'data.target' is missing: a column name"]
        if data.classes != (0, 1):
            faults.append("'data.classes' goes with a model of classes, here the target is a number")
        return faults

    def read(self, data: Data, table: Table, faults: list[str]) -> Vector:
        """See `Outcome`."""
        return table.numbers([data.target], faults)[:, 0]

    def overall_faults(self, data: Data, target: Vector) -> list[str]:
        """See `Outcome`."""
        if np.ptp(target) > 0.0:
            return []
        return [f"the target {data.target!r} is {target[0]:g} for every patient"]

    def doubt(self, target: Vector) -> str | None:
        """See `Outcome`."""
        return None if np.ptp(target) > 0.0 else "has one value of the target only"

    def strata(self, target: Vector) -> Vector:
        """Everybody is in one."""
        return np.zeros(len(target))

    def coding(self, data: Data) -> tuple[object, ...]:
        """The column, and that it holds numbers."""
        return data.target, "float64"

    def scaling(self, *, sites: int, max_patients: int) -> tuple[Stage[Site], ...]:
        """The three sums of standardisation, for the target."""
        return target_scaling(sites=sites, max_patients=max_patients)

    def trained_on(self, target: Vector, known: Arrays) -> Vector:
        """In standard deviations from the mean."""
        return scaled_target(target, known)

    def own_scaler(self, target: Vector) -> Arrays:
        """Mean and standard deviation of these rows."""
        return {"target_mean": np.array([target.mean()]), "target_scale": np.array([target.std() or 1.0])}

    def evaluation(self, model: Model, *, bins: int, sites: int, max_patients: int) -> Stage[Site]:
        """Sums of squares and of absolute errors."""
        del bins
        return RegressionEvaluation(model, sites=sites, max_patients=max_patients)

    def tested(self, state: Arrays) -> Metrics:
        """R2, and the root mean squared and mean absolute errors in the target's own unit."""
        patients, unit = float(state["tested"][0]), float(state["target_scale"][0])
        if patients < 1.0:
            nothing = float("nan")
            return {"patients": 0, "r2": nothing, "rmse": nothing, "mae": nothing}
        error = float(state["squared_error"][0])
        spread = float(state["target_squares"][0]) - float(state["target_sum"][0]) ** 2 / patients
        return {
            "patients": round(patients),
            "r2": 1.0 - error / spread if spread > 0.0 else float("nan"),
            "rmse": unit * sqrt(max(error, 0.0) / patients),
            "mae": unit * float(state["absolute_error"][0]) / patients,
        }

    def score(self, model: Model, parameters: Vector, features: Matrix, target: Vector) -> float:
        """R2."""
        spread = float(((target - target.mean()) ** 2).sum())
        error = float(((target - model.decision(parameters, features)) ** 2).sum())
        return 1.0 - error / spread if spread > 0.0 else float("nan")
