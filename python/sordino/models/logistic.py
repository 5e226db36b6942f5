"""L2-regularised logistic regression on NumPy, its parameters in one vector: coefficients, then intercept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector


@dataclass(frozen=True)
class Logistic:
    """Minimises mean(log(1 + exp(z)) - y z) + (l2 / 2) ||coef||^2 with z = X coef + intercept, y in {0, 1}.

    The intercept carries no penalty. In scikit-learn's terms C = 1 / (patients * l2).

    columns  number of features; `l2` >= 0. Raises `InvalidArgument` for anything else.
    """

    columns: int
    l2: float = 0.01

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise InvalidArgument(f"a logistic model needs at least one feature, got {self.columns}")
        if not 0.0 <= self.l2 < float("inf"):
            raise InvalidArgument(f"l2 must be a number from 0 on, got {self.l2}")

    @property
    def size(self) -> int:
        """Coefficients and intercept."""
        return self.columns + 1

    def initial(self) -> Vector:
        """All zero: every patient has probability one half."""
        return np.zeros(self.size)

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean log loss in nats, without the penalty."""
        z = self.decision(parameters, features)
        return float(np.mean(np.logaddexp(0.0, z) - target * z))

    def gradient(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Gradient of the mean log loss plus the penalty, shape (columns + 1,)."""
        residual = (self.probability(parameters, features) - target) / len(target)
        gradient = np.append(residual @ features, residual.sum())
        gradient[:-1] += self.l2 * parameters[:-1]
        return gradient

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Each patient's gradient of the log loss, (p - y) [x, 1], shape (patients, columns + 1)."""
        residual = self.probability(parameters, features) - target
        return np.column_stack([residual[:, np.newaxis] * features, residual])

    def penalty_gradient(self, parameters: Vector) -> Vector:
        """l2 times the coefficients, zero for the intercept."""
        return np.append(self.l2 * parameters[:-1], 0.0)

    def objective(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Mean log loss plus the penalty: what training minimises."""
        penalty: float = 0.5 * self.l2 * float(parameters[:-1] @ parameters[:-1])
        return self.loss(parameters, features, target) + penalty

    def decision(self, parameters: Vector, features: Matrix) -> Vector:
        """The log odds z of the positive class, shape (patients,)."""
        z: Vector = features @ parameters[:-1] + parameters[-1]
        return z

    def probability(self, parameters: Vector, features: Matrix) -> Vector:
        """1 / (1 + exp(-z)), shape (patients,); written by tanh, which does not overflow."""
        probability: Vector = 0.5 * (1.0 + np.tanh(0.5 * self.decision(parameters, features)))
        return probability

    def curvature(self, features: Matrix) -> float:
        """lambda_max(X^T X) / (4 patients): p (1 - p) <= 1/4 bounds the Hessian for the coefficients."""
        patients, columns = features.shape
        gram = features.T @ features if columns <= patients else features @ features.T
        largest = float(np.linalg.eigvalsh(gram)[-1])
        return 0.25 * max(0.0, largest) / len(features)

    def rates(self, learning_rate: float) -> Vector:
        """`learning_rate` for each coefficient, 1 for the intercept.

        The intercept's own second derivative is at most 1/4 whatever the features are. A block-diagonal
        bound gives lambda_max <= learning_rate * curvature + 1/4 < 2 at learning_rate <= 1 / curvature, so
        descent stays stable. At the coefficients' rate the intercept would lag for thousands of steps where
        features are large, and overshoot without end where they are small.
        """
        rates = np.full(self.size, learning_rate)
        rates[-1] = 1.0
        return rates

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """The optimum over all these rows (L-BFGS): what federated training is compared with."""
        from scipy.optimize import minimize

        # Variables in units of the square roots of the rates have curvatures of about one.
        units = np.sqrt(self.rates(1.0 / (self.curvature(features) + self.l2 + 1e-12)))
        found = minimize(
            lambda scaled: self.objective(scaled * units, features, target),
            np.zeros(self.size),
            jac=lambda scaled: self.gradient(scaled * units, features, target) * units,
            method="L-BFGS-B",
            options={"maxiter": 10_000, "maxfun": 100_000, "gtol": 1e-9, "ftol": 0.0},
        )
        parameters: Vector = found.x * units
        return parameters
