"""`harmonise`: ComBat over sites that keep their rows, and its use on patients who come later."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from sordino.aggregation.base import Aggregate, Aggregator, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.answer import Answering
from sordino.course.arrays import Arrays
from sordino.course.follow import Event, Summed, Turn, course, follow
from sordino.course.noise import Demand, NoisePlanned, plan_noise
from sordino.course.stage import Stage
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, PolicyError
from sordino.models.model import Matrix
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.noise import Noise
from sordino.protocol.policy import AcrossRounds, Block, Policy, Question, plan_policy
from sordino.statistics.combat.adjustment import Adjustment, Effects
from sordino.statistics.combat.bayes import Variant
from sordino.statistics.combat.rows import BatchRows, Covariate, Layout, SplitBatchWarning
from sordino.statistics.combat.stages import (
    CombatCentres,
    CombatMoments,
    CombatReference,
    CombatUnits,
)
from sordino.statistics.noised_scaling import Magnitudes, PrivateMeans, Spreads

Losses: TypeAlias = Mapping[str, Mapping[str, Step]]
"""Simulated losses: kind of sum -> site -> the first message that it no longer sends."""


@dataclass(frozen=True, repr=False)
class Harmonised:
    """Harmonised features, and what is needed to harmonise more.

    adjusted     site -> float64 of the shape of its features; all of it stays at the site
    effects      site -> batch -> its effect, which stays there unless the batch is shared
    adjustment   the common estimates, which everybody knows
    covariates   what was preserved, levels filled in
    columns      names of the features
    sums         every sum that was made, by kind; the estimates are of the survivors of "combat"
    policy       the terms of the sums
    epsilon      with privacy: what all sums together cost at most, at the delta of the terms
    """

    adjusted: Mapping[str, Matrix]
    effects: Mapping[str, Effects]
    adjustment: Adjustment
    covariates: tuple[Covariate, ...]
    columns: tuple[str, ...]
    sums: Mapping[str, Aggregate]
    policy: Policy
    epsilon: float | None = None

    @property
    def constant(self) -> tuple[str, ...]:
        """Features that do not vary within the batches: they are left as they are."""
        return tuple(self.columns[place] for place in np.flatnonzero(self.adjustment.state["sigma"] == 0.0))

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
        rows = BatchRows.of(site, features, labels, covariates or {}, self.covariates, self.columns)
        return self.adjustment.adjusted(rows, self.effects[site])

    def __repr__(self) -> str:
        return f"Harmonised({len(self.adjusted)} sites, {len(self.columns)} features)"


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
    aggregator: Literal["masked", "plain"] | Callable[..., Aggregator] = "masked",
    across_rounds: AcrossRounds = "freeze",
    max_patients: int | None = None,
    private: PrivateTerms | None = None,
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
    aggregator     "masked", "plain", or what makes an `Aggregator` of (policy, sites, groups=...)
    across_rounds  "freeze" or "accept", see `sordino.protocol.policy.Policy`
    max_patients   public bound on the patients of a site; None for the number of all rows
    private        noise the sums at this cost; without covariates and reference, see docs/combat.md
    lose           sites that vanish: kind of sum -> site -> the first message that it does not send
    policy_terms   as in `plan_policy`

    Warns with `SplitBatchWarning` for a batch that too few sites share, and with `UserWarning` for one with
    one member. Raises `InvalidArgument`, `ValueOutOfRange` and `PolicyError` for what cannot be harmonised,
    and `RoundAborted` where too few sites survive.
    """
    rows, coded = _rows(sites, batch, covariates, levels, columns)
    held = {name: sorted(set(one.batches.tolist())) for name, one in rows.items()}
    names = next(iter(rows.values())).columns
    most = sum(len(one.features) for one in rows.values()) if max_patients is None else max_patients
    terms = {"study": "combat", "sites": len(rows), "rounds": 20, **policy_terms}
    trial = Question("trial", (Block("lane", 1, 1.0, 0),))
    layout = Layout.of(held, plan_policy(plan=[trial], across_rounds="accept", **terms).min_cohort)
    if private is not None:  # what is shared would be sums of a few patients, each with all the noise
        several = {label for label in _labels(held) if sum(label in own for own in held.values()) > 1}
        layout = Layout(held, (), tuple(sorted(several)))
    _check(layout, reference, discloses=discloses_reference)
    variant = Variant(empirical_bayes, location_only, tolerance)
    sums: dict[str, Aggregate] = {}

    def note(event: Event) -> None:
        if isinstance(event, Summed):
            sums[event.turn.stage.kind] = event.total

    epsilon: float | None = None
    state: Arrays = {}
    given: dict[str, Any] = {}
    if private is not None:
        _check_private(rows, coded, reference, private)
        turns, state, planned = _private_course(len(names), most, private, terms)
        policy, epsilon = planned.policy, planned.guarantee.epsilon
        given = {"guard": lambda _: BudgetGuard(planned.budget)}
    else:
        coded_names = tuple(column for one in coded for column in one.columns)
        given = {"groups": layout.groups}
        kinds: list[Any] = [CombatUnits, CombatCentres, CombatMoments]
        if reference is not None and reference not in layout.shared:
            kinds.append(CombatReference)
        stages: list[Stage[BatchRows]] = [
            kind(coded_names, names, len(rows), most, layout, reference) for kind in kinds
        ]
        turns = course(*((stage, 1) for stage in stages))
        policy = plan_policy(plan=[one.question() for one in stages], across_rounds=across_rounds, **terms)
    if unknown := sorted(set(lose or {}) - {turn.stage.kind for turn in turns}):
        raise InvalidArgument(
            f"lose names the sum {unknown[0]!r}, the sums are {[turn.stage.kind for turn in turns]}"
        )

    def losses(kind: str, _number: int) -> Mapping[str, Step]:
        return (lose or {}).get(kind, {})

    with _aggregator(aggregator, policy, tuple(rows), given) as adder:
        state = follow(turns, adder, rows, state, lose=losses, keep=False, notify=note)
    adjustment = Adjustment(_common(state, len(names)), layout, variant, reference)
    shared = adjustment.shared_effects()
    effects = {
        name: {label: shared[label] for label in held[name] if label in shared} | adjustment.own_effects(one)
        for name, one in rows.items()
    }
    _warn(layout, effects)
    adjusted = {name: adjustment.adjusted(one, effects[name]) for name, one in rows.items()}
    return Harmonised(adjusted, effects, adjustment, coded, names, sums, policy, epsilon)


def _labels(held: Mapping[str, Sequence[str]]) -> list[str]:
    return sorted({label for own in held.values() for label in own})


def _rows(
    sites: Mapping[str, ArrayLike],
    batch: Mapping[str, ArrayLike] | None,
    covariates: Mapping[str, Mapping[str, ArrayLike]] | None,
    levels: Mapping[str, Sequence[str]] | None,
    columns: Sequence[str] | None,
) -> tuple[dict[str, BatchRows], tuple[Covariate, ...]]:
    if len(sites) < 3:
        raise InvalidArgument(f"a secure sum needs three sites or more, got {len(sites)}")
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
            known[name] = sorted({str(one) for each in values for one in each.ravel().tolist()})
    coded = tuple(Covariate(name, tuple(map(str, known.get(name, ())))) for name in asked)
    width = np.shape(sites[first])[1:] or (0,)
    names = tuple(map(str, range(width[0]))) if columns is None else tuple(columns)
    rows = {
        name: BatchRows.of(
            name,
            sites[name],
            np.full(len(np.asarray(sites[name])), name) if batch is None else batch[name],
            (covariates or {}).get(name, {}),
            coded,
            names,
        )
        for name in sorted(sites)
    }
    return rows, coded


def _check(layout: Layout, reference: str | None, *, discloses: bool) -> None:
    if layout.batches < 2:
        raise InvalidArgument("there is one batch only: nothing to harmonise")
    if reference is None:
        return
    labels = _labels({site: list(own) for site, own in layout.held.items()})
    if reference not in labels:
        raise InvalidArgument(f"the reference {reference!r} is none of the batches {labels}")
    if reference in layout.split:
        raise PolicyError(
            f"the reference {reference!r} stands at several sites, too few to be summed by itself: give it a "
            "name at each site"
        )
    if reference not in layout.shared and not discloses:
        raise PolicyError(
            f"the reference {reference!r} stands at one site, whose means and variances everybody would be "
            "told: discloses_reference=True allows it"
        )


def _check_private(
    rows: Mapping[str, BatchRows],
    covariates: Sequence[Covariate],
    reference: str | None,
    private: PrivateTerms,
) -> None:
    if private.unit != "patient":
        raise PolicyError(
            f"noise for the unit {private.unit!r} drowns the centres of a few sites: harmonise with the unit "
            "'patient'"
        )
    if covariates:
        raise PolicyError(
            "covariates cannot be preserved with noise: products about a batch's means are no sum over "
            "patients, whom the noise must hide one by one"
        )
    if reference is not None:
        raise PolicyError("a reference batch has too few patients to be told with noise that hides each")
    for name, one in rows.items():
        if np.isnan(one.features).any():
            raise InvalidArgument(f"site {name!r} has missing values: with noise, impute them first")
    columns = len(next(iter(rows.values())).columns)
    if private.ranges is not None and len(private.ranges) != columns:
        raise InvalidArgument(f"private.ranges names {len(private.ranges)} features of {columns}")


def _private_course(
    columns: int, most: int, private: PrivateTerms, terms: Mapping[str, Any]
) -> tuple[tuple[Turn, ...], Arrays, NoisePlanned]:
    """The noised sums of a scaling, alike in noise for what a patient adds, and the state they start from."""
    kinds: tuple[Any, ...] = (Magnitudes, PrivateMeans, Spreads)
    state: Arrays = {}
    if private.ranges is not None:
        low, high = np.array(private.ranges, dtype=np.float64).T
        kinds, state = kinds[1:], {"centre": (low + high) / 2.0, "unit": (high - low) / 2.0}

    def stages(noise: Mapping[str, Noise]) -> list[Stage[Any]]:
        return [kind(columns, Answering(private.unit, terms["sites"], most, noise)) for kind in kinds]

    planned = plan_noise([Demand(stage.question(), 1) for stage in stages({})], private, **terms)
    noise = {one.kind: one.noise for one in planned.policy.plan if one.noise is not None}
    return course(*((stage, 1) for stage in stages(noise))), state, planned


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


def _aggregator(
    kind: str | Callable[..., Aggregator], policy: Policy, names: tuple[str, ...], given: Mapping[str, Any]
) -> Aggregator:
    if callable(kind):
        return kind(policy, names, **given)
    if kind == "masked":
        return MaskedAggregator(policy, names, **given)
    if kind == "plain":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlainSumWarning)  # it was asked for by name
            return PlainAggregator(policy, names, groups=given.get("groups"))
    raise InvalidArgument(f'aggregator must be "masked", "plain" or make an Aggregator, got {kind!r}')
