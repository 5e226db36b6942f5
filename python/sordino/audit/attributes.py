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
    losses: Losses, features: Matrix, target: Vector, known: Matrix, known_target: Vector, column: int
) -> Filled:
    """Guess `column` of the members from the rest of their rows, their targets, and their losses.

    features, target      of the members, whose column is hidden from the attacker
    known, known_target   of others, of whom the attacker knows everything

    The attacker adds to the imputation's log odds what the model says: the difference of the losses with the
    column at the mean of either side.
    """
    if min(len(features), len(known)) < 8:
        raise InvalidArgument("attribute inference needs 8 members and 8 others at least")
    cut = float(known[:, column].mean())
    high = known[:, column] > cut
    if high.all() or not high.any():
        raise InvalidArgument(f"column {column} is the same for all patients: there is nothing to infer")
    imputer = Logistic(features.shape[1], l2=0.1)
    fitted = imputer.fit(_others(known, known_target, column), high.astype(float))
    odds = imputer.decision(fitted, _others(features, target, column))
    rows = {}
    for name, half in (("low", ~high), ("high", high)):
        rows[name] = features.copy()
        rows[name][:, column] = known[half, column].mean()
    said = losses(rows["low"]) - losses(rows["high"])
    truth = features[:, column] > cut
    plain, with_model = (odds > 0.0) == truth, (odds + said > 0.0) == truth
    won, lost = (
        proportion(int(changed.sum()), len(truth), level=0.975)
        for changed in (with_model & ~plain, plain & ~with_model)
    )
    return Filled(
        proportion(int(plain.sum()), len(truth)),
        proportion(int(with_model.sum()), len(truth)),
        Interval(won.value - lost.value, won.low - lost.high, won.high - lost.low),
    )


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
    trained_on = target[0] if seen else rng.integers(0, 2, patients).astype(float)
    fitted = model.fit(sign[0][:, np.newaxis] * rest[0], trained_on)

    def losses(features: Matrix) -> Vector:
        z = model.decision(fitted, np.sign(features[:, :1]) * rest[0])
        loss: Vector = np.logaddexp(0.0, z) - target[0] * z
        return loss

    few = 5  # the imputer sees so many of the rest; the targets are coins, so more would not help it
    table = [np.column_stack([sign[part], rest[part][:, :few]]) for part in (0, 1)]
    return infer_attribute(losses, table[0], target[0], table[1], target[1], 0)
