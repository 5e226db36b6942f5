# SPDX-License-Identifier: Apache-2.0

"""A fully connected network in one flat vector: its layout, its first values, forward and backward passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import sqrt
from typing import Literal, TypeAlias

import numpy as np

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector

Activation: TypeAlias = Literal["relu", "tanh"]


@dataclass(frozen=True)
class Layers:
    """widths[0] inputs, widths[-1] linear outputs, and layers of units with one activation between them.

    The vector holds one layer after another, each as its weights, shape (inputs, outputs) row by row, then
    its biases, shape (outputs,). Raises `InvalidArgument` for a layer without units, or an activation that
    is not known.
    """

    widths: tuple[int, ...]
    activation: Activation

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.widths):
            raise InvalidArgument(f"every layer needs at least one unit, got {self.widths}")
        if self.activation not in ("relu", "tanh"):
            raise InvalidArgument(f"activation must be 'relu' or 'tanh', got {self.activation!r}")

    @cached_property
    def size(self) -> int:
        """Weights and biases of all layers."""
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.widths))

    @cached_property
    def is_weight(self) -> Vector:
        """1 for weights, 0 for biases, shape (size,)."""
        kinds = [[np.ones(inputs * outputs), np.zeros(outputs)] for inputs, outputs in pairwise(self.widths)]
        return np.concatenate([part for layer in kinds for part in layer])

    def initial(self, seed: int) -> Vector:
        """Normal weights by a public seed, and biases of zero, shape (size,).

        Variance 2 / inputs before rectified units (He et al. 2015), else 2 / (inputs + outputs) (Glorot and
        Bengio 2010).
        """
        random, parts, last = np.random.default_rng(seed), [], len(self.widths) - 2
        for place, (inputs, outputs) in enumerate(pairwise(self.widths)):
            rectified = self.activation == "relu" and place < last
            deviation = sqrt(2.0 / (inputs if rectified else inputs + outputs))
            parts += [random.normal(0.0, deviation, inputs * outputs), np.zeros(outputs)]
        return np.concatenate(parts)

    def forward(self, parameters: Vector, features: Matrix) -> list[Matrix]:
        """What goes into each layer, and last what comes out, each of shape (patients, its width)."""
        values = [features]
        for number, (_, weights, biases) in enumerate(self._layers(parameters), start=2):
            z = values[-1] @ weights + biases
            if number < len(self.widths):
                z = np.maximum(z, 0.0) if self.activation == "relu" else np.tanh(z)
            values.append(z)
        return values

    def gradient(self, parameters: Vector, values: list[Matrix], residuals: Matrix) -> Vector:
        """Sum over the patients of residual times derivative of the outputs, shape (size,).

        values     of `forward`
        residuals  each patient's derivative of the loss by the outputs, shape (patients, outputs)
        """
        gradient = np.empty(self.size)
        for start, inputs, delta in self._backward(parameters, values, residuals):
            weights = inputs.shape[1] * delta.shape[1]
            gradient[start : start + weights] = (inputs.T @ delta).ravel()
            gradient[start + weights : start + weights + delta.shape[1]] = delta.sum(axis=0)
        return gradient

    def gradients(self, parameters: Vector, values: list[Matrix], residuals: Matrix) -> Matrix:
        """The same for each patient, shape (patients, size), written where it stays: no second copy."""
        gradients = np.empty((len(residuals), self.size))
        for start, inputs, delta in self._backward(parameters, values, residuals):
            weights = inputs.shape[1] * delta.shape[1]
            here = gradients[:, start : start + weights].reshape(*inputs.shape, delta.shape[1])
            np.multiply(inputs[:, :, np.newaxis], delta[:, np.newaxis, :], out=here)
            gradients[:, start + weights : start + weights + delta.shape[1]] = delta
        return gradients

    def parts(self, parameters: Vector) -> list[tuple[Matrix, Vector]]:
        """Weights (inputs, outputs) and biases (outputs,) of each layer."""
        return [(weights, biases) for _, weights, biases in self._layers(parameters)]

    def _layers(self, parameters: Vector) -> Iterator[tuple[int, Matrix, Vector]]:
        """For each layer its place in the vector, its weights and its biases."""
        start = 0
        for inputs, outputs in pairwise(self.widths):
            biases = start + inputs * outputs
            weights = parameters[start:biases].reshape(inputs, outputs)
            yield start, weights, parameters[biases : biases + outputs]
            start = biases + outputs

    def _backward(
        self, parameters: Vector, values: list[Matrix], residuals: Matrix
    ) -> Iterator[tuple[int, Matrix, Matrix]]:
        """From the last layer: its place, what went into it, and the loss's derivatives by its sums."""
        delta = residuals
        layers = list(self._layers(parameters))
        for (start, weights, _), inputs in zip(reversed(layers), reversed(values[:-1]), strict=True):
            yield start, inputs, delta
            if start:
                slope = inputs > 0.0 if self.activation == "relu" else 1.0 - inputs * inputs
                delta = (delta @ weights.T) * slope
