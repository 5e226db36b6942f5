# SPDX-License-Identifier: Apache-2.0

"""Table [harmonise]: whose effects ComBat takes out of the features before training, and what it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from sordino.errors import ConfigError, InvalidArgument, PolicyError
from sordino.federated.harmonisation import Harmonisation
from sordino.federated.site import Origins
from sordino.federated.study.keys import Column, Columns, Label, Switch
from sordino.federated.study.table import SHOWN, Table
from sordino.statistics.combat.bayes import Variant
from sordino.statistics.combat.plan import CombatPlan
from sordino.statistics.combat.rows import NO_LABELS, Covariate

if TYPE_CHECKING:
    from sordino.federated.study.cohort import Patients
    from sordino.federated.study.file import StudyFile

SITE = "site"
"""In place of a column: every site is a batch."""

VARIANTS: Mapping[str, Variant] = {
    "parametric": Variant(),
    "location": Variant(location_only=True),
    "no_eb": Variant(empirical_bayes=False),
}


class HarmoniseTable(Struct, frozen=True, kw_only=True):
    """Table [harmonise]; docs/combat.md says what is computed and who learns what."""

    batch: Column = SITE
    covariates: Columns = []
    levels: Annotated[
        dict[str, list[Label]], Meta(description="a table of covariate = list of its labels")
    ] = {}
    variant: Annotated[
        Literal["parametric", "location", "no_eb"],
        Meta(description='"parametric", "location" or "no_eb"'),
    ] = "parametric"
    reference: Annotated[Label | None, Meta(description="the label of a batch")] = None
    discloses_reference: Switch = False
    discloses_patients: Switch = False

    @property
    def columns(self) -> tuple[str, ...]:
        """What every site's file has to have for it; none of them is a feature."""
        return (*(() if self.batch == SITE else (self.batch,)), *self.covariates)

    @property
    def coded(self) -> tuple[Covariate, ...]:
        """The covariates, those of classes with their levels."""
        return tuple(
            Covariate(name, tuple(str(level) for level in self.levels.get(name, ())))
            for name in self.covariates
        )

    @property
    def meaning(self) -> tuple[object, ...]:
        """What all sites must agree on."""
        covariates = tuple((one.name, one.levels) for one in self.coded)
        return ("harmonise", self.batch, covariates, self.variant, str(self.reference))


def origins_of(
    batch: str, covariates: tuple[Covariate, ...], site: str, table: Table, faults: list[str]
) -> Origins:
    """Batch and covariates of the patients of a file; `site` is the batch where no column is."""
    labels = [site] * len(table.rows) if batch == SITE else table.column(batch)
    missing = [line for line, label in zip(table.lines, labels, strict=True) if label in NO_LABELS]
    faults += [
        f"{table.path}: line {line}, column {batch!r}: the batch is missing" for line in missing[:SHOWN]
    ]
    columns = [np.zeros((len(labels), 0))]
    for one in covariates:
        if not one.levels:
            before = len(faults)
            columns.append(table.numbers([one.name], faults))
            if len(faults) > before:
                faults.append(f"if the covariate {one.name!r} is of classes, name them in 'harmonise.levels'")
            continue
        cells = table.column(one.name)
        wrong = [
            f"{table.path}: line {line}, column {one.name!r}: {cell!r} is none of 'harmonise.levels'"
            for line, cell in zip(table.lines, cells, strict=True)
            if cell not in one.levels
        ]
        faults += wrong[:SHOWN]
        if not wrong:
            columns.append(one.coded(cells, str(table.path)))
    return Origins(np.array(labels, dtype=np.str_), np.column_stack(columns))


def harmonisation_of(
    study: StudyFile, features: tuple[str, ...], sites: Mapping[str, Patients]
) -> Harmonisation | None:
    """The ComBat of a study, None without one. Raises `ConfigError` for what cannot be harmonised."""
    table, terms = study.harmonise, study.policy
    if table is None:
        return None
    held = {
        name: sorted(set(patients.origins.batches.tolist()))
        for name, patients in sites.items()
        if patients.origins is not None
    }
    try:
        plan = CombatPlan(
            columns=features,
            held=held,
            max_patients=terms.max_patients,
            covariates=table.coded,
            reference=None if table.reference is None else str(table.reference),
            discloses_reference=table.discloses_reference,
            policy_terms={
                "colluders": terms.colluders,
                "threshold": terms.threshold,
                "min_cohort": terms.min_cohort,
                "max_dropouts": terms.max_dropouts,
            },
        )
    except (InvalidArgument, PolicyError) as error:
        raise ConfigError(f"harmonise: {error}") from None
    return Harmonisation(plan, VARIANTS[table.variant])


def harmonise_faults(study: StudyFile) -> list[str]:
    """What is wrong with [harmonise] by itself."""
    table = study.harmonise
    if table is None:
        return []
    faults = []
    for name, times in Counter(table.columns).items():
        if times > 1:
            faults.append(f"'harmonise' names the column {name!r} twice")
        if isinstance(study.data.features, list) and name in study.data.features:
            faults.append(f"'harmonise' names {name!r}, which 'data.features' holds: it would adjust itself")
    outcome = {key for key in study.special if key not in ("data.id", "data.site_column")}
    for key, column in study.special.items():
        if column in table.covariates:
            why = "which new patients do not have yet" if key in outcome else "not a covariate"
            faults.append(f"'harmonise.covariates' names {column!r}, the column of {key!r}, {why}")
        if column == table.batch and key != "data.site_column":
            faults.append(f"'harmonise.batch' is {column!r}, the column of {key!r}")
    for name, levels in table.levels.items():
        if name not in table.covariates:
            faults.append(f"'harmonise.levels' names {name!r}, which is no covariate")
        if len({str(level) for level in levels}) < max(len(levels), 2):
            faults.append(f"'harmonise.levels.{name}' must name two labels or more, each once")
    if study.modalities:
        faults.append(
            "'harmonise' does not go with [[modalities]]: the sums of ComBat need every feature at every site"
        )
    if study.privacy is not None:
        faults.append(
            "'harmonise' does not go with [privacy]: a patient's adjusted features hang on everybody of the "
            "batch, so one patient moves the others' gradients too, which the noise does not hide"
        )
    return faults
