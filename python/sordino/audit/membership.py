# SPDX-License-Identifier: Apache-2.0

"""Membership inference: whether a patient was among those that a model was trained on.

Two attacks, both from the losses of a model alone: a threshold on the loss (Yeom et al. 2018), and the
likelihood ratio of Carlini et al. (2022, "Membership inference attacks from first principles", Algorithm 1),
which learns from shadow models what a patient's loss is when they are in and when they are out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.audit.rates import Separation, separation
from sordino.errors import InvalidArgument
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix, Model, Vector

Members: TypeAlias = NDArray[np.bool_]
Sites: TypeAlias = NDArray[np.intp]
Observe: TypeAlias = Callable[[Members, int], Mapping[str, Vector]]
"""What an attacker sees of a training on these members, by a seed: at each target the patients' losses, of
shape (patients,); NaN for a patient who is not asked about there."""

LEAST = 1e-12
"""A loss is not taken as smaller: exp(-loss) is 1 there but for rounding."""


@dataclass(frozen=True)
class Inferred:
    """How far both attacks come."""

    threshold: Separation
    likelihood: Separation
    shadows: int


def losses(model: Model, parameters: Vector, features: Matrix, target: Vector) -> Vector:
    """Each patient's own loss, shape (patients,)."""
    return np.array(
        [model.loss(parameters, features[at : at + 1], target[at : at + 1]) for at in range(len(target))]
    )


def confidence(loss: Vector) -> Vector:
    """log(p / (1 - p)) of p = exp(-loss), which is near to normal over trainings (Carlini et al., 4.A)."""
    loss = np.clip(loss, LEAST, 500.0)
    return -np.log(np.expm1(loss))


def infer(observe: Observe, sites: Sites, *, shadows: int, seed: int = 0) -> dict[str, Inferred]:
    """Attack `shadows` + 2 trainings on random halves of patients, each with the others as shadow models.

    sites   the number of each patient's site, of whose patients each training has half

    The attacker knows every patient's row and how training goes, but not who was in it: the online attack,
    which is the stronger one. The deviations are common to all patients, as the paper has it for few shadows.

    Trainings come in pairs, of which one has the patients that the other has not. A training's own pair is
    none of its shadows: of the others every patient is in just half, so that nothing but their losses can
    say who was in it, and a model that says nothing leaves a coin.
    """
    if shadows < 4 or shadows % 2:
        raise InvalidArgument(f"a likelihood ratio needs 4 shadow models, or 6, 8, ..., got {shadows}")
    if len(sites) < 8:
        raise InvalidArgument(f"too few patients for membership inference: {len(sites)}, 8 are the least")
    member = halves(np.random.default_rng([seed, 1]), sites, shadows // 2 + 1)
    seen = [observe(half, seed + number) for number, half in enumerate(member)]
    found = {}
    for target, first in seen[0].items():
        here = ~np.isnan(first)
        own, inside = confidence(np.array([one[target][here] for one in seen])), member[:, here]
        score = np.empty(own.shape)
        for number in range(len(own)):
            shadow = np.arange(len(own)) // 2 != number // 2
            score[number] = likelihood_ratio(own[number], own[shadow], inside[shadow])
        found[target] = Inferred(separation(own, inside), separation(score, inside), shadows)
    return found


def halves(rng: np.random.Generator, sites: Sites, pairs: int) -> Members:
    """In which training each patient is, shape (2 * pairs, patients): a half, then the other, in turn."""
    member = np.empty((2 * pairs, len(sites)), dtype=np.bool_)
    for number in range(pairs):
        for site in np.unique(sites):
            here = np.flatnonzero(sites == site)
            member[2 * number, here] = rng.permutation((np.arange(len(here)) + rng.integers(2)) % 2 == 0)
        member[2 * number + 1] = ~member[2 * number]
    return member


def likelihood_ratio(scored: Vector, seen: Matrix, member: Members) -> Vector:
    """The log ratio N(scored; in) / N(scored; out) of each patient; `seen`, `member`: (shadows, patients)."""
    inside, outside = (np.where(chosen, seen, np.nan) for chosen in (member, ~member))
    ratio = np.zeros(len(scored))
    for sign, values in ((1.0, inside), (-1.0, outside)):
        mean = np.nanmean(values, axis=0)
        deviation = max(float(np.sqrt(np.nanmean((values - mean) ** 2))), 1e-9)
        ratio += sign * (-0.5 * ((scored - mean) / deviation) ** 2 - np.log(deviation))
    return ratio


def overfitted(*, patients: int = 200, shadows: int = 8, seed: int = 0) -> Inferred:
    """The control: ten features a member, random targets, no penalty. Both attacks must find them all."""
    rng = np.random.default_rng([seed, 2])
    features, target = rng.normal(size=(patients, 5 * patients)), rng.integers(0, 2, patients).astype(float)
    model = Logistic(5 * patients, l2=1e-3)

    def observe(member: Members, _seed: int) -> Mapping[str, Vector]:
        fitted = model.fit(features[member], target[member])
        return {"model": losses(model, fitted, features, target)}

    return infer(observe, np.zeros(patients, np.intp), shadows=shadows, seed=seed)["model"]


def unrelated(*, patients: int = 400, shadows: int = 8, seed: int = 0) -> Inferred:
    """The null: models of other patients, who say nothing about these. No attack may beat a coin."""
    rng = np.random.default_rng([seed, 3])
    features, target = rng.normal(size=(patients, 5)), rng.integers(0, 2, patients).astype(float)
    model = Logistic(5)

    def observe(_member: Members, seed: int) -> Mapping[str, Vector]:
        other = np.random.default_rng([seed, 4])
        fitted = model.fit(other.normal(size=(60, 5)), other.integers(0, 2, 60).astype(float))
        return {"model": losses(model, fitted, features, target)}

    return infer(observe, np.zeros(patients, np.intp), shadows=shadows, seed=seed)["model"]
