# SPDX-License-Identifier: Apache-2.0

"""The rows of every site of a study, read from its files and checked: all faults at once, by line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sordino.errors import ConfigError
from sordino.federated.site import Origins
from sordino.federated.study.extraction import (
    NO_FEATURES,
    common_extraction,
    extraction_faults,
    extraction_of,
    is_extracted,
)
from sordino.federated.study.file import StudyFile
from sordino.federated.study.harmonise_table import origins_of
from sordino.federated.study.modality_table import modalities_of, unplaced
from sordino.federated.study.schema import Schema
from sordino.federated.study.subgroup_table import memberships
from sordino.federated.study.table import SHOWN, Table, read_table
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import EVERYONE
from sordino.statistics.presence import has_values


@dataclass(frozen=True, repr=False)
class Patients:
    """One site's rows: ids, features float64 (patients, columns), target as `Outcome` has it.

    groups       the cells of [[subgroups]] that each is in, bool (patients, cells)
    modalities   those of which the site has values; where there are none, and where one is missing, is NaN
    origins      with [harmonise], batches and covariates
    """

    ids: tuple[str, ...]
    features: Matrix
    target: Vector
    groups: NDArray[np.bool_] | None = None
    modalities: frozenset[str] = frozenset()
    origins: Origins | None = None


@dataclass(frozen=True, repr=False)
class Cohort:
    """All sites' rows, each with the schema that its own file has, and what is worth a warning.

    modalities   by name, the features of those that some site lacks
    """

    schema: Schema
    sites: Mapping[str, Patients]
    schemas: Mapping[str, bytes]
    warnings: tuple[str, ...]
    modalities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """The lane group of each feature; empty where every site has all."""
        of = {column: name for name, columns in self.modalities.items() for column in columns}
        return tuple(of.get(feature, EVERYONE) for feature in self.schema.features) if of else ()


def read_cohort(study: StudyFile, folder: Path, data: Path | None = None) -> Cohort:
    """Read and check the rows of every site. Raises `ConfigError` with everything that is wrong.

    folder  what paths of the study file are relative to
    data    instead of the study's own: its one file, or the folder of its sites' files
    """
    cohort, faults = examine_cohort(study, folder, data)
    if cohort is None or faults:
        raise ConfigError("\n".join(faults))
    return cohort


def examine_cohort(
    study: StudyFile, folder: Path, data: Path | None = None
) -> tuple[Cohort | None, list[str]]:
    """The rows, if they can be read at all, and what is wrong with them: empty if they may be used."""
    faults: list[str] = []
    tables = _tables(study, folder, data, faults)
    if not tables:
        return None, faults
    features = _features(study, next(iter(tables.values())))
    # One file that all sites share is one header: faults of it are told once.
    for table in {table.path: table for table in tables.values()}.values():
        faults += _header_faults(study, features, table)
    faults += _exclude_faults(study, tables.values())
    if faults:
        return None, faults
    sites = {name: _patients(study, name, features, table, faults) for name, table in tables.items()}
    if faults:
        return None, faults
    faults += _overall_faults(study, sites)
    cells = tuple((part.column, part.cells) for part in study.subgroups)
    extracted = {name: extraction_of(table, faults) for name, table in tables.items()}
    faults += extraction_faults(study.data.extraction, extracted)
    extraction = study.data.extraction or common_extraction(extracted)
    harmonise = () if study.harmonise is None else study.harmonise.meaning
    schema = Schema(features, study.model.outcome.coding(study.data), extraction, cells, harmonise)
    schemas = {name: _own_schema(study, schema, table).digest for name, table in tables.items()}
    lacked = {
        table.name: tuple(table.columns)
        for table in study.modalities
        if any(table.name not in patients.modalities for patients in sites.values())
    }
    sites = {
        name: replace(patients, modalities=patients.modalities & lacked.keys())
        for name, patients in sites.items()
    }
    cohort = Cohort(schema, sites, schemas, tuple(_warnings(study, sites)), lacked)
    return cohort, faults + _presence_faults(study, cohort) + unplaced(study, features)


def read_features(
    study: StudyFile, folder: Path, data: Path | None = None
) -> dict[str, tuple[Matrix, tuple[str, ...]]]:
    """Every site's features and their names, NaN where a value is missing, a site's own columns only.

    Raises `ConfigError` with everything that is wrong; paths are those of `read_cohort`.
    """
    faults: list[str] = []
    tables = _tables(study, folder, data, faults)
    named = study.data.features if isinstance(study.data.features, list) else []
    headers = {name for table in tables.values() for name in table.header}
    if tables:
        faults += [f"no site has the column {name!r}" for name in named if name not in headers]
    faults += _exclude_faults(study, tables.values())
    found = {}
    for name, table in tables.items():
        columns = tuple(one for one in _features(study, table) if one in table.header)
        if not columns:
            faults.append(f"{table.path}: no column is left as a feature")
        found[name] = table.numbers(columns, faults, gaps=columns), columns
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def _tables(study: StudyFile, folder: Path, data: Path | None, faults: list[str]) -> dict[str, Table]:
    """One table a site, in the order of the study; without those that cannot be read."""
    if study.data.path is not None:
        whole = folder / study.data.path if data is None else data
        try:
            return _by_site(study, read_table(whole), faults)
        except ConfigError as error:
            faults.append(str(error))
            return {}
    tables = {}
    for site in study.sites:
        try:
            tables[site.name] = read_table((folder if data is None else data) / str(site.path))
        except ConfigError as error:
            faults.append(f"site {site.name!r}: {error}")
    return tables


def _by_site(study: StudyFile, table: Table, faults: list[str]) -> dict[str, Table]:
    column = study.data.site_column or study.data.id
    if column not in table.header:
        faults.append(_no_column(table, column))
        return {}
    members: dict[str, list[int]] = {site.name: [] for site in study.sites}
    strangers: Counter[str] = Counter()
    for place, cell in enumerate(table.column(column)):
        name = _site_of(study, cell)
        if name in members:
            members[name].append(place)
        else:
            strangers[f"{name!r}" if study.data.site_column else f"nobody: {cell!r}"] += 1
    for stranger, times in list(strangers.items())[:SHOWN]:
        faults.append(f"{table.path}: {times} rows belong to {stranger}, which is none of the sites")
    if len(strangers) > SHOWN:
        faults.append(
            f"{table.path}: {len(strangers) - SHOWN} more values of {column!r} name none of the sites"
        )
    faults += [f"{table.path}: no rows for site {name!r}" for name, places in members.items() if not places]
    return {name: table.take(places) for name, places in members.items() if places}


def _site_of(study: StudyFile, cell: str) -> str | None:
    if study.data.site_pattern is None:
        return cell
    found = re.search(study.data.site_pattern, cell)
    if found is None:
        return None
    return found.group(1) if found.re.groups else found.group(0)


def _features(study: StudyFile, table: Table) -> tuple[str, ...]:
    """The study's features, in its own order, or in the order of the first site's columns."""
    if isinstance(study.data.features, list):
        return tuple(study.data.features)
    taken = {*study.special.values(), *study.parting, *study.data.exclude}
    if is_extracted(table):
        taken |= NO_FEATURES
    known = dict.fromkeys((*table.header, *(name for block in study.modalities for name in block.columns)))
    return tuple(name for name in known if name not in taken)


def _lacked(study: StudyFile, table: Table) -> set[str]:
    """The columns of those modalities of which a file has none."""
    blocks = [block.columns for block in study.modalities if not set(block.columns) & set(table.header)]
    return {column for block in blocks for column in block}


def _header_faults(study: StudyFile, features: tuple[str, ...], table: Table) -> list[str]:
    own = [column for key, column in study.special.items() if key != "data.site_column"]
    wanted = dict.fromkeys((*own, *features, *study.parting))
    lacked = _lacked(study, table)
    missing = [name for name in wanted if name not in table.header and name not in lacked]
    faults = [_no_column(table, name) for name in missing[:SHOWN]]
    if len(missing) > SHOWN:
        faults.append(f"{table.path}: {len(missing) - SHOWN} more columns are missing")
    if study.data.features == "all others":
        known = {*wanted, *study.data.exclude, *(NO_FEATURES if is_extracted(table) else ())}
        unknown = [name for name in table.header if name not in known and name != study.data.site_column]
        faults += [f"{table.path}: column {name!r} is not in the other files" for name in unknown[:SHOWN]]
    if not features:
        faults.append(f"{table.path}: no column is left as a feature")
    return faults


def _exclude_faults(study: StudyFile, tables: Iterable[Table]) -> list[str]:
    """An excluded column that no file has is a slip, by which another column would stay a feature."""
    names = {name for table in tables for name in table.header}
    unknown = sorted(set(study.data.exclude) - names)
    return [f"'data.exclude' names {name!r}, a column that no site has" for name in unknown[:SHOWN]]


def _no_column(table: Table, name: str) -> str:
    same = [given for given in table.header if given.lower() == name.lower()]
    return f"{table.path}: no column {name!r}" + (f"; did you mean {same[0]!r}?" if same else "")


def _own_schema(study: StudyFile, common: Schema, table: Table) -> Schema:
    """The schema of a site's own file: the columns may stand in any order, but must be the same."""
    own = (
        set(_features(study, table))
        if isinstance(study.data.features, list)
        else {*_features(study, table), *_lacked(study, table)}
    )
    ordered = [name for name in common.features if name in own]
    return replace(
        common, extraction=extraction_of(table, []), features=(*ordered, *sorted(own - set(ordered)))
    )


def _patients(
    study: StudyFile, name: str, features: tuple[str, ...], table: Table, faults: list[str]
) -> Patients:
    ids = table.column(study.data.id)
    twice = [patient for patient, times in Counter(ids).items() if times > 1 or not patient]
    for patient in twice[:SHOWN]:
        lines = ", ".join(str(table.lines[at]) for at, one in enumerate(ids) if one == patient)
        what = f"the id {patient!r} occurs more than once" if patient else "the id is missing"
        faults.append(f"{table.path}: {what}: lines {lines}")
    if len(twice) > SHOWN:
        faults.append(f"{table.path}: {len(twice) - SHOWN} more ids occur more than once")
    target = study.model.outcome.read(study.data, table, faults)
    values = table.numbers(features, faults, gaps=_gaps(study, features, table))
    origins = None
    if (combat := study.harmonise) is not None:
        origins = origins_of(combat.batch, combat.coded, name, table, faults)
    if len(ids) > study.policy.max_patients:
        faults.append(
            f"{table.path}: a site has more than policy.max_patients = {study.policy.max_patients} rows"
        )
    return Patients(
        tuple(ids),
        values,
        target,
        memberships(study.subgroups, table),
        modalities_of(study, features, values),
        origins,
    )


def _gaps(study: StudyFile, features: tuple[str, ...], table: Table) -> set[str]:
    """The features of which a site's values may be missing: any of them, or whole modalities."""
    if study.data.missing != "refuse":
        return set(features)
    if not study.modalities:
        return set()
    has = modalities_of(study, features, table.numbers(features, [], gaps=features))
    return {name for block in study.modalities if block.name not in has for name in block.columns}


def _presence_faults(study: StudyFile, cohort: Cohort) -> list[str]:
    """A feature of which too few sites have a value would show those."""
    least = study.policy.min_cohort or 3
    holders = np.sum([has_values(patients.features) for patients in cohort.sites.values()], axis=0)
    few = [
        (name, int(number))
        for name, number in zip(cohort.schema.features, holders, strict=True)
        if number < least
    ]
    return [
        f"the feature {name!r} has values at {number} sites, {least} are needed: leave it out"
        for name, number in few[:SHOWN]
    ]


def _overall_faults(study: StudyFile, sites: Mapping[str, Patients]) -> list[str]:
    targets = np.concatenate([patients.target for patients in sites.values()])
    faults = study.model.outcome.overall_faults(study.data, targets)
    if study.test is not None and study.test.ids is not None:
        everyone = {one for patients in sites.values() for one in patients.ids}
        unknown = [str(one) for one in study.test.ids if str(one) not in everyone]
        faults += [f"'test.ids' names {one!r}, which no site has" for one in unknown[:SHOWN]]
        if len(unknown) > SHOWN:
            faults.append(f"'test.ids' names {len(unknown) - SHOWN} more ids that no site has")
        chosen = {str(one) for one in study.test.ids}
        for name, patients in sites.items():
            if chosen.issuperset(patients.ids):
                faults.append(f"'test.ids' leaves site {name!r} without a patient to train on")
    return faults


def _warnings(study: StudyFile, sites: Mapping[str, Patients]) -> list[str]:
    warnings = [
        f"site {name!r} {doubt}"
        for name, patients in sites.items()
        if (doubt := study.model.outcome.doubt(patients.target))
    ]
    times = Counter(one for patients in sites.values() for one in patients.ids)
    if shared := [one for one, count in times.items() if count > 1]:
        warnings.append(
            f"{len(shared)} ids occur at more than one site, such as {shared[0]!r}: right if every site "
            "numbers its own patients, wrong if one patient is counted twice"
        )
    return warnings
