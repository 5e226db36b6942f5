# SPDX-License-Identifier: Apache-2.0

"""Features that `sordino extract` wrote: every row says by which settings, the same at all sites."""

from __future__ import annotations

from collections.abc import Mapping

from sordino.federated.study.table import Table

PROVENANCE = frozenset({"scan", "settings", "software"})
"""The columns that tell a table of `sordino extract`."""

NO_FEATURES = PROVENANCE | {"patient", "lesion"}
"""Columns of such a table that are none of its features."""


def is_extracted(table: Table) -> bool:
    """Whether `sordino extract` wrote the table."""
    return set(table.header) >= PROVENANCE


def extraction_of(table: Table, faults: list[str]) -> str:
    """The settings hash that the rows carry, empty where the features come from elsewhere.

    Rows that were extracted differently go to `faults`.
    """
    if not is_extracted(table):
        return ""
    found = dict(zip(table.column("settings"), table.lines, strict=True))
    if len(found) > 1:
        several = ", ".join(f"{one or 'none'} (line {line})" for one, line in sorted(found.items()))
        faults.append(f"{table.path}: its rows were extracted with different settings: {several}")
    return next(iter(found))


def extraction_faults(wanted: str | None, found: Mapping[str, str]) -> list[str]:
    """Which sites extracted differently from the study, or from most of the others.

    wanted   the hash that the study file states, if it does
    found    by site, the hash of its rows
    """
    if not any(found.values()) and not wanted:
        return []
    common = wanted or common_extraction(found)
    what = "the study" if wanted else "most sites"
    return [
        f"site {name!r} has features of other settings or software than {what}: {own or 'none are told'}, "
        f"not {common}; extract again by the same settings (sordino extract --settings)"
        for name, own in found.items()
        if own != common
    ]


def common_extraction(found: Mapping[str, str]) -> str:
    """The hash that most sites have, the first of them where several are as frequent."""
    hashes = [one for one in found.values() if one]
    return max(hashes, key=hashes.count, default="")
