# SPDX-License-Identifier: Apache-2.0

"""Newton's method for the partial likelihood of all sites' patients, each step a sum of who leaves when.

A step asks at one b for events, and for w, w x and w x x^T over the patients last at risk at each cut. Value,
gradient and information follow, of the patients in this very sum. A step that does not climb is halved, which
costs another sum. Sites answer for standardised features, so a site's sums are within public bounds: squares
add up to the number of all patients, whatever a feature's law is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.errors import InvalidArgument, PolicyError, RoundAborted, ValueOutOfRange
from sordino.models.cox import LeavingSums, at_risk, last_at_risk, leaving_sums, partial_likelihood
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised
from sordino.survival.rows import SurvivalRows

MAX_LANES = 2**24
"""Of one question unless another limit is given: 128 MB of lanes at every site."""

_WANTED_BITS = 48
_HALVINGS = 25
"""In a whole fit, which seldom needs any; creeping up to a bound would not end."""
_DIVERGED = 100.0
"""A standard error so many times that at b = 0 says that the likelihood has no maximum."""
_SINGULAR = 1e-9


@dataclass(frozen=True)
class RiskSets:
    """One step of Newton's method, and the state that it is in.

    columns         names of the features
    most            the most cuts of the grid
    sites, max_patients   public bounds: sites of the roster, patients of any one site
    least_patients  k: a sum in which fewer leave at a cut is thrown away
    l2              penalty (l2 / 2) ||b||^2 on the mean log-likelihood of standardised features
    reach           x b of standardised features that any patient may have; a step beyond it is halved
    tolerance       how near the optimum is near enough, in standard errors
    max_lanes       the most numbers that one sum may hold
    second_sums     False leaves w x x^T out, p (p + 1) / 2 numbers a cut, for many features. Curvature is
                    then built up from gradients (BFGS), in more steps

    State: `parameters`, which are asked next, `halvings` of steps so far, `converged` (0 or 1), and
    of the last step that climbed: `accepted`, its parameters; `value`, the log-likelihood without penalty;
    `objective`, `gradient` and `covariance` (the inverse of the information, flat) with it; `hazard`, S0 at
    each cut; `events` and `leaving` there; `patients`; `cohort`, a checksum of who is in the sum; `distance`
    from the optimum, and what rounding may add to it, `rounding`, in standard errors; `curved`, 1 if it was
    not the first. `null` is the value and cohort, `first_errors` the standard errors, at b = 0.

    Raises `PolicyError` where the sum is too large.
    """

    columns: tuple[str, ...]
    most: int
    sites: int
    max_patients: int
    least_patients: int
    l2: float = 0.0
    reach: float = 11.0
    tolerance: float = 1e-9
    max_lanes: int = MAX_LANES
    second_sums: bool = True

    kind = "risk_sets"
    reads = ("parameters", "mean", "scale", "cuts")

    def __post_init__(self) -> None:
        size = len(self.columns)
        if self.lanes > self.max_lanes:
            raise PolicyError(
                f"one step asks {self.lanes:,} numbers of every site ({self.most} cuts of 3 + {size} + "
                f"{self.pairs:,}), {self.lanes * 8 / 2**20:,.0f} MB, and max_lanes allows "
                f"{self.max_lanes:,}: take a coarser time grid, fewer features, or no second sums"
            )

    @property
    def pairs(self) -> int:
        """Pairs of features, each with itself too, if they are asked."""
        return self.second_sums * len(self.columns) * (len(self.columns) + 1) // 2

    @property
    def lanes(self) -> int:
        """Numbers that a site sends."""
        return self.most * (3 + len(self.columns) + self.pairs) + len(self.columns) + 2

    @cached_property
    def _sums(self) -> Block:
        # All patients' squares of a standardised feature add up to their number; twice that, since the
        # scaler is rounded, and may be of other survivors.
        clip = 2.0 * self.sites * self.max_patients * float(np.exp2(np.ceil(self.reach / np.log(2.0))))
        bits = fraction_bits("the risk sets", clip=clip, sites=self.sites, max_weight=1, wanted=_WANTED_BITS)
        return Block("zero", self.most, clip, bits)

    @property
    def resolution(self) -> float:
        """What rounding at all sites may change in one lane."""
        return 0.5 * self.sites / self._sums.scale

    def question(self) -> Question:
        """Counts exactly; sums of w, w x and w x x^T as finely as fits."""
        clip, bits = self._sums.clip, self._sums.fraction_bits
        size = len(self.columns)
        return Question(
            kind=self.kind,
            blocks=(
                Block("events", self.most, float(self.max_patients), 0),
                Block("leaving", self.most, float(self.max_patients), 0),
                Block("patients", 1, float(self.max_patients), 0),
                Block("out_of_reach", 1, 1.0, 0),
                Block("features", size, clip, bits),
                self._sums,
                Block("first", self.most * size, clip, bits),
                *([Block("second", self.most * self.pairs, clip, bits)] if self.second_sums else []),
            ),
        )

    def contribute(self, site: SurvivalRows, known: Arrays) -> Contribution:
        """The site's sums, padded to `most` cuts.

        Where a patient is out of reach the step is no good, and its w is held to the reach. A site that
        sent zeros instead would show what it has by the difference from the last step.
        """
        cuts = known["cuts"]
        features = standardised(site.features, known)
        with np.errstate(invalid="ignore", over="ignore"):
            score = features @ known["parameters"]
        reached = bool((np.abs(score) <= self.reach).all())
        slots, seen = last_at_risk(site.time, site.event, cuts)
        risks = np.exp(np.clip(np.nan_to_num(score), -self.reach, self.reach))
        sums = leaving_sums(features, risks, slots, seen, len(cuts), curvature=self.second_sums)
        self._check(site, sums)

        def padded(rows: Matrix) -> Vector:
            return np.concatenate([rows.ravel(), np.zeros(rows[0].size * (self.most - len(cuts)))])

        return Contribution(
            {
                "events": padded(sums.events),
                "leaving": padded(np.bincount(slots[slots >= 0], minlength=len(cuts)).astype(np.float64)),
                "patients": np.array([float(len(site.time))]),
                "out_of_reach": np.array([float(not reached)]),
                "features": sums.features,
                "zero": padded(sums.zero),
                "first": padded(sums.first),
                **({} if sums.second is None else {"second": padded(sums.second)}),
            }
        )

    def _check(self, site: SurvivalRows, sums: LeavingSums) -> None:
        for values in (sums.features, sums.first):
            wrong = np.argwhere(np.abs(values) > self._sums.clip)
            if len(wrong):
                name = self.columns[wrong[0][-1]]
                raise ValueOutOfRange(
                    f"site {site.name!r}, feature {name!r}: its scale at this site and at all of them "
                    "together differ a thousandfold; has one another unit?"
                )

    def initial(self) -> Arrays:
        """B = 0."""
        size = len(self.columns)
        return {"parameters": np.zeros(size), "halvings": np.zeros(1), "converged": np.zeros(1)}

    def summed(self, total: Aggregate, cuts: int) -> LeavingSums:
        """All sites' sums at the cuts that there are."""
        size, sums = len(self.columns), total.sums
        return LeavingSums(
            events=sums["events"][:cuts],
            features=sums["features"],
            zero=sums["zero"][:cuts],
            first=sums["first"].reshape(-1, size)[:cuts],
            second=sums["second"].reshape(-1, self.pairs)[:cuts] if self.second_sums else None,
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The next point, by Newton's method or BFGS.

        Raises `RoundAborted` where losses left too few patients at a cut, `InvalidArgument`, naming the
        features, where they are collinear or the likelihood has no maximum.
        """
        if total.sums["out_of_reach"][0]:
            return self._halved(state, f"a patient's x b is beyond {self.reach:g}")
        cuts = len(state["cuts"])
        leaving = total.sums["leaving"][:cuts]
        if (leaving < self.least_patients).any():
            raise RoundAborted(
                f"without {', '.join(total.dropped) or 'some sites'} fewer than {self.least_patients} "
                "patients leave at a time of the grid"
            )
        at, patients = state["parameters"], float(total.sums["patients"][0])
        sums = self.summed(total, cuts)
        likelihood = partial_likelihood(at, sums)
        penalty = self.l2 * patients
        value = likelihood.value - 0.5 * penalty * float(at @ at)
        cohort = float(crc32("\n".join(total.survivors).encode()))
        if "accepted" in state and state["cohort"][0] == cohort:  # of other patients it says nothing
            worse = state["objective"][0] - value
            if not worse <= 1e-9 * abs(value) + self._rounded_value(sums):
                return self._halved(state, "the likelihood does not climb")
        gradient, events = likelihood.gradient - penalty * at, float(sums.events.sum())
        if "accepted" not in state and not self.l2:
            check_regular(likelihood.information, self.columns, events)
        if likelihood.information is not None:
            covariance = np.linalg.inv(likelihood.information + penalty * np.eye(len(at)))
        else:
            covariance = self._built_up(state, at, gradient, cohort, events + penalty)
        errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        first_errors = state.get("first_errors", errors)
        null = state.get("null", np.array([likelihood.value, cohort]))
        if self.second_sums and (worst := errors / first_errors).max() > _DIVERGED:
            raise InvalidArgument(
                f"the coefficient of {self.columns[int(worst.argmax())]!r} grows without end: the feature, "
                "perhaps with others, tells those who have the event from all others at risk (monotone "
                "likelihood); leave it out or set l2 > 0"
            )
        step = covariance @ gradient
        distance = float(np.sqrt(max(float(gradient @ step), 0.0)))
        rounding = float(np.sqrt(np.trace(covariance))) * self._rounded_gradient(sums)
        return {
            **state,
            "parameters": at + step,
            "accepted": at,
            "value": np.array([likelihood.value]),
            "objective": np.array([value]),
            "cohort": np.array([cohort]),
            "gradient": gradient,
            "covariance": covariance.ravel(),
            "hazard": at_risk(sums.zero),
            "events": sums.events,
            "leaving": leaving,
            "patients": np.array([patients]),
            "first_errors": first_errors,
            "null": null,
            "distance": np.array([distance]),
            "rounding": np.array([rounding]),
            "curved": np.array([float("accepted" in state)]),
            "converged": np.array([float(distance <= max(self.tolerance, rounding))]),
        }

    def _built_up(self, state: Arrays, at: Vector, gradient: Vector, cohort: float, steep: float) -> Matrix:
        """The inverse of the information from what gradients changed by (Nocedal and Wright 2006, 6.17).

        steep   its diagonal at b = 0, or what takes its place there
        """
        unit = np.eye(len(at))
        if "accepted" not in state:
            return unit / steep
        built = state["covariance"].reshape(unit.shape)
        moved, fell = at - state["accepted"], state["gradient"] - gradient
        along = float(moved @ fell)
        if state["cohort"][0] != cohort or along <= 0.0:  # other patients' gradient, or but rounding
            return built
        if not state["curved"][0]:
            built = unit * along / float(fell @ fell)
        left = unit - np.outer(moved, fell) / along
        return np.asarray(left @ built @ left.T + np.outer(moved, moved) / along)

    def _halved(self, state: Arrays, why: str) -> Arrays:
        halvings = state["halvings"] + 1.0
        if "accepted" not in state or halvings[0] > _HALVINGS:
            raise InvalidArgument(f"the fit is stuck after {_HALVINGS} halvings of its steps: {why}")
        middle = 0.5 * (state["accepted"] + state["parameters"])
        return {**state, "parameters": middle, "halvings": halvings}

    def _rounded_value(self, sums: LeavingSums) -> float:
        """What rounding may change in the log-likelihood."""
        at = sums.events > 0.0
        lanes = np.arange(len(sums.events), 0, -1)
        return float(self.resolution * np.sum((sums.events * lanes)[at] / at_risk(sums.zero)[at]))

    def _rounded_gradient(self, sums: LeavingSums) -> float:
        """What rounding may change in one entry of the gradient; errors of single lanes add up as a walk."""
        at = sums.events > 0.0
        lanes, zero = np.sqrt(np.arange(len(sums.events), 0, -1.0))[at], at_risk(sums.zero)[at]
        mean = np.abs(at_risk(sums.first)[at] / zero[:, np.newaxis]).max(axis=1)
        return float(self.resolution * np.sqrt(np.sum((sums.events[at] * lanes * (1.0 + mean) / zero) ** 2)))


def check_regular(information: Matrix | None, columns: Sequence[str], events: float) -> None:
    """Raise `InvalidArgument`, naming the features, where the information, if known, has no inverse."""
    if len(columns) > events:
        raise InvalidArgument(
            f"{len(columns)} features and {events:g} events leave the coefficients undetermined: set l2 > 0"
        )
    if information is None:
        return
    diagonal = np.diag(information)
    if len(constant := np.flatnonzero(diagonal <= _SINGULAR * events)):
        raise InvalidArgument(
            f"the feature {columns[constant[0]]!r} is the same for all patients at risk: leave it out "
            "or set l2 > 0"
        )
    units = 1.0 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information * np.outer(units, units))
    if values[0] <= _SINGULAR:
        weights = np.abs(vectors[:, 0])
        named = [repr(columns[int(place)]) for place in np.flatnonzero(weights > 0.1 * weights.max())]
        raise InvalidArgument(
            f"the features {', '.join(named[:8])} are collinear over the patients at risk: leave one out "
            "or set l2 > 0"
        )
