# SPDX-License-Identifier: Apache-2.0

"""Gradient inversion: a patient's row from the update that a site sends.

Analytic: for a layer with a bias the gradient of the weights is x delta and that of the bias delta, so one
divides (Phong et al. 2018); exact for a single patient, and of more it gives a mean weighted by delta.
By optimisation: rows whose gradient is the one seen (Zhu et al. 2019, "Deep leakage from gradients"),
L-BFGS from the span that the first layer's gradient leaves, the targets known, which favours the attacker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.audit.rates import Interval, proportion
from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector
from sordino.models.perceptron import MultiLayerPerceptron

MATCHED = 0.25
"""A patient is found where the root mean square of the error is below a quarter of a standard deviation."""


REACH = 8.0
"""Standard deviations beyond which an attacker looks for nobody."""


@dataclass(frozen=True)
class Rebuilt:
    """Reconstructed rows beside the true ones that they fit best, both (patients, columns).

    error        root mean squares of the differences, a patient each, in standard deviations
    matched      the part of patients within `MATCHED`
    recognised   the part whose reconstruction is nearer to them than to any other of the `candidates`
    """

    truth: Matrix
    found: Matrix
    error: Vector
    matched: Interval
    recognised: Interval
    candidates: int

    @property
    def chance(self) -> float:
        """What `recognised` would be at most, on average, of rows that say nothing of who was there.

        Each would be nearest to one of those who were with a chance of patients / candidates, and since a
        reconstruction is assigned to whom it fits, that one is then mostly its own.
        """
        return len(self.truth) / self.candidates


def first_layer(weights: Matrix, biases: Vector) -> Vector:
    """The row x of gradients x delta^T, shape (columns, units), and delta, (units,), by the largest delta.

    A logistic model is a layer of one unit. Raises `InvalidArgument` where every delta is zero.
    """
    unit = int(np.argmax(np.abs(biases)))
    if biases[unit] == 0.0:
        raise InvalidArgument("the gradient of every bias is zero: nothing of the row is in the gradient")
    row: Vector = weights[:, unit] / biases[unit]
    return row


def compared(truth: Matrix, found: Matrix, *, others: Matrix | None = None) -> Rebuilt:
    """Each reconstruction beside a true row of its own, at the least total error (Kuhn 1955).

    others   rows of patients who were not in the update, shape (patients, columns)
    """
    from scipy.optimize import linear_sum_assignment

    apart = np.sqrt(np.mean((truth[:, np.newaxis] - found) ** 2, axis=2))
    true, guess = linear_sum_assignment(apart)
    error, candidates = apart[true, guess], truth if others is None else np.concatenate([truth, others])
    nearest = np.array([int(np.mean((candidates - row) ** 2, axis=1).argmin()) for row in found[guess]])
    return Rebuilt(
        truth[true],
        found[guess],
        error,
        proportion(int((error < MATCHED).sum()), len(error)),
        proportion(int((nearest == true).sum()), len(error)),
        len(candidates),
    )


def by_optimisation(
    model: MultiLayerPerceptron,
    parameters: Vector,
    gradient: Vector,
    target: Vector,
    *,
    starts: int = 4,
    steps: int = 2_000,
    reach: float = REACH,
    seed: int = 0,
) -> Matrix:
    """Rows whose mean gradient of the loss, without the penalty, is `gradient`; shape (len(target), columns).

    The gradient of the first layer is a sum of rows times deltas, so that the rows lie among its first left
    singular vectors (Dimitrov et al. 2024, "SPEAR"): of several random starts in that span the one is taken
    that ends nearest, and from there all numbers are free up to `reach`. The model has one hidden layer of
    tanh and two classes, for which `distance` is written out.
    """
    from scipy.optimize import minimize

    rng = np.random.default_rng([seed, 6])
    size, shape = float(gradient @ gradient) or 1.0, (len(target), model.columns)
    first = gradient[: model.columns * model.hidden[0]].reshape(model.columns, -1)
    span = np.linalg.svd(first, full_matrices=False)[0][:, : len(target)].T

    def misfit(rows: Vector) -> tuple[float, Vector]:
        value, slope = distance(model, parameters, gradient, rows.reshape(shape), target)
        return value / size, slope.ravel() / size

    def within(parts: Vector) -> tuple[float, Vector]:
        value, slope = misfit(parts.reshape(len(target), -1) @ span)
        return value, (slope.reshape(shape) @ span.T).ravel()

    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 0.0, "gtol": 1e-14, "maxcor": 30}
    best: tuple[float, Matrix] | None = None
    for _ in range(starts):
        # As long as rows of half a deviation.
        start = rng.normal(scale=0.5 * np.sqrt(model.columns / len(span)), size=len(target) * len(span))
        ended = minimize(within, start, jac=True, method="L-BFGS-B", options=options)
        if best is None or ended.fun < best[0]:
            best = float(ended.fun), ended.x.reshape(len(target), -1) @ span
        if best[0] < 1e-18:
            break
    assert best is not None  # noqa: S101 (there is a start)
    ended = minimize(
        misfit,
        np.clip(best[1], -reach, reach).ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-reach, reach)] * best[1].size,
        options=options,
    )
    found: Matrix = ended.x.reshape(shape)
    return found


def distance(
    model: MultiLayerPerceptron, parameters: Vector, gradient: Vector, rows: Matrix, target: Vector
) -> tuple[float, Matrix]:
    """Half the squared distance of the mean gradient of `rows` from `gradient`, its derivative by them."""
    if model.activation != "tanh" or len(model.hidden) != 1 or model.classes != 2:
        raise InvalidArgument("inversion is written for one hidden layer of tanh and two classes")
    (weights, biases), (out, offset) = model.layers.parts(parameters)
    units = np.tanh(rows @ weights + biases)
    slope = 1.0 - units**2
    probability = 0.5 * (1.0 + np.tanh(0.5 * (units @ out + offset)))
    residual = (probability - target[:, np.newaxis]) / len(target)
    back = residual @ out.T
    delta = back * slope
    # What the gradient is off by, in the layout of `Layers`.
    columns, width = weights.shape
    given = np.split(gradient, np.cumsum([columns * width, width, width]))
    by_weights = rows.T @ delta - given[0].reshape(columns, width)
    by_biases = delta.sum(axis=0) - given[1]
    by_out = units.T @ residual - given[2][:, np.newaxis]
    by_offset = residual.sum(axis=0) - given[3]
    value = 0.5 * sum(float(np.sum(part**2)) for part in (by_weights, by_biases, by_out, by_offset))
    # Backwards through the gradient itself.
    to_delta = rows @ by_weights + by_biases
    to_residual = units @ by_out + by_offset + (to_delta * slope) @ out
    to_units = residual @ by_out.T - 2.0 * to_delta * back * units
    to_outputs = to_residual * probability * (1.0 - probability) / len(target)
    to_sums = (to_units + to_outputs @ out.T) * slope
    return value, delta @ by_weights.T + to_sums @ weights.T
