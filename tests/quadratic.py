# SPDX-License-Identifier: Apache-2.0

"""Sites whose objective is a parabola, so that the fixed point of every algorithm is known on paper.

Site i has f_i(x) = a_i / 2 (x - b_i)^2. A policy needs three sites, so each of the two parabolas stands at
two sites, which changes no weighted mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.federated.site import Site
from sordino.protocol.policy import Policy, plan_policy

PARABOLAS = {"east": (1.0, 1.0), "north": (1.0, 1.0), "south": (10.0, -1.0), "west": (10.0, -1.0)}


@dataclass(frozen=True)
class Quadratic:
    """Mean over patients of a / 2 (x - b)^2; a feature a and a target b for each."""

    start: float = 0.0
    size = 1

    def initial(self):
        return np.array([self.start])

    def loss(self, parameters, features, target):
        return float(np.mean(features[:, 0] / 2.0 * (parameters[0] - target) ** 2))

    def gradient(self, parameters, features, target):
        return np.array([np.mean(features[:, 0] * (parameters[0] - target))])

    def gradients(self, parameters, features, target):
        return features[:, :1] * (parameters[0] - target)[:, np.newaxis]

    def penalty_gradient(self, parameters):
        del parameters
        return np.zeros(1)

    def proximal(self, parameters, rates):
        del rates
        return parameters

    def rates(self, learning_rate):
        return np.array([learning_rate])


def sites_of(
    parabolas: Mapping[str, tuple[float, float]] = PARABOLAS, patients: Sequence[int] | None = None
) -> dict[str, Site]:
    """A site for each (a, b), with so many equal patients, by default one."""
    counts = patients or [1] * len(parabolas)
    return {
        name: Site(name, np.full((count, 1), a), np.full(count, b), ("a",))
        for (name, (a, b)), count in zip(parabolas.items(), counts, strict=True)
    }


def policy_for(stages, names, *, rounds=5_000, across_rounds="accept", **terms) -> Policy:
    plan = [stage.question() for stage in stages]
    return plan_policy(
        study="test", sites=len(names), plan=plan, across_rounds=across_rounds, rounds=rounds, **terms
    )


def plain(policy: Policy, names) -> PlainAggregator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlainSumWarning)
        return PlainAggregator(policy, list(names))


def masked(policy: Policy, names) -> MaskedAggregator:
    return MaskedAggregator(policy, list(names))
