# SPDX-License-Identifier: Apache-2.0

"""Multi-layer perceptrons of classes and of a number, on NumPy."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument
from sordino.models.layers import Activation, Layers
from sordino.models.model import Matrix, Vector


@dataclass(frozen=True)
class Perceptron:
    """Minimises mean(loss) + (l2 / 2) ||weights||^2 over a network; biases carry no penalty.

    The objective is not convex: no learning rate is safe for every network, so one has to be stated; 0.1 is
    a fair start for standardised features. Training from another seed may end elsewhere.

    columns     number of features
    hidden      units of each hidden layer, () for none
    activation  of the hidden units: "relu" or "tanh"
    l2          >= 0
    seed        public: of the first weights, which the coordinator sends to all

    Parameters: as in `Layers`. Raises `InvalidArgument` for what makes no network.
    """

    columns: int
    hidden: tuple[int, ...] = (16,)
    activation: Activation = "relu"
    l2: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.l2 < float("inf"):
            raise InvalidArgument(f"l2 must be a number from 0 on, got {self.l2}")
        if self.seed < 0:
            raise InvalidArgument(f"seed must be a whole number from 0 on, got {self.seed}")
        _ = self.layers  # refuses what makes no network

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Units of the last layer."""

    @abstractmethod
    def losses(self, outputs: Matrix, target: Vector) -> Vector:
        """Each patient's loss, shape (patients,)."""

    @abstractmethod
    def residuals(self, outputs: Matrix, target: Vector) -> Matrix:
        """Each patient's derivative of the loss by the outputs, shape (patients, outputs)."""

    @cached_property
    def layers(self) -> Layers:
        """The network."""
        return Layers((self.columns, *self.hidden, self.outputs), self.activation)

    @property
    def size(self) -> int:
        """Weights and biases of all layers."""
        return self.layers.size

    def initial(self) -> Vector:
        """Drawn by the seed, see `Layers.initial`."""
        return self.layers.initial(self.seed)

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean loss, without the penalty."""
        return float(np.mean(self.losses(self._outputs(parameters, features), target)))

    def gradient(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Gradient of the mean loss plus the penalty, shape (size,)."""
        values = self.layers.forward(parameters, features)
        residuals = self.residuals(values[-1], target) / len(target)
        return self.layers.gradient(parameters, values, residuals) + self.penalty_gradient(parameters)

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Each patient's gradient of its own loss, shape (patients, size): 8 * patients * size bytes."""
        values = self.layers.forward(parameters, features)
        return self.layers.gradients(parameters, values, self.residuals(values[-1], target))

    def penalty_gradient(self, parameters: Vector) -> Vector:
        """l2 times the weights, zero for biases."""
        return self.l2 * parameters * self.layers.is_weight

    def objective(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Mean loss plus the penalty: what training minimises."""
        penalty: float = 0.5 * float(parameters @ self.penalty_gradient(parameters))
        return self.loss(parameters, features, target) + penalty

    def proximal(self, parameters: Vector, rates: Vector) -> Vector:  # noqa: ARG002 (no such penalty)
        """The parameters as they are."""
        return parameters

    def rates(self, learning_rate: float) -> Vector:
        """`learning_rate` for every parameter."""
        return np.full(self.size, learning_rate)

    def decision(self, parameters: Vector, features: Matrix) -> NDArray[Any]:
        """The outputs, shape (patients,) for a single one, else (patients, outputs)."""
        outputs = self._outputs(parameters, features)
        return outputs[:, 0] if self.outputs == 1 else outputs

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """A local optimum over all these rows (L-BFGS from `initial`), or what 2,000 steps come to."""
        from scipy.optimize import minimize

        found = minimize(
            self.objective,
            self.initial(),
            args=(features, target),
            jac=self.gradient,
            method="L-BFGS-B",
            options={"maxiter": 2_000, "gtol": 1e-7},
        )
        parameters: Vector = found.x
        return parameters

    def _outputs(self, parameters: Vector, features: Matrix) -> Matrix:
        return self.layers.forward(parameters, features)[-1]


@dataclass(frozen=True)
class MultiLayerPerceptron(Perceptron):
    """A network of classes.

    With two classes its one output z is the log odds of class 1, and the loss log(1 + exp(z)) - y z; with
    more it has an output for each class, and the loss is log(sum_k exp(z_k)) - z_y.

    classes  how many the study has, at least 2, whatever one site has
    """

    classes: int = 2

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise InvalidArgument(f"a model of classes needs at least two, got {self.classes}")
        super().__post_init__()

    @property
    def outputs(self) -> int:
        """One for two classes, else one for each."""
        return 1 if self.classes == 2 else self.classes

    def losses(self, outputs: Matrix, target: Vector) -> Vector:
        """The log loss in nats."""
        if self.classes == 2:
            z: Vector = outputs[:, 0]
            return np.logaddexp(0.0, z) - target * z
        losses: Vector = np.logaddexp.reduce(outputs, axis=1)
        return losses - np.take_along_axis(outputs, _codes(target), axis=1)[:, 0]

    def residuals(self, outputs: Matrix, target: Vector) -> Matrix:
        """Probability minus target, of class 1 or of each class."""
        residuals = self._probability(outputs)
        if self.classes == 2:
            return residuals - target[:, np.newaxis]
        own = np.take_along_axis(residuals, _codes(target), axis=1)
        np.put_along_axis(residuals, _codes(target), own - 1.0, axis=1)
        return residuals

    def probability(self, parameters: Vector, features: Matrix) -> NDArray[Any]:
        """Two classes: probability of class 1, shape (patients,). More: shape (patients, classes)."""
        probability = self._probability(self._outputs(parameters, features))
        return probability[:, 0] if self.classes == 2 else probability

    def _probability(self, outputs: Matrix) -> Matrix:
        if self.classes == 2:
            binary: Matrix = 0.5 * (1.0 + np.tanh(0.5 * outputs))
            return binary
        raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        softmax: Matrix = raised / raised.sum(axis=1, keepdims=True)
        return softmax


@dataclass(frozen=True)
class RegressionPerceptron(Perceptron):
    """A network whose one output z is the expected number; the loss is (z - y)^2 / 2.

    As with `Linear`, a target far from zero or of large spread is brought to units of its spread first.
    """

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def losses(self, outputs: Matrix, target: Vector) -> Vector:
        """Half the squared error."""
        error: Vector = outputs[:, 0] - target
        return 0.5 * error * error

    def residuals(self, outputs: Matrix, target: Vector) -> Matrix:
        """The error z - y."""
        return outputs - target[:, np.newaxis]


def _codes(target: Vector) -> NDArray[np.intp]:
    return target.astype(np.intp)[:, np.newaxis]
