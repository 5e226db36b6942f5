# SPDX-License-Identifier: Apache-2.0

"""ComBat tried in the clear before a study runs: what is wrong with its rows, which a simulation can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sordino.course.follow import course, follow
from sordino.course.simulated import summing
from sordino.errors import SordinoError
from sordino.federated.harmonisation import Harmonisation, batch_rows
from sordino.federated.site import Site
from sordino.statistics.combat.harmonise import check_missing

if TYPE_CHECKING:
    from sordino.federated.study.prepared import Prepared


def try_harmonisation(prepared: Prepared) -> tuple[list[str], list[str]]:
    """What is wrong with [harmonise] over these rows, and what is doubtful; nothing without the table."""
    combat, table = prepared.training.harmonisation, prepared.study.harmonise
    if combat is None or table is None:
        return [], []
    layout = combat.plan.layout
    # By site and batch the fewest patients to train on, and the repeat that has so few.
    fewest: dict[tuple[str, str], tuple[int, int]] = {}
    for repeat in range(prepared.study.repeats):
        for name, site in prepared.sites(repeat).items():
            trained = Counter(site.origins["features"].batches.tolist())
            for label in layout.held[name]:
                now = (trained[label], repeat + 1)
                fewest[name, label] = min(now, fewest.get((name, label), now))
    faults = [
        f"site {name!r} has nobody of batch {label!r} to train on in repeat {repeat}, so those held out "
        "cannot be adjusted: hold out fewer, or others"
        for (name, label), (patients, repeat) in sorted(fewest.items())
        if not patients
    ]
    if faults:
        return faults, []
    doubts = [
        f"batch {label!r} of site {name!r} has one patient to train on, so no variance: only its location is "
        "harmonised"
        for (name, label), (patients, _) in sorted(fewest.items())
        if patients == 1 and label not in layout.shared
    ]
    if layout.split:
        doubts.append(
            f"the batches {list(layout.split)} stand at several sites, too few for a sum of their own: each "
            "site's part is harmonised as a batch by itself"
        )
    sites = prepared.sites(0)
    try:
        rows = {name: batch_rows(site) for name, site in sites.items()}
        check_missing(rows, combat.plan, discloses_patients=table.discloses_patients)
        _try(prepared, combat, sites)
    except SordinoError as error:
        return [str(error)], doubts
    return [], doubts


def _try(prepared: Prepared, combat: Harmonisation, sites: Mapping[str, Site]) -> None:
    names = prepared.study.site_names
    with summing("plain", prepared.policy, names, groups=prepared.groups) as aggregator:
        turns = course(*((stage, 1) for stage in combat.stages()))
        state = follow(turns, aggregator, sites, {}, keep=False)
    for site in sites.values():
        combat.adjusted(site, state)
