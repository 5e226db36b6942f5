# SPDX-License-Identifier: Apache-2.0

"""What model.json holds for every kind of model, and how it scores new patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from sordino.errors import ConfigError
from sordino.federated.fusion.missing import filled
from sordino.federated.study.harmonise_file import SiteEffects, StoredHarmonisation
from sordino.federated.study.table import SHOWN, Table
from sordino.models.model import Matrix
from sordino.statistics.scaling import standardised

Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]


class ScalerValues(Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken from each feature, and what it is then divided by."""

    mean: list[float]
    scale: list[float]


class StoredModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="model"):
    """A trained model of any kind; each family adds what it has learnt.

    id       column that tells patients apart
    fill     what stands for a missing value of each feature; None where none may be missing
    modalities   by name, features of which a file may lack all
    harmonisation   what takes the batches' effects out of the features, before all else
    schema   hash of feature names, order, types and target coding, which all sites agreed on
    policy   hash of the terms under which its sums were made
    """

    format: Literal["sordino-model"] = "sordino-model"
    version: Literal[1] = 1
    study: str
    id: str
    features: list[str]
    scaler: ScalerValues | None
    fill: list[float] | None = None
    modalities: dict[str, list[str]] = {}
    harmonisation: StoredHarmonisation | None = None
    rounds: int
    schema: Hex
    policy: Hex
    sordino: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what is predicted for a patient."""
        raise NotImplementedError

    @property
    def lengths(self) -> Mapping[str, int]:
        """How long each list is that has one number for every feature."""
        raise NotImplementedError

    def predicted(self, features: Matrix) -> Matrix:
        """The predictions, shape (patients, len(columns)), for features as the model was trained on."""
        raise NotImplementedError

    def predict(self, features: Matrix) -> Matrix:
        """The predictions, shape (patients, len(columns)), for features as they stand in a file."""
        known = {}
        if self.scaler is not None:
            known = {"mean": np.array(self.scaler.mean), "scale": np.array(self.scaler.scale)}
        if self.fill is not None:
            known["fill"] = np.array(self.fill)
        return self.predicted(standardised(filled(features, known), known))

    def score(self, table: Table, site: SiteEffects | None = None) -> list[tuple[Any, ...]]:
        """The id of every patient, or the line of the file without an id column, and its predictions.

        Columns may stand in any order and others beside them. Raises `ConfigError` with every column that is
        missing and every cell that is no number, and for a batch that is not known.

        site   where the model harmonises, what the site of these patients kept of its batches
        """
        blocks = [block for block in self.modalities.values() if not set(block) & set(table.header)]
        lacked = {name for block in blocks for name in block}
        if missing := [name for name in self.features if name not in table.header and name not in lacked]:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            names = ", ".join(repr(name) for name in missing[:SHOWN]) + more
            raise ConfigError(f"{table.path}: no column {names}, which the model needs")
        faults: list[str] = []
        features = table.numbers(self.features, faults, gaps=() if self.fill is None else self.features)
        if faults:
            raise ConfigError("\n".join(faults))
        if self.harmonisation is not None:
            features = self.harmonisation.adjusted(table, features, self.features, site)
        elif site is not None:
            raise ConfigError("the model does not harmonise, so it needs no site")
        ids = table.column(self.id) if self.id in table.header else [str(line) for line in table.lines]
        return [(name, *row) for name, row in zip(ids, self.predict(features).tolist(), strict=True)]

    def fault(self) -> str | None:
        """Why its parts do not fit together, None if they do."""
        lengths = dict(self.lengths)
        if self.scaler is not None:
            lengths |= {"scaler.mean": len(self.scaler.mean), "scaler.scale": len(self.scaler.scale)}
            if not all(scale > 0.0 for scale in self.scaler.scale):
                return "'scaler.scale' holds a number that is not above 0"
        if self.fill is not None:
            lengths["fill"] = len(self.fill)
        for key, length in lengths.items():
            if length != len(self.features):
                return f"{len(self.features)} features, but {length} numbers in {key!r}"
        return None if self.harmonisation is None else self.harmonisation.fault(len(self.features))
