# SPDX-License-Identifier: Apache-2.0

"""Attribute inference: one hidden value of a patient, from a model and everything else about them.

Whatever can be filled in without the model is no leak of the model's, so that every figure stands beside
imputation that never sees it; only the difference counts (Jayaraman and Evans 2022, "Are attribute inference
attacks just imputation?"). The attribute is on which side of its mean a feature is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sordino.audit.membership import Members
from sordino.audit.rates import Interval, proportion
from sordino.errors import InvalidArgument
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix, Vector

Losses = Callable[[Matrix], Vector]
"""Each patient's loss under a model, by their features, shape (patients,)."""


@dataclass(frozen=True)
class Filled:
    """The part of members' attributes that is guessed right: without the model, and with it.

    gained   the difference over the same patients; its interval covers 95 % at least: who was won and who was
             lost by the model, each at 97.5 %
    """

    imputed: Interval
    attacked: Interval
    gained: Interval


def infer_attribute(
    losses: Losses,
    features: Matrix,
    target: Vector,
    shadow: Losses,
    known: Matrix,
    known_target: Vector,
    column: int,
) -> Filled:
    """Guess `column` of the members from the rest of their rows, their targets, and their losses.

    features, target      of the members, whose column is hidden from the attacker; `losses` are theirs
    known, known_target   of others, of whom the attacker knows everything
    shadow                losses of these others under a model that the attacker trained on them; NaN for whom
                          it tells nothing of

    What the model says is the difference of the losses with the column at the mean of either side. How much
    that is worth beside the imputation's log odds the attacker learns from the shadow model, as how much
    these are worth by themselves.
    """
    if min(len(features), len(known)) < 8:
        raise InvalidArgument("attribute inference needs 8 members and 8 others at least")
    cut = float(known[:, column].mean())
    high = known[:, column] > cut
    if high.all() or not high.any():
        raise InvalidArgument(f"column {column} is the same for all patients: there is nothing to infer")
    rows, own_rows = _others(features, target, column), _others(known, known_target, column)
    odds, own_odds = _odds(own_rows, high, rows), _across(own_rows, high)
    said, own_said = (
        _differences(of, table, known[~high, column].mean(), known[high, column].mean(), column)
        for of, table in ((losses, features), (shadow, known))
    )
    learnt = ~np.isnan(own_said)
    if min(high[learnt].sum(), (~high[learnt]).sum()) < 2:
        raise InvalidArgument("too few of the others have losses to learn from")
    unit = float(own_said[learnt].std()) or 1.0
    truth = features[:, column] > cut
    plain, with_model = (
        _odds(own[learnt], high[learnt], theirs, l2=1e-3) > 0.0
        for own, theirs in (
            (own_odds[:, np.newaxis], odds[:, np.newaxis]),
            (np.column_stack([own_odds, own_said / unit]), np.column_stack([odds, said / unit])),
        )
    )
    plain, with_model = plain == truth, with_model == truth
    won, lost = (
        proportion(int(changed.sum()), len(truth), level=0.975)
        for changed in (with_model & ~plain, plain & ~with_model)
    )
    return Filled(
        proportion(int(plain.sum()), len(truth)),
        proportion(int(with_model.sum()), len(truth)),
        Interval(won.value - lost.value, won.low - lost.high, won.high - lost.low),
    )


def _odds(rows: Matrix, high: Members, others: Matrix, l2: float = 0.1) -> Vector:
    """The log odds that others are high, by a logistic model of these."""
    model = Logistic(rows.shape[1], l2=l2)
    return model.decision(model.fit(rows, high.astype(float)), others)


def _across(rows: Matrix, high: Members) -> Vector:
    """The same of these themselves, each fifth by a model of the others."""
    part, odds = np.arange(len(rows)) % 5, np.empty(len(rows))
    for fold in range(5):
        odds[part == fold] = _odds(rows[part != fold], high[part != fold], rows[part == fold])
    return odds


def _differences(losses: Losses, features: Matrix, low: float, high: float, column: int) -> Vector:
    sides = []
    for value in (low, high):
        rows = features.copy()
        rows[:, column] = value
        sides.append(losses(rows))
    said: Vector = sides[0] - sides[1]
    return said


def _others(features: Matrix, target: Vector, column: int) -> Matrix:
    """All but the column, and the target in its place, each at its own scale."""
    rows = np.column_stack([np.delete(features, column, axis=1), target])
    spread = rows.std(axis=0)
    scaled: Matrix = (rows - rows.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    return scaled


def memorised(*, patients: int = 200, seed: int = 0, seen: bool = True) -> Filled:
    """The control: targets that are coins, so that only a model that remembers its members can say anything.

    The attribute's sign turns all other features round in front of the model. With `seen` False the model is
    trained on other coins, which is the null.
    """
    rng = np.random.default_rng([seed, 7])
    sign = rng.choice([-1.0, 1.0], size=(2, patients))
    rest = rng.normal(size=(2, patients, patients))
    target = rng.integers(0, 2, size=(2, patients)).astype(float)
    model = Logistic(patients, l2=1e-3)

    def losses(part: int) -> Losses:
        """Of the members, or of those whom the attacker trains a shadow model on."""
        trained_on = target[part] if seen else rng.integers(0, 2, patients).astype(float)
        fitted = model.fit(sign[part][:, np.newaxis] * rest[part], trained_on)

        def of(features: Matrix) -> Vector:
            z = model.decision(fitted, np.sign(features[:, :1]) * rest[part])
            loss: Vector = np.logaddexp(0.0, z) - target[part] * z
            return loss

        return of

    few = 5  # the imputer sees so many of the rest; the targets are coins, so more would not help it
    table = [np.column_stack([sign[part], rest[part][:, :few]]) for part in (0, 1)]
    return infer_attribute(losses(0), table[0], target[0], losses(1), table[1], target[1], 0)
