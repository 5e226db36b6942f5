# SPDX-License-Identifier: Apache-2.0

"""Logistic regression for two classes, with L2 and L1 penalties, on NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sordino.models.linear_form import LinearForm
from sordino.models.model import Matrix, Vector


@dataclass(frozen=True)
class Logistic(LinearForm):
    """The loss is log(1 + exp(z)) - y z, y in {0, 1}; z is the log odds of class 1.

    In scikit-learn's terms C = 1 / (patients * (l1 + l2)) and l1_ratio = l1 / (l1 + l2).
    """

    classes: ClassVar[int] = 2
    steepest: ClassVar[float] = 0.25  # p (1 - p)

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean log loss in nats, without the penalties."""
        z = self.decision(parameters, features)
        return float(np.mean(np.logaddexp(0.0, z) - target * z))

    def residual(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Probability minus target, shape (patients,)."""
        return self.probability(parameters, features) - target

    def probability(self, parameters: Vector, features: Matrix) -> Vector:
        """1 / (1 + exp(-z)), shape (patients,); written by tanh, which does not overflow."""
        probability: Vector = 0.5 * (1.0 + np.tanh(0.5 * self.decision(parameters, features)))
        return probability
