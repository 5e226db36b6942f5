# SPDX-License-Identifier: Apache-2.0

"""Cox's proportional hazards: the partial likelihood with Breslow's ties, from sums over who leaves when.

With w = exp(x b) and times on a grid of cuts, let L0, L1, L2 be the sums of w, w x and w x x^T over the
patients who are last at risk at a cut. Summed from the last cut backwards they are the risk-set sums
S0, S1, S2, and with d the events at each cut (Breslow 1974)

    log-likelihood  sum_events x b - sum_g d_g log S0_g
    gradient        sum_events x   - sum_g d_g S1_g / S0_g
    information     sum_g d_g (S2_g / S0_g - (S1_g / S0_g)(S1_g / S0_g)^T)

L0, L1, L2, d and sum_events x add up over sites; the likelihood itself does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector

Slots = NDArray[np.intp]


def last_at_risk(time: Vector, event: NDArray[np.bool_], cuts: Vector) -> tuple[Slots, NDArray[np.bool_]]:
    """For each patient the cut at which it is last at risk, -1 for none, and whether its event is seen.

    An event counts at the first cut not before it, so that a cut stands for the interval that it ends. A
    censored patient is last at risk at the last cut not after it. Events after the last cut are censored
    there. Where the cuts are the distinct event times nothing moves.
    """
    seen = event & (time <= cuts[-1])
    slots = np.where(seen, np.searchsorted(cuts, time), np.searchsorted(cuts, time, side="right") - 1)
    return slots, seen


class LeavingSums(NamedTuple):
    """Over the patients last at risk at each of G cuts: what one site gives, or all together.

    events    float64 of shape (G,)
    features  sum of x over the events, shape (columns,)
    zero      sums of w, shape (G,)
    first     sums of w x, shape (G, columns)
    second    sums of w x x^T, upper triangle by rows, shape (G, columns (columns + 1) / 2); None if left out
    """

    events: Vector
    features: Vector
    zero: Vector
    first: Matrix
    second: Matrix | None


def leaving_sums(
    features: Matrix,
    risks: Vector,
    slots: Slots,
    seen: NDArray[np.bool_],
    cuts: int,
    *,
    curvature: bool = True,
) -> LeavingSums:
    """The sums of these patients, of risks w; `slots` and `seen` as from `last_at_risk`."""
    there = slots >= 0
    features, risks, slots, seen = features[there], risks[there], slots[there], seen[there]
    leaves = np.zeros((cuts, len(slots)))
    leaves[slots, np.arange(len(slots))] = risks
    second = None
    if curvature:
        left, right = np.triu_indices(features.shape[1])
        second = leaves @ (features[:, left] * features[:, right])
    return LeavingSums(
        events=np.bincount(slots[seen], minlength=cuts).astype(np.float64),
        features=features[seen].sum(axis=0),
        zero=leaves.sum(axis=1),
        first=leaves @ features,
        second=second,
    )


class PartialLikelihood(NamedTuple):
    """At one b: the log-likelihood, its gradient (columns,), the information; None without second sums."""

    value: float
    gradient: Vector
    information: Matrix | None


def partial_likelihood(coefficients: Vector, sums: LeavingSums) -> PartialLikelihood:
    """What the sums at these coefficients come to. Cuts without events do not enter."""
    at = sums.events > 0.0
    events, zero = sums.events[at], at_risk(sums.zero)[at]
    mean = at_risk(sums.first)[at] / zero[:, np.newaxis]
    information = None
    if sums.second is not None:
        columns = len(coefficients)
        upper = (events / zero) @ at_risk(sums.second)[at]
        information = np.zeros((columns, columns))
        information[np.triu_indices(columns)] = upper
        information += np.triu(information, 1).T
        information -= (mean * events[:, np.newaxis]).T @ mean
    value = float(sums.features @ coefficients - events @ np.log(zero))
    return PartialLikelihood(value, sums.features - events @ mean, information)


def at_risk(leaving: Matrix) -> Matrix:
    """Sums over those at risk at each cut, from sums over those last at risk there."""
    sums: Matrix = np.cumsum(leaving[::-1], axis=0)[::-1]
    return sums


def breslow_steps(sums: LeavingSums) -> Vector:
    """Steps of the baseline cumulative hazard (of x b = 0) at each cut, shape (G,); zero without events."""
    zero = at_risk(sums.zero)
    steps: Vector = np.divide(sums.events, zero, out=np.zeros_like(zero), where=sums.events > 0.0)
    return steps


@dataclass(frozen=True)
class Cox:
    """Minimises -log(partial likelihood) / patients + (l2 / 2) ||coef||^2, patients compared within a site.

    The likelihood of all patients is no sum over sites; that of patients stratified by site is, and this is
    what an algorithm of local steps trains (`sordino.survival` fits the former). `target` has shape
    (patients, 2): times, and 1 for an event, 0 where the patient was censored. A site without events adds
    the penalty alone. Raises `InvalidArgument` for another target, or a setting that makes no sense.

    Parameters: the coefficients in the order of the features, (columns,).
    """

    columns: int
    l2: float = 0.01

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise InvalidArgument(f"a Cox model needs at least one feature, got {self.columns}")
        if not 0.0 <= self.l2 < float("inf"):
            raise InvalidArgument(f"l2 must be a number from 0 on, got {self.l2}")

    @property
    def size(self) -> int:
        """As many as features: the baseline hazard takes the intercept's place."""
        return self.columns

    def initial(self) -> Vector:
        """All zero."""
        return np.zeros(self.columns)

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """-log(partial likelihood) for each patient, without the penalty."""
        return -self._likelihood(parameters, features, target, curvature=False).value / len(target)

    def gradient(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Gradient of loss and penalty, shape (columns,)."""
        likelihood = self._likelihood(parameters, features, target, curvature=False)
        return self.penalty_gradient(parameters) - likelihood.gradient / len(target)

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Raises `InvalidArgument`: a patient is in others' terms too, none has a gradient of its own."""
        del parameters, features, target
        raise InvalidArgument(
            "the partial likelihood is no sum over patients, so no patient's part of it can be clipped: "
            "train a Cox model with unit 'site', or without noise"
        )

    def penalty_gradient(self, parameters: Vector) -> Vector:
        """l2 times the coefficients."""
        return self.l2 * parameters

    def objective(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Loss plus penalty."""
        return self.loss(parameters, features, target) + 0.5 * self.l2 * float(parameters @ parameters)

    def proximal(self, parameters: Vector, rates: Vector) -> Vector:
        """The parameters: all of the penalty has a gradient."""
        del rates
        return parameters

    def rates(self, learning_rate: float) -> Vector:
        """The same for all."""
        return np.full(self.columns, learning_rate)

    def decision(self, parameters: Vector, features: Matrix) -> Vector:
        """The log of the hazard relative to x = 0, shape (patients,)."""
        score: Vector = features @ parameters
        return score

    def curvature(self, features: Matrix) -> float:
        """The largest squared distance of a patient from the mean.

        The information is a sum of covariances over risk sets, one an event. A covariance under any weights
        is at most the mean squared distance from any point, and there are no more events than patients.
        """
        distance = features - features.mean(axis=0)
        return float(np.max(np.einsum("ij,ij->i", distance, distance)))

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """The optimum over all these rows as one stratum."""
        from scipy.optimize import minimize

        def information(parameters: Vector) -> Matrix:
            found = self._likelihood(parameters, features, target, curvature=True).information
            if found is None:  # it was asked for
                raise AssertionError
            return found / len(target) + self.l2 * np.eye(self.columns)

        found = minimize(
            self.objective,
            self.initial(),
            args=(features, target),
            jac=self.gradient,
            hess=lambda parameters, *_: information(parameters),
            method="trust-exact",
            options={"gtol": 1e-10},
        )
        return np.asarray(found.x)

    def _likelihood(
        self, parameters: Vector, features: Matrix, target: Vector, *, curvature: bool
    ) -> PartialLikelihood:
        """On the exact grid, as if the largest x b were zero, and none below -700: all risks are numbers."""
        time, event = survival_target(target)
        if not event.any():
            zeros = np.zeros((self.columns, self.columns))
            return PartialLikelihood(0.0, np.zeros(self.columns), zeros)
        cuts = np.unique(time[event])
        slots, seen = last_at_risk(time, event, cuts)
        score = features @ parameters
        highest = float(score.max())
        risks = np.exp(np.maximum(score - highest, -700.0))
        sums = leaving_sums(features, risks, slots, seen, len(cuts), curvature=curvature)
        found = partial_likelihood(parameters, sums)
        return found._replace(value=found.value - highest * float(event.sum()))


def survival_target(target: Vector) -> tuple[Vector, NDArray[np.bool_]]:
    """Times and events of a target of shape (patients, 2). Raises `InvalidArgument` for anything else."""
    if target.ndim != 2 or target.shape[1] != 2:
        raise InvalidArgument(f"a survival target is (time, event), shape (patients, 2), got {target.shape}")
    time, event = target.T
    if not (np.isfinite(time) & (time >= 0.0)).all():
        raise InvalidArgument("times must be finite numbers from 0 on")
    if not np.isin(event, (0.0, 1.0)).all():
        raise InvalidArgument("an event is 1, or 0 where the patient was censored")
    return time, event == 1.0
