# SPDX-License-Identifier: Apache-2.0

"""`harmonise`: ComBat over sites that keep their rows, and its use on patients who come later."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sordino.aggregation.base import Aggregate, Aggregator, Step
from sordino.course.arrays import Arrays
from sordino.course.follow import Event, Summed, course, follow
from sordino.course.simulated import summing
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, PolicyError
from sordino.models.model import Matrix
from sordino.privacy.accountant import Guarantee
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.policy import AcrossRounds, Policy
from sordino.statistics.combat.adjustment import Adjustment, Effects
from sordino.statistics.combat.bayes import Variant
from sordino.statistics.combat.plan import CombatPlan
from sordino.statistics.combat.rows import NO_LABELS, BatchRows, Covariate, Layout, SplitBatchWarning
from sordino.statistics.describing import Losses, spent


@dataclass(frozen=True, repr=False)
class Harmonised:
    """Harmonised features, and what is needed to harmonise more.

    adjusted     site -> float64 of the shape of its features; all of it stays at the site
    effects      site -> batch -> its effect, which stays there unless the batch is shared
    adjustment   the common estimates, which everybody knows
    plan         the public terms, levels of the covariates filled in
    sums         every sum that was made, by kind; the estimates are of the survivors of "combat"
    policy       the terms of the sums
    privacy      with noise: what the site that was charged most has spent, from its own journal
    """

    adjusted: Mapping[str, Matrix]
    effects: Mapping[str, Effects]
    adjustment: Adjustment
    plan: CombatPlan
    sums: Mapping[str, Aggregate]
    policy: Policy
    privacy: Guarantee | None = None

    @property
    def constant(self) -> tuple[str, ...]:
        """Features that do not vary within the batches: they are left as they are."""
        return tuple(
            self.plan.columns[place] for place in np.flatnonzero(self.adjustment.state["sigma"] == 0.0)
        )

    def adjust(
        self,
        site: str,
        features: ArrayLike,
        *,
        batch: ArrayLike | None = None,
        covariates: Mapping[str, ArrayLike] | None = None,
    ) -> Matrix:
        """Other patients of a site, by the estimates as they are; `batch` is the site unless it is given.

        Raises `InvalidArgument` for a batch that the fit did not see at this site.
        """
        if site not in self.effects:
            raise InvalidArgument(f"site {site!r} was not in the fit, only {sorted(self.effects)}")
        labels = np.full(len(np.asarray(features)), site) if batch is None else batch
        rows = BatchRows.of(site, features, labels, covariates or {}, self.plan.covariates, self.plan.columns)
        return self.adjustment.adjusted(rows, self.effects[site])

    def __repr__(self) -> str:
        return f"Harmonised({len(self.adjusted)} sites, {len(self.plan.columns)} features)"


def harmonise(
    sites: Mapping[str, ArrayLike],
    *,
    batch: Mapping[str, ArrayLike] | None = None,
    covariates: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    columns: Sequence[str] | None = None,
    empirical_bayes: bool = True,
    location_only: bool = False,
    reference: str | None = None,
    discloses_reference: bool = False,
    tolerance: float = 1e-4,
    aggregator: Literal["masked", "plain"] | Aggregator = "masked",
    across_rounds: AcrossRounds = "freeze",
    max_patients: int | None = None,
    discloses_patients: bool = False,
    private: PrivateTerms | None = None,
    directory: Path | None = None,
    lose: Losses | None = None,
    **policy_terms: Any,
) -> Harmonised:
    """Take the batches' effects out of the sites' features; all sites live in this process.

    sites          site -> features, (patients, columns), NaN where a value is missing
    batch          site -> the scanner of each patient; by default the site is the batch
    covariates     site -> covariate -> value of each patient: what is preserved
    levels         covariate -> its classes, the first the base; by default those of a covariate of texts are
                   taken from all rows, which real sites would agree on beforehand
    columns        names of the features, for messages
    empirical_bayes, location_only, tolerance   see `Variant`
    reference      the batch that the others are made like
    discloses_reference   whether a reference that one site alone has may tell its means and variances
    aggregator     "masked", "plain" for sums in the clear, for comparison, or one whose policy plans the
                   questions of `CombatPlan`, with its lane groups
    across_rounds  "freeze" or "accept", see `sordino.protocol.policy.Policy`
    max_patients   public bound on the patients of a site; None for the next power of two above the largest,
                   which tells of the rows and so does not go with noise
    discloses_patients   whether values may be missing beside covariates: features that differ in a single
                   patient then show that patient's covariates
    private        noise the sums at this cost; without covariates and reference, see docs/combat.md
    directory      where the simulated sites keep their keys and journals, so that budgets outlive this call
    lose           sites that vanish: kind of sum -> site -> the first message that it does not send
    policy_terms   as in `plan_policy`

    Warns with `SplitBatchWarning` for a batch that too few sites share, and with `UserWarning` for one with
    one member. Raises `InvalidArgument`, `ValueOutOfRange` and `PolicyError` for what cannot be harmonised,
    and `RoundAborted` where too few sites survive.
    """
    rows, coded = _rows(sites, batch, covariates, levels, columns)
    if max_patients is None and private is not None:
        raise InvalidArgument(
            "a private harmonisation needs max_patients: a bound from the rows tells of them"
        )
    largest = max(len(one.features) for one in rows.values())
    plan = CombatPlan(
        columns=next(iter(rows.values())).columns,
        held={name: sorted(set(one.batches.tolist())) for name, one in rows.items()},
        max_patients=1 << (largest - 1).bit_length() if max_patients is None else max_patients,
        covariates=coded,
        reference=reference,
        discloses_reference=discloses_reference,
        private=private,
        policy_terms=policy_terms,
    )
    check_missing(rows, plan, discloses_patients=discloses_patients)
    kinds = [stage.kind for stage in plan.stages()]
    if unknown := sorted(set(lose or {}) - set(kinds)):
        raise InvalidArgument(f"lose names the sum {unknown[0]!r}, the sums are {kinds}")
    sums: dict[str, Aggregate] = {}

    def note(event: Event) -> None:
        if isinstance(event, Summed):
            sums[event.turn.stage.kind] = event.total

    def losses(kind: str, _number: int) -> Mapping[str, Step]:
        return (lose or {}).get(kind, {})

    given = nullcontext(aggregator) if isinstance(aggregator, Aggregator) else None
    with given or _sums(aggregator, plan, across_rounds, directory) as adder:
        noise = {one.kind: one.noise for one in adder.policy.plan if one.noise is not None}
        turns = course(*((stage, 1) for stage in plan.stages(noise)))
        state = follow(turns, adder, rows, plan.initial(), lose=losses, keep=False, notify=note)
        privacy = None if private is None else spent(adder, private.delta)
    variant = Variant(empirical_bayes, location_only, tolerance)
    adjustment = Adjustment(_common(state, len(plan.columns)), plan.layout, variant, reference)
    shared = adjustment.shared_effects()
    effects = {
        name: {label: shared[label] for label in plan.held[name] if label in shared}
        | adjustment.own_effects(one)
        for name, one in rows.items()
    }
    _warn(plan.layout, effects)
    adjusted = {name: adjustment.adjusted(one, effects[name]) for name, one in rows.items()}
    return Harmonised(adjusted, effects, adjustment, plan, sums, adder.policy, privacy)


def _rows(
    sites: Mapping[str, ArrayLike],
    batch: Mapping[str, ArrayLike] | None,
    covariates: Mapping[str, Mapping[str, ArrayLike]] | None,
    levels: Mapping[str, Sequence[str]] | None,
    columns: Sequence[str] | None,
) -> tuple[dict[str, BatchRows], tuple[Covariate, ...]]:
    if not sites:
        raise InvalidArgument("there are no sites")
    for what, given in (("batch", batch), ("covariates", covariates)):
        if given is not None and set(given) != set(sites):
            raise InvalidArgument(f"{what} must name the sites {sorted(sites)}, got {sorted(given)}")
    first = min(sites)
    asked = tuple((covariates or {first: {}})[first])
    known = dict(levels or {})
    if unknown := sorted(set(known) - set(asked)):
        raise InvalidArgument(f"levels names the covariate {unknown[0]!r}, there are {list(asked)}")
    for name in asked:
        values = [np.asarray((covariates or {})[site].get(name, [])) for site in sorted(sites)]
        if name not in known and any(one.dtype.kind in "OUS" for one in values):
            known[name] = sorted({str(one) for each in values for one in each.ravel().tolist()} - NO_LABELS)
    coded = tuple(Covariate(name, tuple(map(str, known.get(name, ())))) for name in asked)
    width = np.shape(sites[first])[1:] or (0,)
    names = tuple(map(str, range(width[0]))) if columns is None else tuple(columns)
    rows = {
        str(name): BatchRows.of(
            str(name),
            sites[name],
            np.full(len(np.asarray(sites[name])), name) if batch is None else batch[name],
            (covariates or {}).get(name, {}),
            coded,
            names,
        )
        for name in sorted(sites)
    }
    return rows, coded


def check_missing(rows: Mapping[str, BatchRows], plan: CombatPlan, *, discloses_patients: bool) -> None:
    """Raise `PolicyError` or `InvalidArgument` for missing values that the sums cannot have or hide."""
    for name, one in rows.items():
        if not np.isnan(one.features).any():
            continue
        if plan.private is not None:
            raise InvalidArgument(f"site {name!r} has missing values: with noise, impute them first")
        if plan.covariates and not discloses_patients:
            raise PolicyError(
                f"site {name!r} has missing values beside covariates: sums of two features that differ in "
                "one patient would show that patient's covariates; impute first, or allow it by "
                "discloses_patients=True"
            )


def _common(state: Arrays, columns: int) -> Arrays:
    """The common estimates; those of a noised scaling are a centre and a spread, and nothing more."""
    if "alpha" in state:
        return state
    return {
        "centre": state["mean"],
        "spread": state["scale"],
        "alpha": np.zeros(columns),
        "sigma": np.ones(columns),
        "beta": np.zeros(0),
    }


def _warn(layout: Layout, effects: Mapping[str, Effects]) -> None:
    if layout.split:
        warnings.warn(
            f"the batches {list(layout.split)} stand at several sites, too few for a sum of their own: each "
            "site's part is harmonised as a batch by itself",
            SplitBatchWarning,
            stacklevel=3,
        )
    for site, own in effects.items():
        for label, effect in own.items():
            if effect.one_member:
                warnings.warn(
                    f"batch {label!r} (site {site!r}) has one member, so no variance: only its location is "
                    "harmonised",
                    UserWarning,
                    stacklevel=3,
                )


def _sums(kind: object, plan: CombatPlan, across_rounds: AcrossRounds, directory: Path | None) -> Aggregator:
    if kind not in ("masked", "plain"):
        raise InvalidArgument(f'aggregator must be "masked", "plain" or an Aggregator, got {kind!r}')
    names = tuple(plan.held)
    if plan.private is None:
        policy, groups = plan.policy(across_rounds), plan.layout.groups
        return summing(kind, policy, names, groups=groups, directory=directory)
    if kind == "plain":
        raise InvalidArgument("a private harmonisation needs masked sums: plain ones have no noise")
    planned = plan.planned()
    return summing(
        kind, planned.policy, names, directory=directory, guard=lambda _: BudgetGuard(planned.budget)
    )
