# SPDX-License-Identifier: Apache-2.0

"""Multi-layer perceptrons of two classes and of a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct

from sordino.course.arrays import Arrays
from sordino.federated.study.families.stored import StoredModel
from sordino.federated.study.keys import Penalty, Seed, Switch
from sordino.federated.study.outcomes.classes import TwoClasses
from sordino.federated.study.outcomes.number import Number
from sordino.models.layers import Activation
from sordino.models.model import Matrix
from sordino.models.perceptron import MultiLayerPerceptron, RegressionPerceptron

if TYPE_CHECKING:
    from sordino.federated.study.file import Data

Hidden = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=4096)], ...],
    Meta(max_length=16, description="a list of at most 16 numbers of units, from 1 to 4096"),
]
Kind = Annotated[Activation, Meta(description='"relu" or "tanh"')]


class NetworkFile(StoredModel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every trained network holds; `parameters` as in `sordino.models.layers.Layers`."""

    target: str
    hidden: tuple[int, ...]
    activation: Activation
    parameters: list[float]

    @property
    def lengths(self) -> Mapping[str, int]:
        """No list has one number for every feature."""
        return {}

    @property
    def network(self) -> MultiLayerPerceptron | RegressionPerceptron:
        """The model of these parameters."""
        raise NotImplementedError

    def fault(self) -> str | None:
        """As `StoredModel.fault`, and parameters that are not those of the layers."""
        if super().fault() is None and len(self.parameters) != self.network.size:
            return f"its layers have {self.network.size} parameters, but it holds {len(self.parameters)}"
        return super().fault()


class PerceptronFile(NetworkFile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mlp"):
    """A trained network of two classes, the labels of probability 0 and of probability 1."""

    classes: tuple[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """The probability of the second class."""
        return (f"probability_{self.classes[1]}",)

    @property
    def network(self) -> MultiLayerPerceptron:
        """See `NetworkFile`."""
        return MultiLayerPerceptron(len(self.features), self.hidden, self.activation)

    def predicted(self, features: Matrix) -> Matrix:
        """The probability of `classes[1]`."""
        return self.network.probability(np.array(self.parameters), features)[:, np.newaxis]


class NumberPerceptronFile(
    NetworkFile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mlp_number"
):
    """A trained network of a number, which it gives in standard deviations from the mean."""

    target_mean: float
    target_scale: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The expected number."""
        return (f"expected_{self.target}",)

    @property
    def network(self) -> RegressionPerceptron:
        """See `NetworkFile`."""
        return RegressionPerceptron(len(self.features), self.hidden, self.activation)

    def predicted(self, features: Matrix) -> Matrix:
        """The expected number, in the target's unit."""
        scaled = self.network.decision(np.array(self.parameters), features)
        return self.target_mean + self.target_scale * scaled[:, np.newaxis]


class _Network(Struct, frozen=True, kw_only=True):
    """The keys of [model] that both kinds have."""

    hidden: Hidden = (16,)
    activation: Kind = "relu"
    l2: Penalty = 0.001
    seed: Seed = 0
    standardise: Switch = True

    def _described(self, state: Arrays, data: Data) -> dict[str, Any]:
        return {
            "target": data.target,
            "hidden": self.hidden,
            "activation": self.activation,
            "parameters": state["parameters"].tolist(),
        }


class PerceptronFamily(_Network, frozen=True, kw_only=True, tag_field="type", tag="mlp"):
    """Table [model] with type = "mlp": two classes."""

    outcome: ClassVar[TwoClasses] = TwoClasses()
    takes_noise: ClassVar[bool] = True
    has_auto_rate: ClassVar[bool] = False

    def model(self, columns: int) -> MultiLayerPerceptron:
        """See `Family`."""
        return MultiLayerPerceptron(columns, self.hidden, self.activation, self.l2, self.seed)

    def stored(self, state: Arrays, data: Data, common: Mapping[str, Any]) -> PerceptronFile:
        """See `Family`."""
        classes = (str(data.classes[0]), str(data.classes[1]))
        return PerceptronFile(**common, **self._described(state, data), classes=classes)


class NumberPerceptronFamily(_Network, frozen=True, kw_only=True, tag_field="type", tag="mlp_number"):
    """Table [model] with type = "mlp_number": a number."""

    outcome: ClassVar[Number] = Number()
    takes_noise: ClassVar[bool] = False
    has_auto_rate: ClassVar[bool] = False

    def model(self, columns: int) -> RegressionPerceptron:
        """See `Family`."""
        return RegressionPerceptron(columns, self.hidden, self.activation, self.l2, self.seed)

    def stored(self, state: Arrays, data: Data, common: Mapping[str, Any]) -> NumberPerceptronFile:
        """See `Family`."""
        return NumberPerceptronFile(
            **common,
            **self._described(state, data),
            target_mean=float(state["target_mean"][0]),
            target_scale=float(state["target_scale"][0]),
        )
