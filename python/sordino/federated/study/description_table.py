# SPDX-License-Identifier: Apache-2.0

"""Table [description]: what `sordino describe` tells of the features; docs/statistics.md says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from sordino.federated.study.keys import Count, Switch

if TYPE_CHECKING:
    from sordino.federated.study.file import StudyFile

Part = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]


class DescriptionTable(Struct, frozen=True, kw_only=True):
    """Table [description]; all of it may be left out, but `epsilon` where there is [privacy]."""

    bins: Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100,000")] = 64
    ranges: Annotated[
        dict[str, tuple[float, float]],
        Meta(description="a table of feature = [low, high]"),
    ] = {}
    quantiles: Annotated[list[Part], Meta(description="a list of numbers from 0 to 1")] | None = None
    correlation: Switch = False
    min_patients: Count = 5
    epsilon: Annotated[float, Meta(ge=1e-3, le=100, description="a number from 0.001 to 100")] | None = None
    delta: Annotated[float, Meta(ge=1e-15, le=1e-2, description="a number from 1e-15 to 0.01")] | None = None


def description_faults(study: StudyFile) -> list[str]:
    """What of [description] does not go together with itself or with [privacy]."""
    table = study.description
    faults = [
        f"'description.ranges.{name}' is [{low}, {high}], allowed is a lower and a higher number"
        for name, (low, high) in table.ranges.items()
        if not -1e300 < low < high < 1e300
    ]
    if study.privacy is None:
        faults += [
            f"'description.{key}' goes with [privacy] only"
            for key in ("epsilon", "delta")
            if getattr(table, key) is not None
        ]
    return faults
