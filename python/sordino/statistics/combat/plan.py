# SPDX-License-Identifier: Apache-2.0

"""What a harmonisation asks: which batches are shared, which sums are made, under which policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from sordino.course.answer import Answering
from sordino.course.arrays import Arrays
from sordino.course.noise import Demand, NoisePlanned, plan_noise
from sordino.course.stage import Stage
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, PolicyError, TargetUnreachable
from sordino.protocol.noise import Noise
from sordino.protocol.policy import AcrossRounds, Block, Policy, Question, plan_policy
from sordino.statistics.combat.rows import Covariate, Layout
from sordino.statistics.combat.stages import CombatCentres, CombatMoments, CombatReference, CombatUnits
from sordino.statistics.noised_scaling import Magnitudes, PrivateMeans, Spreads

AUDIBLE = 20.0
"""Patients over the noise on a vote: at 12 a twelfth of 400 scales were off by a factor above 4."""

ROUNDS = 20
"""Of a policy, unless its terms say otherwise: four sums and what is asked for again."""


@dataclass(frozen=True)
class CombatPlan:
    """The public terms of a harmonisation, the same for every site.

    columns        names of the features
    held           the batches that stand at each site
    max_patients   bound on the patients of a site
    covariates     what is preserved
    reference      the batch that the others are made like
    discloses_reference   whether one that a single site has may tell its means and variances
    private        noise that hides each patient, at this cost
    policy_terms   as in `plan_policy`: `min_cohort`, `colluders` and so on

    Raises `InvalidArgument` and `PolicyError` for what cannot be harmonised.
    """

    columns: tuple[str, ...]
    held: Mapping[str, Sequence[str]]
    max_patients: int
    covariates: tuple[Covariate, ...] = ()
    reference: str | None = None
    discloses_reference: bool = False
    private: PrivateTerms | None = None
    policy_terms: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.held) < 3:
            raise InvalidArgument(f"a secure sum needs three sites or more, got {len(self.held)}")
        if self.layout.batches < 2:
            raise InvalidArgument("there is one batch only: nothing to harmonise")
        if self.private is not None:
            self._check_private(self.private)
        if self.reference is not None:
            self._check_reference(self.reference)

    @cached_property
    def layout(self) -> Layout:
        """Which batches are summed over sites; none with noise, of which every sum would have all."""
        if self.private is not None:
            return Layout.of(self.held, len(self.held) + 1)
        trial = Question("trial", (Block("lane", 1, 1.0, 0),))
        policy = plan_policy(plan=[trial], across_rounds="accept", **self._terms)
        return Layout.of(self.held, policy.min_cohort)

    def stages(self, noise: Mapping[str, Noise] | None = None) -> tuple[Stage[Any], ...]:
        """The sums in order; `noise` by kind of question, once it is planned."""
        if self.private is not None:
            answering = Answering(self.private.unit, len(self.held), self.max_patients, noise or {})
            kinds = (Magnitudes, PrivateMeans, Spreads)
            return tuple(
                kind(len(self.columns), answering) for kind in kinds[self.private.ranges is not None :]
            )
        coded = tuple(column for one in self.covariates for column in one.columns)
        terms = (coded, self.columns, len(self.held), self.max_patients, self.layout, self.reference)
        first = (CombatUnits(*terms), CombatCentres(*terms), CombatMoments(*terms))
        alone = self.reference is not None and self.reference not in self.layout.shared
        return (*first, CombatReference(*terms)) if alone else first

    def initial(self) -> Arrays:
        """The state before the first sum: the middle and half width of public ranges."""
        if self.private is None or self.private.ranges is None:
            return {}
        low, high = np.array(self.private.ranges, dtype=np.float64).T
        return {"centre": (low + high) / 2.0, "unit": (high - low) / 2.0}

    def policy(self, across_rounds: AcrossRounds = "freeze") -> Policy:
        """The policy that allows just this, without noise."""
        plan = [stage.question() for stage in self.stages()]
        return plan_policy(plan=plan, across_rounds=across_rounds, **self._terms)

    def planned(self) -> NoisePlanned:
        """The policy with noise, alike in all its sums for what a patient adds.

        Raises `TargetUnreachable` where noise drowns the votes that scales are read off.
        """
        if self.private is None:
            raise InvalidArgument("this harmonisation is not private")
        demands = [Demand(stage.question(), 1) for stage in self.stages()]
        planned = plan_noise(demands, self.private, **self._terms)
        noise, patients = planned.noise_on_votes(), len(self.held) * self.max_patients
        if patients < AUDIBLE * noise:
            raise TargetUnreachable(
                f"noise of {noise:.0f} patients on every vote of {patients} at most drowns the scales of "
                f"{len(self.columns)} features: harmonise fewer, or at a higher epsilon"
            )
        return planned

    @property
    def _terms(self) -> dict[str, Any]:
        return {"study": "combat", "sites": len(self.held), "rounds": ROUNDS, **self.policy_terms}

    def _check_reference(self, reference: str) -> None:
        labels = sorted({label for own in self.held.values() for label in own})
        if reference not in labels:
            raise InvalidArgument(f"the reference {reference!r} is none of the batches {labels}")
        if reference in self.layout.split:
            raise PolicyError(
                f"the reference {reference!r} stands at several sites, too few to be summed by itself: give "
                "it a name at each site"
            )
        if reference not in self.layout.shared and not self.discloses_reference:
            raise PolicyError(
                f"the reference {reference!r} stands at one site, whose means and variances everybody would "
                "be told: discloses_reference=True allows it"
            )

    def _check_private(self, private: PrivateTerms) -> None:
        if private.unit != "patient":
            raise PolicyError(
                f"noise for the unit {private.unit!r} drowns the centres of a few sites: harmonise with the "
                "unit 'patient'"
            )
        if self.covariates:
            raise PolicyError(
                "covariates cannot be preserved with noise: products about a batch's means are no sum over "
                "patients, whom the noise must hide one by one"
            )
        if self.reference is not None:
            raise PolicyError("a reference batch has too few patients to be told with noise that hides each")
        ranges = private.ranges
        if ranges is not None and (
            len(ranges) != len(self.columns) or any(not -inf < low < high < inf for low, high in ranges)
        ):
            raise InvalidArgument("ranges must be (low, high) for every feature, low below high and finite")
