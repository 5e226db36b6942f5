# SPDX-License-Identifier: Apache-2.0

"""A perceptron of plain Python numbers, one patient at a time, differentiated forwards by dual numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Dual:
    """A number and its derivative by the one parameter that is followed."""

    value: float
    slope: float = 0.0

    def __add__(self, other: Dual) -> Dual:
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other: Dual) -> Dual:
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)


def _exp(x: Dual) -> Dual:
    return Dual(math.exp(x.value), x.slope * math.exp(x.value))


def _log(x: Dual) -> Dual:
    return Dual(math.log(x.value), x.slope / x.value)


def _unit(x: Dual, activation: str) -> Dual:
    if activation == "relu":
        return x if x.value > 0.0 else Dual(0.0)
    tanh = math.tanh(x.value)
    return Dual(tanh, x.slope * (1.0 - tanh * tanh))


def _outputs(
    parameters: list[Dual], widths: tuple[int, ...], activation: str, row: list[float]
) -> list[Dual]:
    values, at = [Dual(x) for x in row], 0
    for layer in range(1, len(widths)):
        inputs, outputs = widths[layer - 1], widths[layer]
        sums = [parameters[at + inputs * outputs + j] for j in range(outputs)]
        for i in range(inputs):
            for j in range(outputs):
                sums[j] = sums[j] + values[i] * parameters[at + i * outputs + j]
        at += (inputs + 1) * outputs
        values = sums if layer == len(widths) - 1 else [_unit(x, activation) for x in sums]
    return values


def _loss(z: list[Dual], y: float, kind: str) -> Dual:
    if kind == "number":
        error = z[0] + Dual(-y)
        return Dual(0.5) * error * error
    scores = [Dual(0.0), z[0]] if len(z) == 1 else z
    total = Dual(0.0)
    for score in scores:
        total = total + _exp(score)
    return _log(total) + Dual(-1.0) * scores[int(y)]


def loss_and_gradient(
    parameters: list[float],
    widths: tuple[int, ...],
    activation: str,
    row: list[float],
    y: float,
    kind: str,
) -> tuple[float, list[float]]:
    """One patient's loss, and its derivative by every parameter, one after another."""
    gradient = []
    for followed in range(len(parameters)):
        duals = [Dual(value, float(place == followed)) for place, value in enumerate(parameters)]
        loss = _loss(_outputs(duals, widths, activation, row), y, kind)
        gradient.append(loss.slope)
    return loss.value, gradient
