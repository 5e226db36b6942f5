# SPDX-License-Identifier: Apache-2.0

"""What a site does by itself in one round: gradient steps from the common parameters."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Model, Vector

_MOST = 1_000_000


@dataclass(frozen=True)
class Local:
    """Gradient steps over all of a site's patients, or over batches of them.

    steps       gradient steps in one round, the same at every site; or
    epochs      passes over the site's own patients, so that a site with more of them takes more steps
    batch_size  patients in one step, drawn by a public seed; None for all
    proximal    mu of FedProx (Li et al. 2020): each site minimises its own objective plus
                (mu / 2) ||theta - theta_t||^2, theta_t the common parameters, which holds it back from its
                own optimum; 0 is FedAvg
    seed        of the batches

    Raises `InvalidArgument` for what is out of range.
    """

    steps: int = 1
    epochs: int | None = None
    batch_size: int | None = None
    proximal: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST:
                raise InvalidArgument(f"{name} must be from 1 to {_MOST:,}, got {value}")
        if self.epochs is not None and self.steps != 1:
            raise InvalidArgument(f"state steps or epochs, not both: got {self.steps} and {self.epochs}")
        if not 0.0 <= self.proximal < float("inf"):
            raise InvalidArgument(f"the proximal mu must be a number from 0 on, got {self.proximal}")

    @property
    def count(self) -> int:
        """Steps, or passes, of a round."""
        return self.steps if self.epochs is None else self.epochs

    def batches(self, name: str, patients: int, number: int) -> list[slice | Vector]:
        """The rows of each step of round `number`: all, or batches through a shuffle, pass after pass."""
        size = patients if self.batch_size is None else min(self.batch_size, patients)
        in_a_pass = -(-patients // size)
        steps = self.steps if self.epochs is None else self.epochs * in_a_pass
        if in_a_pass == 1:
            return [slice(None)] * steps
        # Drawn from the site's name too, or equal sites would batch alike; the order is no secret.
        mixed = int.from_bytes(sha256(name.encode()).digest()[:8], "big")
        order = np.random.default_rng([self.seed, number, mixed])
        batches: list[slice | Vector] = []
        while len(batches) < steps:
            batches += np.array_split(order.permutation(patients), in_a_pass)
        return batches[:steps]

    def damped(self, rates: Vector) -> Vector:
        """The step of every parameter with the proximal term: rate / (1 + mu rate).

        With it a gradient step on objective and term is the proximal step, argmin of the objective's
        linearisation + (theta - now)^2 / (2 rate) + (mu / 2)(theta - theta_t)^2, stable for every mu.
        """
        return rates / (1.0 + self.proximal * rates)

    def gradient(
        self, model: Model, parameters: Vector, start: Vector, features: Matrix, target: Vector
    ) -> Vector:
        """Of the site's objective and the proximal term about `start`, shape (model.size,)."""
        gradient = model.gradient(parameters, features, target)
        if self.proximal:
            gradient = gradient + self.proximal * (parameters - start)
        return gradient

    def descend(
        self,
        model: Model,
        start: Vector,
        rates: Vector,
        features: Matrix,
        target: Vector,
        batches: list[slice | Vector],
        *,
        correction: Vector | float = 0.0,
    ) -> Vector:
        """How far the parameters come from `start` in a step for each batch, shape (model.size,).

        correction   subtracted in every step (SCAFFOLD's)
        """
        rates, parameters = self.damped(rates), start.copy()
        for rows in batches:
            step = rates * self.gradient(model, parameters, start, features[rows], target[rows])
            parameters -= step + correction
        return parameters - start
