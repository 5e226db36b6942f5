"""model.json: everything that it takes to score a new patient, and where the model came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sordino.errors import ConfigError
from sordino.federated.study.table import SHOWN, Table
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix, Vector
from sordino.statistics.scaling import standardised

Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]


class ScalerValues(Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken from each feature, and what it is then divided by."""

    mean: list[float]
    scale: list[float]


class ModelFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trained logistic model.

    coefficients  one for each feature, for standardised features if there is a scaler
    classes       the labels of probability 0 and of probability 1
    schema        hash of feature names, order, types and target coding, which all sites agreed on
    policy        hash of the terms under which its sums were made
    """

    format: Literal["sordino-model"] = "sordino-model"
    version: Literal[1] = 1
    study: str
    model: Literal["logistic"] = "logistic"
    l2: float
    id: str
    target: str
    classes: tuple[str, str]
    features: list[str]
    coefficients: list[float]
    intercept: float
    scaler: ScalerValues | None
    rounds: int
    schema: Hex
    policy: Hex
    sordino: str

    def probability(self, features: Matrix) -> Vector:
        """Probability of `classes[1]` for features in the order of `features`, shape (patients,)."""
        known = {}
        if self.scaler is not None:
            known = {"mean": np.array(self.scaler.mean), "scale": np.array(self.scaler.scale)}
        parameters = np.array([*self.coefficients, self.intercept])
        return Logistic(len(self.features), self.l2).probability(parameters, standardised(features, known))

    def score(self, table: Table) -> list[tuple[str, float]]:
        """The id of every patient, or the line of the file without an id column, and the probability.

        Columns may stand in any order and others beside them. Raises `ConfigError` with every column that is
        missing and every cell that is no number.
        """
        if missing := [name for name in self.features if name not in table.header]:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            names = ", ".join(repr(name) for name in missing[:SHOWN]) + more
            raise ConfigError(f"{table.path}: no column {names}, which the model needs")
        faults: list[str] = []
        features = table.numbers(self.features, faults)
        if faults:
            raise ConfigError("\n".join(faults))
        ids = table.column(self.id) if self.id in table.header else [str(line) for line in table.lines]
        return list(zip(ids, self.probability(features).tolist(), strict=True))


def read_model(path: Path) -> ModelFile:
    """Read a model. Raises `ConfigError` if it is not one, or its parts do not fit together."""
    try:
        model = msgspec.json.decode(path.read_bytes(), type=ModelFile)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not a model of sordino: {error}") from None
    lengths = {"coefficients": len(model.coefficients)}
    if model.scaler is not None:
        lengths |= {"scaler.mean": len(model.scaler.mean), "scaler.scale": len(model.scaler.scale)}
        if not all(scale > 0.0 for scale in model.scaler.scale):
            raise ConfigError(f"{path}: 'scaler.scale' holds a number that is not above 0")
    for key, length in lengths.items():
        if length != len(model.features):
            raise ConfigError(f"{path}: {len(model.features)} features, but {length} numbers in {key!r}")
    return model
