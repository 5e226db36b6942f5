# SPDX-License-Identifier: Apache-2.0

"""Late fusion of logistic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sordino.course.arrays import Arrays
from sordino.federated.fusion.late import Late, bases_of
from sordino.federated.fusion.missing import filled
from sordino.federated.study.families.stored import StoredModel
from sordino.models.model import Matrix
from sordino.statistics.scaling import standardised

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


class Scored(Struct, frozen=True, forbid_unknown_fields=True):
    """One modality's logistic model, and what becomes of its score, the log odds.

    mean    of the scores, which is taken off
    weight  by which the rest is multiplied
    """

    coefficients: list[float]
    intercept: float
    mean: float
    weight: float


class LateFile(StoredModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="late"):
    """A trained late fusion: the log odds are the intercept and each modality's part, if a patient has it.

    scored  by modality, in the order of its features in `modalities`
    """

    target: str
    classes: tuple[str, str]
    scored: dict[str, Scored]
    intercept: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The probability of the second class."""
        return (f"probability_{self.classes[1]}",)

    @property
    def lengths(self) -> Mapping[str, int]:
        """No list has one number for every feature."""
        return {}

    def predict(self, features: Matrix) -> Matrix:
        """The probability of `classes[1]`."""
        known = {"fill": np.array(self.fill)}
        if self.scaler is not None:
            known |= {"mean": np.array(self.scaler.mean), "scale": np.array(self.scaler.scale)}
        ready = standardised(filled(features, known), known)
        odds = np.full(len(features), self.intercept)
        for name, one in self.scored.items():
            places = [self.features.index(feature) for feature in self.modalities[name]]
            score = ready[:, places] @ np.array(one.coefficients) + one.intercept
            there = ~np.isnan(features[:, places]).all(axis=1)
            odds += np.where(there, one.weight * (score - one.mean), 0.0)
        probability: Matrix = 0.5 * (1.0 + np.tanh(0.5 * odds))[:, np.newaxis]
        return probability

    def fault(self) -> str | None:
        """As `StoredModel.fault`, and modalities that do not fit their models."""
        if (wrong := super().fault()) is not None:
            return wrong
        if self.fill is None:
            return "'fill' is missing"
        if self.scored.keys() != self.modalities.keys():
            return "'scored' and 'modalities' have other names"
        for name, one in self.scored.items():
            if not set(self.modalities[name]) <= set(self.features):
                return f"'modalities.{name}' names what is none of the features"
            if len(one.coefficients) != len(self.modalities[name]):
                return f"{name!r} has {len(self.modalities[name])} features and other coefficients"
        return None


def late_file(late: Late, state: Arrays, data: Data, common: Mapping[str, Any]) -> LateFile:
    """What a study has learnt: the models of all training patients, and their weights."""
    bases, scored = bases_of(state), {}
    weights = state["parameters"][:-1] / state["scale"]
    for part, mean, weight in zip(late.parts, state["mean"], weights, strict=True):
        *coefficients, intercept = bases[f"{part.name}/{late.folds}/parameters"].tolist()
        scored[part.name] = Scored(coefficients, intercept, float(mean), float(weight))
    return LateFile(
        **{
            **common,
            "modalities": {
                part.name: [common["features"][place] for place in part.places] for part in late.parts
            },
        },
        target=data.target,
        classes=(str(data.classes[0]), str(data.classes[1])),
        scored=scored,
        intercept=float(state["parameters"][-1]),
    )
