# SPDX-License-Identifier: Apache-2.0

"""The ports between models and the algorithms that train and test them: one vector and its gradient."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]


class Model(Protocol):
    """A differentiable model whose objective is a mean over patients plus penalties that no patient enters.

    Such an objective splits over sites: with n_i patients at site i, the objective of all rows together is
    the mean of the sites' objectives weighted by n_i, penalties included once. `parameters` are float64 of
    shape (size,), `features` float64 of shape (patients, columns), `target` float64 of shape (patients,):
    numbers, or classes coded 0, 1, ...

    A penalty that has a gradient is part of the site's steps; one that has none (L1) is left to the
    coordinator, which applies `proximal` to the parameters after it has moved them.
    """

    @property
    def size(self) -> int:
        """Length of the parameter vector."""

    def initial(self) -> Vector:
        """The parameters before training, the same for everyone."""

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean loss of the patients, without penalties."""

    def gradient(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Gradient of the mean loss plus the penalty that has one, shape (size,)."""

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Each patient's gradient of its own loss, without penalties, shape (patients, size)."""

    def penalty_gradient(self, parameters: Vector) -> Vector:
        """Gradient of the penalty that has one, shape (size,)."""

    def objective(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The mean loss plus all penalties: what training minimises."""

    def proximal(self, parameters: Vector, rates: Vector) -> Vector:
        """argmin_v penalty(v) + sum_j (v_j - parameters_j)^2 / (2 rates_j), of the penalty without gradient.

        `rates`, shape (size,), is how far the parameters were moved for a gradient of one: `rates` of the
        model times the local steps. Without such a penalty the parameters as they are.
        """

    def rates(self, learning_rate: float) -> Vector:
        """The step of every parameter for this learning rate, shape (size,)."""

    def decision(self, parameters: Vector, features: Matrix) -> NDArray[Any]:
        """The expected number, or the log odds of class 1, shape (patients,).

        With more than two classes their scores, shape (patients, classes).
        """

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """The optimum over all these rows: what federated training is compared with."""


@runtime_checkable
class Convex(Model, Protocol):
    """A model whose curvature is bounded, so that a safe learning rate follows from a secure sum."""

    def curvature(self, features: Matrix) -> float:
        """A bound on the second derivative of the mean loss in any direction of the coefficients."""


@runtime_checkable
class Classifier(Model, Protocol):
    """A model of classes, coded 0, 1, ..., classes - 1."""

    @property
    def classes(self) -> int:
        """How many classes there are, at least 2. They are the study's, whatever one site has."""

    def probability(self, parameters: Vector, features: Matrix) -> NDArray[Any]:
        """Two classes: probability of class 1, shape (patients,). More: shape (patients, classes)."""


def convex(model: Model) -> Convex:
    """The model, if its curvature is bounded; else raises `InvalidArgument`."""
    if not isinstance(model, Convex):
        raise InvalidArgument(
            f"state a learning_rate: {type(model).__name__} has no bound of curvature that one follows from"
        )
    return model


def classifier(model: Model) -> Classifier:
    """The model, if it is one of classes; else raises `InvalidArgument`."""
    if not isinstance(model, Classifier):
        raise InvalidArgument(f"{type(model).__name__} gives no probabilities of classes")
    return model
