# SPDX-License-Identifier: Apache-2.0

"""What the coordinator does with the mean change of a round: the optimiser that takes the step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from sordino.course.arrays import Arrays
from sordino.errors import InvalidArgument
from sordino.models.model import Model, Vector

Penalise: TypeAlias = Callable[[Vector, Vector | float], Vector]
"""Applies a penalty without gradient to moved parameters; how far they were moved for a change of one."""


class Server(Protocol):
    """Takes the sites' mean change for a gradient (Reddi et al. 2021, "Adaptive federated optimization").

    It works on sums that were made already, so it costs no privacy and no lane.
    """

    def initial(self, size: int) -> Arrays:
        """The vectors that it keeps in the state, for so many parameters."""

    def step(self, state: Arrays, change: Vector, penalise: Penalise) -> Arrays:
        """The new `parameters`, and its own vectors."""


def moved(server: Server, model: Model, state: Arrays, change: Vector, steps: int) -> Arrays:
    """The step for a mean change of so many local steps, and the model's penalty without gradient."""
    rates = steps * model.rates(float(state["learning_rate"][0]))
    return server.step(state, change, lambda parameters, scale: model.proximal(parameters, scale * rates))


@dataclass(frozen=True)
class Momentum:
    """Adds a part of its last step to the next (FedAvgM, Hsu et al. 2019); with momentum 0 plain averaging.

    State: `velocity`.
    """

    momentum: float = 0.8
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        _check("momentum", self.momentum, below=1.0)
        _check_rate(self.learning_rate)

    def initial(self, size: int) -> Arrays:
        """See `Server`."""
        return {"velocity": np.zeros(size)}

    def step(self, state: Arrays, change: Vector, penalise: Penalise) -> Arrays:
        """Velocity = momentum velocity + change; parameters += learning_rate velocity.

        The velocity is how far they really moved, the penalty's part included.
        """
        start, rate = state["parameters"], self.learning_rate
        velocity = self.momentum * state["velocity"] + change
        parameters = penalise(start + rate * velocity, rate)
        return {"parameters": parameters, "velocity": (parameters - start) / rate}


@dataclass(frozen=True)
class Adam:
    """FedAdam (Reddi et al. 2021, algorithm 2), without correction of the first steps, as there.

    learning_rate   about the longest step of a parameter in one round
    beta1, beta2    what is kept of the mean change and of its square
    tau             least scale of a change: smaller ones move the parameters in proportion

    State: `velocity` and `squares`.
    """

    learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check_rate(self.learning_rate)
        _check("beta1", self.beta1, below=1.0)
        _check("beta2", self.beta2, below=1.0)
        if not 0.0 < self.tau < float("inf"):
            raise InvalidArgument(f"tau must be a number above 0, got {self.tau}")

    def initial(self, size: int) -> Arrays:
        """See `Server`."""
        return {"velocity": np.zeros(size), "squares": np.full(size, self.tau**2)}

    def step(self, state: Arrays, change: Vector, penalise: Penalise) -> Arrays:
        """Parameters += learning_rate velocity / (sqrt(squares) + tau)."""
        velocity = self.beta1 * state["velocity"] + (1.0 - self.beta1) * change
        squares = self.beta2 * state["squares"] + (1.0 - self.beta2) * change**2
        scale = self.learning_rate / (np.sqrt(squares) + self.tau)
        parameters = penalise(state["parameters"] + scale * velocity, scale)
        return {"parameters": parameters, "velocity": velocity, "squares": squares}


def _check_rate(rate: float) -> None:
    if not 0.0 < rate < float("inf"):
        raise InvalidArgument(f"the server's learning_rate must be a number above 0, got {rate}")


def _check(name: str, value: float, *, below: float) -> None:
    if not 0.0 <= value < below:
        raise InvalidArgument(f"the server's {name} must be a number from 0, below {below:g}, got {value}")
