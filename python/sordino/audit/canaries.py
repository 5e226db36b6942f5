# SPDX-License-Identifier: Apache-2.0

"""Canaries in the noise that sordino ships: units whose clipped part is all on a lane of their own.

That is the worst that a unit can do. Canaries of separate sums are separate patients, or sites, so that
several sums of one release each are one run (parallel composition), and so are several trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from sordino.aggregation.base import Contribution, Contributor
from sordino.aggregation.masked import MaskedAggregator
from sordino.audit.membership import Members
from sordino.audit.one_run import Bound, bound
from sordino.audit.targets import OpenSums
from sordino.course.answer import Answering
from sordino.course.follow import course, follow
from sordino.course.noise import Demand, plan_noise
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument
from sordino.federated.private.clipping import ClipRule
from sordino.federated.private.descent import Descent
from sordino.federated.server import Momentum
from sordino.federated.site import Site
from sordino.models.linear_form import LinearForm
from sordino.models.model import Matrix, Vector
from sordino.privacy.local import private_sums
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.noise import Unit
from sordino.protocol.policy import Block, Question, plan_policy

LANES = 500
"""Canaries in one sum."""

SITES = 10
"""Of a sum over canaries who are patients."""

WEIGHT = 20
"""Patients of a site that is a canary."""

Mechanism: TypeAlias = Literal["secure sums", "open sums", "patient-local", "sites"]
"""Secure sums over ten sites; the same without masks, so that a seed fixes the noise; a site's own noise;
sums whose sites are the canaries, without masks."""


def empirical_epsilon(
    epsilon: float,
    delta: float,
    *,
    canaries: int = 10_000,
    lanes: int = LANES,
    mechanism: Mechanism = "secure sums",
    noise: float = 1.0,
    seed: int = 0,
) -> Bound:
    """Audit the noise that (epsilon, delta) ask for, as it is shipped: `noise` = 0.5 halves it on purpose.

    lanes       canaries in one sum; they share no lane

    Raises `InvalidArgument` for canaries that do not fit the sums, and as `plan_noise`.
    """
    if mechanism == "sites":
        lanes = min(lanes, 50)  # one canary a site
    check_fit(canaries, lanes)
    rng = np.random.default_rng([seed, 5])
    coins = rng.random((canaries // lanes, lanes)) < 0.5
    unit: Unit = "patient"
    if mechanism in ("patient-local", "sites"):
        unit = "site" if mechanism == "sites" else "patient-local"
    names = _names(lanes if unit == "site" else SITES)
    weight = WEIGHT if unit == "site" else lanes
    question = Question(kind="canaries", blocks=(Block("canary", lanes, 1.0, 16),), max_weight=weight)
    given: dict[str, Any] = {"study": "audit", "sites": len(names), "rounds": len(coins)}
    # Each canary is in one sum, so one is what the budget is for.
    planned = plan_noise(
        [Demand(question, 1)], PrivateTerms(unit=unit, epsilon=epsilon, delta=delta), **given
    )
    multiplier = planned.multipliers["canaries"] * noise
    if mechanism == "patient-local":
        sums = [
            private_sums({"canary": _rows(chosen)}, {"canary": 1.0}, multiplier, entropy=rng.bytes)[0][
                "canary"
            ]
            for chosen in coins
        ]
    else:
        made = plan_with_noise([question], unit, {"canaries": multiplier}, **given)
        deal = _each if unit == "site" else partial(_dealt, give=_given)
        with (
            MaskedAggregator(made, names)
            if mechanism == "secure sums"
            else OpenSums(made, names, rng) as summing
        ):
            sums = [
                summing.aggregate("canaries", b"", deal(chosen, names)).sums["canary"] for chosen in coins
            ]
    return bound(
        np.concatenate(sums),
        coins.ravel(),
        mechanism=mechanism,
        claimed=planned.guarantee.epsilon,
        delta=delta,
        noise=noise,
    )


def without_noise(*, canaries: int = 10_000, lanes: int = LANES, sites: int = SITES, seed: int = 0) -> Bound:
    """The same without any noise, of a sum over so many sites: of one it is that site's raw update."""
    check_fit(canaries, lanes)
    rng = np.random.default_rng([seed, 15])
    coins = rng.random((canaries // lanes, lanes)) < 0.5
    question = Question(kind="canaries", blocks=(Block("canary", lanes, 1.0, 16),), max_weight=lanes)
    policy = plan_policy(
        study="audit", sites=SITES, rounds=len(coins), plan=[question], across_rounds="accept"
    )
    with OpenSums(policy, _names(SITES), rng) as summing:
        sums = [
            summing.aggregate("canaries", b"", _dealt(chosen, _names(sites), _summed)).sums["canary"]
            for chosen in coins
        ]
    # Nothing hides them: as many are guessed as are sure to be in, and out.
    return bound(
        np.concatenate(sums),
        coins.ravel(),
        mechanism="raw update" if sites == 1 else "secure sum",
        claimed=None,
        delta=0.0,
        noise=0.0,
        parts=(0.4,),
    )


@dataclass(frozen=True)
class Pushed(LinearForm):
    """A model of which every patient moves the parameters by their own features, whatever these are."""

    steepest: ClassVar[float] = 1.0

    def loss(self, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Minus the mean of the features times the coefficients."""
        return float(np.mean(self.residual(parameters, features, target)))

    def residual(self, parameters: Vector, features: Matrix, target: Vector) -> Vector:
        """Minus z, without the intercept."""
        del target
        pushed: Vector = -(features @ parameters[:-1])
        return pushed

    def gradients(self, parameters: Vector, features: Matrix, target: Vector) -> Matrix:
        """Minus the features, none of them the intercept's."""
        del parameters, target
        return np.column_stack([-features, np.zeros(len(features))])


def trained_epsilon(
    epsilon: float,
    delta: float,
    *,
    canaries: int = 10_000,
    lanes: int = LANES,
    rounds: int = 10,
    sampling_rate: float = 1.0,
    drawn: float | None = None,
    noise: float = 1.0,
    seed: int = 0,
) -> Bound:
    """Audit final models of private training: all its noised steps, of secret batches if so, as one release.

    The stage is the one that a study trains with, `Descent`; sums are made without masks. What is guessed
    from is only the last model: each canary pushes a parameter of its own.

    sampling_rate   with which a canary is in a step, as planned
    drawn           with which it is in truth: another one on purpose

    Raises `InvalidArgument` for canaries that do not fit the trainings, and as `plan_noise`.
    """
    check_fit(canaries, lanes)
    rng = np.random.default_rng([seed, 14])
    coins = rng.random((canaries // lanes, lanes)) < 0.5
    drawn = sampling_rate if drawn is None else drawn
    names = _names(SITES)
    given: dict[str, Any] = {"study": "audit", "sites": SITES, "rounds": rounds}

    def descent(noises: Mapping[str, Any]) -> Descent:
        answering = Answering("patient", SITES, lanes, noises, entropy=rng.bytes)
        return Descent(Pushed(lanes, l2=0.0), answering, ClipRule(1.0), drawn, Momentum(0.0))

    question = descent({}).question()
    terms = PrivateTerms(unit="patient", epsilon=epsilon, delta=delta, sampling_rate=sampling_rate)
    planned = plan_noise([Demand(question, rounds, sampling_rate=sampling_rate)], terms, **given)
    multiplier = planned.multipliers[question.kind] * noise
    made = plan_with_noise(
        [question], "patient", {question.kind: multiplier}, rates={question.kind: drawn}, **given
    )
    stage = descent({one.kind: one.noise for one in made.plan if one.noise is not None})
    start = {
        "parameters": np.zeros(lanes + 1),
        "velocity": np.zeros(lanes + 1),
        "learning_rate": np.ones(1),
        "clip": np.ones(1),
        "counted": np.zeros(2),
        "round": np.zeros(1),
    }
    scores = []
    for chosen in coins:
        turn = np.arange(lanes) % SITES
        sites = {
            name: Site(
                name,
                features=_rows(chosen & (turn == place)),
                target=np.zeros(int((chosen & (turn == place)).sum())),
                columns=tuple(str(lane) for lane in range(lanes)),
            )
            for place, name in enumerate(names)
        }
        with OpenSums(made, names, rng) as summing:
            scores.append(follow(course((stage, rounds)), summing, sites, start)["parameters"][:-1])
    return bound(
        np.concatenate(scores),
        coins.ravel(),
        mechanism="final model" if sampling_rate == 1.0 else "final model of secret batches",
        claimed=planned.guarantee.epsilon,
        delta=delta,
        noise=noise,
    )


def check_fit(canaries: int, lanes: int = LANES) -> None:
    """Raise `InvalidArgument` for canaries that do not fit sums of so many."""
    if canaries < 200 or canaries % lanes or lanes < SITES:
        raise InvalidArgument(
            f"{canaries} canaries do not fit sums of {lanes}: take a multiple of that, 200 at least, and "
            f"sums of {SITES} at least"
        )


def _names(number: int) -> tuple[str, ...]:
    return tuple(f"site-{place:02d}" for place in range(number))


def _rows(chosen: Members) -> Matrix:
    """A row for each canary that is in, all of its length on its own lane."""
    return np.eye(len(chosen))[chosen]


def _dealt(chosen: Members, names: Sequence[str], give: Any) -> dict[str, Contributor]:
    """The canaries that are in, dealt to the sites in turn."""
    turn = np.arange(len(chosen)) % len(names)
    return {name: partial(give, chosen & (turn == place)) for place, name in enumerate(names)}


def _given(chosen: Members, _question: bytes) -> Contribution:
    return Contribution({"canary": _rows(chosen)}, weight=int(chosen.sum()))


def _summed(chosen: Members, _question: bytes) -> Contribution:
    return Contribution({"canary": chosen.astype(np.float64)}, weight=1)


def _each(chosen: Members, names: Sequence[str]) -> dict[str, Contributor]:
    """Every site is a canary, which gives all it may, or nothing."""
    return {
        name: partial(_one_site, np.eye(len(chosen))[place], bool(chosen[place]))
        for place, name in enumerate(names)
    }


def _one_site(row: Vector, chosen: bool, _question: bytes) -> Contribution:
    return Contribution({"canary": row * chosen}, weight=WEIGHT * chosen)
