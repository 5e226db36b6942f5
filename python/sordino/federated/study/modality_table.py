"""Tables [[modalities]]: blocks of features that a site has all of, or nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from sordino.federated.study.keys import Columns, PlainName
from sordino.models.model import Matrix
from sordino.protocol.policy import EVERYONE
from sordino.statistics.presence import has_values

if TYPE_CHECKING:
    from sordino.federated.study.file import StudyFile


class ModalityTable(Struct, frozen=True, kw_only=True):
    """One [[modalities]]: its name, and its columns."""

    name: PlainName
    columns: Columns


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
        faults.append("'modalities' do not go with [privacy]")
    if study.data.missing != "refuse" and study.privacy is not None:
        faults.append("'data.missing' fills by sums without noise, which does not go with [privacy]")
    return faults
