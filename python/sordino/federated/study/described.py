# SPDX-License-Identifier: Apache-2.0

"""The description of a study's features, from its own file and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from sordino.course.terms import PrivateTerms
from sordino.errors import ConfigError
from sordino.federated.study.cohort import read_features
from sordino.federated.study.file import StudyFile, read_study
from sordino.federated.study.privacy_table import range_faults
from sordino.statistics.describing import QUARTILES, describe
from sordino.statistics.description import Description
from sordino.statistics.feature_rows import feature_rows
from sordino.statistics.histogram import Grid


def describe_study(path: Path, data: Path | None = None) -> tuple[StudyFile, Description]:
    """The study, and what its sites' features look like together; missing cells are missing values.

    data  instead of the study's own: its one file, or the folder of its sites' files

    Raises `ConfigError` for what is wrong with the file or the rows, else what `describe` raises.
    """
    study = read_study(path)
    sites = feature_rows(read_features(study, path.parent, data))
    columns = next(iter(sites.values())).columns
    table, terms = study.description, study.policy
    for name, site in sites.items():
        if len(site.features) > terms.max_patients:
            raise ConfigError(
                f"{path}: site {name!r} has more than policy.max_patients = {terms.max_patients} rows"
            )
    return study, describe(
        sites,
        quantiles=QUARTILES if table.quantiles is None else table.quantiles,
        grid=_grid(path, study, columns),
        correlation=table.correlation,
        min_patients=table.min_patients,
        max_patients=terms.max_patients,
        across_rounds=terms.across_rounds,
        private=_terms(path, study, columns),
        colluders=terms.colluders,
        threshold=terms.threshold,
        min_cohort=terms.min_cohort,
        max_dropouts=terms.max_dropouts,
        consistency=terms.consistency,
        study=study.name,
    )


def _grid(path: Path, study: StudyFile, columns: tuple[str, ...]) -> Grid:
    table = study.description
    if not table.ranges:
        return table.bins
    if wrong := sorted(set(columns) ^ set(table.ranges)):
        which = "lacks the feature" if wrong[0] in columns else "names what is no feature:"
        raise ConfigError(f"{path}: 'description.ranges' {which} {wrong[0]!r}")
    return {name: np.linspace(*table.ranges[name], table.bins + 1).tolist() for name in columns}


def _terms(path: Path, study: StudyFile, columns: tuple[str, ...]) -> PrivateTerms | None:
    """Those of [privacy], with an epsilon of its own: a description's cost comes beside that of the run."""
    if study.privacy is None:
        return None
    if study.description.epsilon is None:
        raise ConfigError(f"{path}: with [privacy] a description has a price: set 'description.epsilon'")
    if faults := range_faults(study.privacy, columns):
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))
    own = replace(
        study.privacy,
        epsilon=study.description.epsilon,
        delta=study.description.delta or study.privacy.delta,
        spare_rounds=study.privacy.spare_rounds or 0,
    )
    return own.terms(1, columns)
