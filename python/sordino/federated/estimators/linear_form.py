# SPDX-License-Identifier: Apache-2.0

"""What the estimators of one linear form share: their settings, and coefficients for features as given."""

from __future__ import annotations

from typing import Literal

from sordino.course.simulated import Summing
from sordino.federated.estimators.estimator import FederatedEstimator
from sordino.models.model import Vector
from sordino.protocol.policy import AcrossRounds


class LinearFormEstimator(FederatedEstimator):
    """A linear form of standardised features.

    l2  penalty (l2 / 2) ||coef||^2 on the mean loss
    l1  penalty l1 ||coef||_1, which the coordinator applies after every round
    The rest is as in `FederatedEstimator`.
    """

    def __init__(
        self,
        *,
        l2: float = 0.01,
        l1: float = 0.0,
        rounds: int = 60,
        local_steps: int = 1,
        batch_size: int | None = None,
        learning_rate: float | Literal["auto"] = "auto",
        momentum: float = 0.8,
        standardise: bool = True,
        aggregator: Summing = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
    ) -> None:
        self.l2 = l2
        self.l1 = l1
        self.rounds = rounds
        self.local_steps = local_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.standardise = standardise
        self.aggregator = aggregator
        self.across_rounds = across_rounds
        self.max_patients = max_patients

    def _unscaled(self, coefficients: Vector) -> tuple[Vector, float]:
        """Coefficients for the features as they were given, and what the intercept changes by."""
        if self.mean_ is None or self.scale_ is None:
            return coefficients, 0.0
        unscaled: Vector = coefficients / self.scale_
        return unscaled, -float(unscaled @ self.mean_)
