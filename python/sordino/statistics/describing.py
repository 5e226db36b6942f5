# SPDX-License-Identifier: Apache-2.0

"""`describe`: what the features of all sites together look like, by secure sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from sordino.aggregation.base import Aggregate, Aggregator, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.follow import Event, Summed, follow
from sordino.course.simulated import Summing, summing
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument
from sordino.privacy.accountant import Guarantee
from sordino.privacy.charge import read_charge
from sordino.privacy.cost import cost
from sordino.privacy.events import Release
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.policy import AcrossRounds
from sordino.statistics.description import Description, noised, told
from sordino.statistics.feature_rows import SiteData, feature_rows
from sordino.statistics.histogram import Grid, grid_edges
from sordino.statistics.survey import MAX_LANES, Survey

QUARTILES = (0.25, 0.5, 0.75)
MIN_PATIENTS = 5

Losses: TypeAlias = Mapping[str, Mapping[str, Step]]
"""Simulated losses: kind of sum -> site -> the first message that it no longer sends."""


def describe(
    sites: Mapping[str, SiteData],
    *,
    aggregator: Summing | Aggregator = "masked",
    quantiles: Iterable[float] = QUARTILES,
    grid: Grid | None = 64,
    correlation: bool = False,
    min_patients: int = MIN_PATIENTS,
    max_patients: int | None = None,
    max_lanes: int = MAX_LANES,
    across_rounds: AcrossRounds | None = None,
    private: PrivateTerms | None = None,
    directory: Path | None = None,
    lose: Losses | None = None,
    **terms: Any,
) -> Description:
    """Describe the features of all sites by four secure sums, in this process.

    sites          by name, three at least. A site that lacks a column has no value of it; columns come in the
                   order in which the sites, sorted, have them
    aggregator     "masked", "plain" for sums in the clear, for comparison, what makes one of a policy and the
                   sites' names, or one whose policy plans `Survey(...).questions()`
    quantiles      parts, from 0 to 1; they need a grid
    grid           edges of the histograms' bins, for all features or by name; a number of bins around the
                   public centre; or None for no histograms, quantiles and bounds
    correlation    whether every pair of features is correlated, 3 columns^2 numbers
    min_patients   k: neighbouring bins with fewer are merged, features with fewer withheld
    max_patients   public bound on the patients of a site; None for the next power of two above the largest,
                   which tells of the rows and so does not go with noise
    max_lanes      the most numbers that a site may have to hold for a sum: with noise a row for each patient
    across_rounds  "freeze", all sums over the same survivors, which is the default without noise; "accept",
                   each over its own, see docs/statistics.md
    private        terms of a private description: every sum is noised and charged, and a budget of this
                   epsilon and delta refuses what would pass it
    directory      where the simulated sites keep their keys and journals, so that budgets outlive this call
    lose           simulated losses, by kind of sum: "presence", "exponents", "centres", "description";
                   with noise "magnitudes", "private_means", "spreads", "description"
    terms          of the policy, as in `plan_policy`: `min_cohort`, `colluders` and so on

    Raises `InvalidArgument` (a ValueError) for what cannot be described, `PolicyError` for sums that are too
    large, before anything is sent, and `RoundAborted` where too few sites survive or a budget is spent.
    """
    rows = feature_rows(sites)
    columns = next(iter(rows.values())).columns
    parts = tuple(float(part) for part in quantiles) if grid is not None else ()
    if wrong := [part for part in parts if not 0.0 <= part <= 1.0]:
        raise InvalidArgument(f"quantiles must be from 0 to 1, got {wrong[0]}")
    if min_patients < 1:
        raise InvalidArgument(f"min_patients must be 1 at least, got {min_patients}")
    largest = max(len(one.features) for one in rows.values())
    if max_patients is None and private is not None:
        raise InvalidArgument("a private description needs max_patients: a bound from the rows tells of them")
    if max_patients is not None and largest > max_patients and private is None:
        raise InvalidArgument(f"a site has {largest} patients, max_patients allows {max_patients}")
    survey = Survey(
        columns=len(columns),
        sites=len(rows),
        max_patients=1 << (largest - 1).bit_length() if max_patients is None else max_patients,
        edges=None if grid is None else grid_edges(grid, columns),
        correlation=correlation,
        max_lanes=max_lanes,
        private=private,
    )
    if private is not None:
        survey.check_size(
            survey.max_patients
        )  # a row of all numbers for each; the public bound tells nothing
    if unknown := sorted(set(lose or {}) - {stage.kind for stage in survey.stages()}):
        kinds = [stage.kind for stage in survey.stages()]
        raise InvalidArgument(f"lose names the sum {unknown[0]!r}, the sums are {kinds}")

    sums: dict[str, Aggregate] = {}

    def note(event: Event) -> None:
        if isinstance(event, Summed):
            sums[event.turn.stage.kind] = event.total

    def losses(kind: str, _number: int) -> Mapping[str, Step]:
        return (lose or {}).get(kind, {})

    def described(aggregator: Aggregator) -> Description:
        noise = {one.kind: one.noise for one in aggregator.policy.plan if one.noise is not None}
        ready = replace(survey, least_sites=aggregator.policy.min_cohort, noise=noise)
        state = follow(ready.turns(), aggregator, rows, ready.initial(), lose=losses, keep=False, notify=note)
        if private is None:
            return told(ready, state, sums, columns, parts, min_patients)
        return noised(ready, state, sums, columns, parts, spent(aggregator, private.delta))

    if isinstance(aggregator, Aggregator):
        return described(aggregator)
    with _sums(aggregator, survey, across_rounds, tuple(rows), directory, terms) as made:
        return described(made)


def spent(aggregator: Aggregator, delta: float) -> Guarantee | None:
    """What the site that was charged most has spent, from its own journal; None where there are none."""
    if not isinstance(aggregator, MaskedAggregator):
        return None
    costs = []
    for charged in aggregator.charges.values():
        released: Counter[Release] = Counter()
        for price, times in charged.items():
            released[read_charge(price).release] += times
        costs.append(cost(released, delta))
    return max(costs, key=lambda guarantee: guarantee.epsilon)


def _sums(
    how: Summing,
    survey: Survey,
    across_rounds: AcrossRounds | None,
    names: tuple[str, ...],
    directory: Path | None,
    terms: Mapping[str, Any],
) -> Aggregator:
    if survey.private is None:
        policy = survey.policy(across_rounds=across_rounds or "freeze", **terms)
        if how == "masked":
            return MaskedAggregator(policy, names, directory=directory)
        return summing(how, policy, names)
    planned = survey.planned(**terms)
    if how == "plain":
        raise InvalidArgument("a private description needs masked sums: plain ones have no noise")
    if how != "masked":
        return summing(how, planned.policy, names)

    def guard(_: str) -> BudgetGuard:
        return BudgetGuard(planned.budget)

    return MaskedAggregator(planned.policy, names, directory=directory, guard=guard)
