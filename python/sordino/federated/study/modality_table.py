# SPDX-License-Identifier: Apache-2.0

"""Tables [[modalities]], blocks of features that a site has all of or nothing, and [fusion] of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from sordino.federated.fusion.late import Late, Part
from sordino.federated.study.keys import Columns, Count, Penalty, PlainName, Seed
from sordino.federated.study.table import SHOWN
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix
from sordino.protocol.policy import EVERYONE
from sordino.statistics.presence import has_values

if TYPE_CHECKING:
    from sordino.federated.study.file import StudyFile


class ModalityTable(Struct, frozen=True, kw_only=True):
    """One [[modalities]]: its name, and its columns."""

    name: PlainName
    columns: Columns


class EarlyTable(Struct, frozen=True, kw_only=True, tag_field="type", tag="early"):
    """Table [fusion] for one model of all features."""


class LateTable(Struct, frozen=True, kw_only=True, tag_field="type", tag="late"):
    """Table [fusion] for a model of each modality and one of their scores; keys as in `Late`."""

    folds: Annotated[int, Meta(ge=2, le=20, description="a whole number from 2 to 20")] = 5
    rounds: Count = 40
    l2: Penalty = 0.01
    seed: Seed = 0


def late_of(study: StudyFile, features: Sequence[str], lacked: Mapping[str, tuple[str, ...]]) -> Late | None:
    """The late fusion that a study asks for, if it does.

    lacked  the modalities that some site lacks, which are lane groups
    """
    table = study.fusion
    if not isinstance(table, LateTable):
        return None
    parts = tuple(
        Part(
            one.name,
            one.name if one.name in lacked else EVERYONE,
            tuple(features.index(column) for column in one.columns),
            Logistic(len(one.columns), study.model.l2, getattr(study.model, "l1", 0.0)),
        )
        for one in study.modalities
    )
    return Late(parts, folds=table.folds, rounds=table.rounds, l2=table.l2, seed=table.seed)


def unplaced(study: StudyFile, features: Sequence[str]) -> list[str]:
    """The features that are in no modality, which late fusion has no model for."""
    if not isinstance(study.fusion, LateTable):
        return []
    placed = {column for table in study.modalities for column in table.columns}
    return [
        f"the feature {name!r} is in none of the modalities, each of which late fusion has a model for: put "
        "it in one, or leave it out"
        for name in features
        if name not in placed
    ][:SHOWN]


def modalities_of(study: StudyFile, features: tuple[str, ...], values: Matrix) -> frozenset[str]:
    """The modalities of which a site has any value."""
    there = dict(zip(features, has_values(values).tolist(), strict=True))
    return frozenset(
        table.name for table in study.modalities if any(there.get(column) for column in table.columns)
    )


def modality_faults(study: StudyFile) -> list[str]:
    """What is wrong with [[modalities]] by themselves."""
    faults = []
    names = Counter(table.name for table in study.modalities)
    faults += [f"two modalities have the name {name!r}" for name, times in names.items() if times > 1]
    columns = Counter(column for table in study.modalities for column in table.columns)
    faults += [
        f"'modalities' names the column {name!r} twice" for name, times in columns.items() if times > 1
    ]
    for number, table in enumerate(study.modalities, start=1):
        if not table.columns:
            faults.append(f"'modalities[{number}].columns' is empty")
        if table.name == EVERYONE:
            faults.append(
                f"'modalities[{number}].name' is {EVERYONE!r}, which stands for what every site has"
            )
        special = {*study.special.values(), *study.data.exclude}
        faults += [
            f"'modalities[{number}].columns' names {column!r}, which is no feature"
            for column in table.columns
            if column in special
            or (isinstance(study.data.features, list) and column not in study.data.features)
        ]
    if study.modalities and study.privacy is not None:
        faults.append(
            "'modalities' do not go with [privacy]: what a site lacks is filled by sums that have no "
            "form with noise"
        )
    if isinstance(study.fusion, LateTable):
        faults += _late_faults(study)
    if study.data.missing != "refuse" and study.privacy is not None:
        faults.append("'data.missing' fills by sums without noise, which does not go with [privacy]")
    return faults


def _late_faults(study: StudyFile) -> list[str]:
    """What does not go with late fusion."""
    faults = []
    if len(study.modalities) < 2:
        faults.append("'fusion.type' = \"late\" needs two [[modalities]] or more")
    if (kind := study.model.__struct_config__.tag) != "logistic":
        faults.append(
            "'fusion.type' = \"late\" combines the log odds of two classes by logistic models, which "
            f"'model.type' = \"{kind}\" is not"
        )
    if study.training.validation is not None:
        faults.append("'training.validation' does not go with 'fusion.type' = \"late\": state 'rounds'")
    return faults
