# SPDX-License-Identifier: Apache-2.0

"""Linear regression with L2 and L1 penalties (ridge, lasso, elastic net), on NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sordino.models.linear_form import LinearForm
from sordino.models.model import Matrix, Vector


@dataclass(frozen=True)
class Linear(LinearForm):
    """The loss is (z - y)^2 / 2; z is the expected number.

    In scikit-learn's terms Ridge's alpha = patients * l2, ElasticNet's alpha = l1 + l2 and
    l1_ratio = l1 / (l1 + l2). A round changes a parameter by no more than update_clip, so a target far from
    zero, or of large spread, is brought to units of its spread first.
    """

    steepest: ClassVar[float] = 1.0

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Half the mean squared error, without the penalties."""
        residual = self.residual(parameters, features, target)
        return 0.5 * float(np.mean(residual * residual))

    def residual(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """The error z - y, shape (patients,)."""
        return self.decision(parameters, features) - target
