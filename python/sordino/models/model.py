"""The port between a model and the algorithms that train it: one parameter vector and its gradient."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]


class Model(Protocol):
    """A differentiable model whose objective is a mean over patients plus a penalty that no patient enters.

    Such an objective splits over sites: with n_i patients at site i, the objective of all rows together is
    the mean of the sites' objectives weighted by n_i, penalty included once. `parameters` are float64 of
    shape (size,), `features` float64 of shape (patients, columns), `target` float64 of shape (patients,).
    """

    @property
    def size(self) -> int:
        """Length of the parameter vector."""

    def initial(self) -> Vector:
        """The parameters before training, the same for everyone."""

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean loss of the patients, without the penalty."""

    def gradient(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Gradient of the mean loss plus the penalty, shape (size,)."""

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Each patient's gradient of its own loss, without the penalty, shape (patients, size)."""

    def penalty_gradient(self, parameters: Vector) -> Vector:
        """Gradient of the penalty, shape (size,)."""

    def objective(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean loss plus the penalty: what training minimises."""

    def decision(self, parameters: Vector, features: Matrix) -> Vector:
        """What patients are ranked by, shape (patients,)."""

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """The optimum over all these rows: what federated training is compared with."""

    def curvature(self, features: Matrix) -> float:
        """A bound on the second derivative of the mean loss in any direction of the coefficients."""

    def rates(self, learning_rate: float) -> Vector:
        """The step of every parameter for this learning rate, shape (size,)."""

    def probability(self, parameters: Vector, features: Matrix) -> NDArray[Any]:
        """Predicted probability of the positive class, float64 of shape (patients,)."""
