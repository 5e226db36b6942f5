# SPDX-License-Identifier: Apache-2.0

"""What models of one linear form z = X coef + intercept share: layout, penalties, rates, the optimum."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector


@dataclass(frozen=True)
class LinearForm:
    """Minimises mean(loss(z, y)) + (l2 / 2) ||coef||^2 + l1 ||coef||_1; the intercept carries no penalty.

    columns  number of features; `l2` and `l1` >= 0. Raises `InvalidArgument` for anything else.

    Parameters: the coefficients in the order of the features, then the intercept.
    """

    columns: int
    l2: float = 0.01
    l1: float = 0.0

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise InvalidArgument(f"a linear form needs at least one feature, got {self.columns}")
        for name, value in [("l2", self.l2), ("l1", self.l1)]:
            if not 0.0 <= value < float("inf"):
                raise InvalidArgument(f"{name} must be a number from 0 on, got {value}")

    @property
    @abstractmethod
    def steepest(self) -> float:
        """Bound on the second derivative of the loss by z."""

    @property
    def size(self) -> int:
        """Coefficients and intercept."""
        return self.columns + 1

    def initial(self) -> Vector:
        """All zero."""
        return np.zeros(self.size)

    @abstractmethod
    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean loss, without the penalties."""

    @abstractmethod
    def residual(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Each patient's derivative of the loss by z, shape (patients,)."""

    def gradient(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Gradient of the mean loss plus the L2 penalty, shape (columns + 1,)."""
        residual = self.residual(parameters, features, target) / len(target)
        gradient = np.append(residual @ features, residual.sum())
        gradient[:-1] += self.l2 * parameters[:-1]
        return gradient

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Each patient's gradient of the loss, residual [x, 1], shape (patients, columns + 1)."""
        residual = self.residual(parameters, features, target)
        return np.column_stack([residual[:, np.newaxis] * features, residual])

    def penalty_gradient(self, parameters: Vector) -> Vector:
        """l2 times the coefficients, zero for the intercept."""
        return np.append(self.l2 * parameters[:-1], 0.0)

    def proximal(self, parameters: Vector, rates: Vector) -> Vector:
        """Soft threshold: every coefficient moves towards zero by l1 times its rate, and stops there."""
        if not self.l1:
            return parameters
        coefficients, threshold = parameters[:-1], self.l1 * rates[:-1]
        shrunk = np.sign(coefficients) * np.maximum(np.abs(coefficients) - threshold, 0.0)
        return np.append(shrunk, parameters[-1])

    def objective(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Mean loss plus the penalties: what training minimises."""
        coefficients = parameters[:-1]
        penalty: float = 0.5 * self.l2 * float(coefficients @ coefficients)
        penalty += self.l1 * float(np.abs(coefficients).sum())
        return self.loss(parameters, features, target) + penalty

    def decision(self, parameters: Vector, features: Matrix) -> Vector:
        """z, shape (patients,)."""
        z: Vector = features @ parameters[:-1] + parameters[-1]
        return z

    def curvature(self, features: Matrix) -> float:
        """Bounds the mean loss's Hessian for the coefficients: steepest * lambda_max(X^T X) / patients."""
        patients, columns = features.shape
        gram = features.T @ features if columns <= patients else features @ features.T
        largest = float(np.linalg.eigvalsh(gram)[-1])
        return self.steepest * max(0.0, largest) / len(features)

    def rates(self, learning_rate: float) -> Vector:
        """`learning_rate` for each coefficient, 1 / (4 steepest) for the intercept.

        The intercept's own second derivative is at most `steepest` whatever the features are. A
        block-diagonal bound gives lambda_max <= learning_rate * curvature + 1/4 < 2 at learning_rate <=
        1 / curvature, so descent stays stable. At the coefficients' rate the intercept would lag for
        thousands of steps where features are large, and overshoot without end where they are small.
        """
        rates = np.full(self.size, learning_rate)
        rates[-1] = 0.25 / self.steepest
        return rates

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """The optimum over all these rows (L-BFGS-B): what federated training is compared with.

        With l1 the coefficients are the difference of two vectors that are not below zero, whose sum is
        penalised: the objective is smooth again, and a coefficient that the penalty holds at zero is zero.
        """
        from scipy.optimize import minimize

        # Variables in units of the square roots of the rates have curvatures of about one.
        units = np.sqrt(self.rates(1.0 / (self.curvature(features) + self.l2 + 1e-12)))
        split = self.columns if self.l1 else 0
        slope = np.append(np.full(self.columns, self.l1), 0.0) * units
        bounds = [(0.0 if self.l1 else None, None)] * self.size + [(0.0, None)] * split
        bounds[self.columns] = (None, None)

        def joined(scaled: Vector) -> Vector:
            parameters = scaled[: self.size].copy()
            parameters[:split] -= scaled[self.size :]
            return parameters * units

        def objective(scaled: Vector) -> float:
            parameters = joined(scaled)
            penalty = 0.5 * self.l2 * float(parameters[:-1] @ parameters[:-1])
            penalty += float(slope @ scaled[: self.size] + slope[:split] @ scaled[self.size :])
            return self.loss(parameters, features, target) + penalty

        def gradient(scaled: Vector) -> Vector:
            smooth = self.gradient(joined(scaled), features, target) * units
            return np.concatenate([smooth + slope, slope[:split] - smooth[:split]])

        found = minimize(
            objective,
            np.zeros(self.size + split),
            jac=gradient,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 10_000, "maxfun": 100_000, "gtol": 1e-9, "ftol": 0.0},
        )
        return joined(found.x)
