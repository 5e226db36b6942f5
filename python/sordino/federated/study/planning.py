# SPDX-License-Identifier: Apache-2.0

"""What a study comes to before it runs, for its own unit of privacy and for the others beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, exp, floor, log
from pathlib import Path
from typing import TypeAlias, get_args

from msgspec.structs import replace

from sordino.errors import PolicyError, PrivacyError, TargetUnreachable
from sordino.federated.study.cohort import Cohort, examine_cohort
from sordino.federated.study.file import StudyFile, examine_study
from sordino.federated.study.prepared import Prepared, planned, training_patients
from sordino.privacy.planner import Plan, Rates, plan_study
from sordino.protocol.noise import Unit

_MOST_EPSILON = 100.0  # that a study file may ask for
_LEAST_PART = 0.1  # of the shares: less is no standardisation

Refused: TypeAlias = str
"""Why there is no plan."""


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study, and with [privacy] what the same study would come to for each unit.

    patients   about how many a training has
    units      by unit: its plan, at the same epsilon and delta, or why there is none
    """

    plan: Plan
    patients: float
    units: Mapping[Unit, Plan | Refused]


def plan_of(prepared: Prepared, rates: Rates | None = None) -> StudyPlan:
    """Plan a study that can run; with `rates` its times too."""
    study, cohort = prepared.study, prepared.cohort
    patients = training_patients(study, cohort)
    own = _plan(study, cohort, rates)
    if study.privacy is None:
        return StudyPlan(own, patients, {})
    units: dict[Unit, Plan | Refused] = {}
    for unit in get_args(Unit):
        if unit == study.privacy.unit:
            units[unit] = own
            continue
        try:
            units[unit] = _plan(_for_unit(study, unit), cohort, None)
        except (PolicyError, PrivacyError) as error:
            units[unit] = str(error)
    return StudyPlan(own, patients, units)


def within_reach(path: Path, data: Path | None = None) -> tuple[str, ...]:
    """Where a study's target cannot be met with any noise: what it would take, a line each; else nothing.

    The noise is planned anew for every value that is tried.
    """
    study, faults = examine_study(path)
    if study is None or faults or study.privacy is None:
        return ()
    cohort, faults = examine_cohort(study, path.parent, data)
    if cohort is None or faults or _reaches(study, cohort):
        return ()
    table = study.privacy

    def with_epsilon(logarithm: float) -> bool:
        return _reaches(replace(study, privacy=replace(table, epsilon=exp(logarithm))), cohort)

    def with_shares(part: float) -> bool:
        shares = replace(
            table,
            statistics_share=part * table.statistics_share,
            evaluation_share=part * table.evaluation_share,
        )
        return _reaches(replace(study, privacy=shares), cohort)

    lines = []
    if with_epsilon(log(_MOST_EPSILON)):
        epsilon = exp(_edge(log(_MOST_EPSILON), log(table.epsilon), with_epsilon))
        lines.append(
            f"epsilon {ceil(epsilon * 1000.0) / 1000.0:g} or more would be within reach, at delta "
            f"{table.delta:g}"
        )
    else:
        lines.append(f"no epsilon up to {_MOST_EPSILON:g} is within reach, at delta {table.delta:g}")
    if with_shares(_LEAST_PART):
        part = _edge(_LEAST_PART, 1.0, with_shares)
        told = [
            floor(part * share * 1000.0) / 1000.0
            for share in (table.statistics_share, table.evaluation_share)
        ]
        lines.append(
            "statistics_share {:g} and evaluation_share {:g} or less would be within reach".format(*told)
        )
    return tuple(lines)


def _plan(study: StudyFile, cohort: Cohort, rates: Rates | None) -> Plan:
    training, policy, private = planned(study, cohort)
    stages = training.stages()
    times = {stage.kind: number * study.repeats for stage, number in stages}
    everybody = sum(len(rows.target) for rows in cohort.sites.values())
    trained = training_patients(study, cohort)
    patients = dict.fromkeys(times, trained)
    if study.test is not None:
        named = 0 if study.test.ids is None else len(study.test.ids)
        kinds = [stage.kind for stage, _ in stages]
        for kind in kinds[kinds.index(training.trainer.kind) + 1 :]:
            patients[kind] = max(everybody - trained, named, 1.0)
    return plan_study(
        policy,
        times if private is None else private.times,
        study.site_names,
        delta=1e-5 if private is None else private.terms.delta,
        epsilon=None if private is None else private.terms.epsilon,
        training=training.trainer.kind,
        patients=patients,
        rates=rates,
    )


def _for_unit(study: StudyFile, unit: Unit) -> StudyFile:
    """The study for another unit, with what does not go with that left out."""
    if study.privacy is None:
        return study
    table = replace(study.privacy, unit=unit)
    training = study.training
    if unit == "patient":
        training = replace(training, local_steps=1)
    if unit == "patient-local":
        table = replace(table, target_quantile=None)
    if unit == "site":
        table = replace(table, sampling_rate=1.0)
    return replace(study, privacy=table, training=training)


def _reaches(study: StudyFile, cohort: Cohort) -> bool:
    try:
        planned(study, cohort)
    except TargetUnreachable:
        return False
    return True


def _edge(inside: float, outside: float, reached: Callable[[float], bool]) -> float:
    """A value that is reached, within a hundredth of one that is not."""
    while abs(outside - inside) > 0.01:
        middle = (inside + outside) / 2.0
        inside, outside = (middle, outside) if reached(middle) else (inside, middle)
    return inside
