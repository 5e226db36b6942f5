# SPDX-License-Identifier: Apache-2.0

"""Gradient descent with noise inside the secure sum: DP-SGD (Abadi et al. 2016) without a trusted curator.

Every patient's gradient is a row, clipped and rounded by the core at the site; a secure sum of all rows is
one step. The coordinator divides by the number of patients, adds the penalty, which no patient enters, and
takes the step with momentum.

The number of patients at a hospital is no public knowledge, so the divisor comes from the noised count of
the same sum, as the mean of all counts so far: one count alone would have its noise shake every step, and a
batch that is small by chance would make a large one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sordino import _core
from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Answering, Part, mean
from sordino.course.arrays import Arrays
from sordino.federated.private.clipping import ClipRule
from sordino.federated.server import Momentum, Server, moved
from sordino.federated.site import Site
from sordino.models.model import Matrix, Model, Vector
from sordino.protocol.policy import Question
from sordino.protocol.secret import SECRET_BYTES
from sordino.statistics.scaling import standardised


@dataclass(frozen=True)
class Descent:
    """One step of gradient descent on all patients of a secret batch, or on all there are.

    sampling_rate   chance of each patient to be in the batch, drawn at the site from its own entropy for
                    every upload, repeats included

    State: `parameters`, `velocity`, `learning_rate`, `clip` (shape (1,)), `counted` (the noised counts of
    batches so far, their sum and their number), `round`.
    """

    model: Model
    answering: Answering
    rule: ClipRule
    sampling_rate: float = 1.0
    server: Server = field(default_factory=Momentum)

    kind = "gradient"
    reads = ("parameters", "clip", "mean", "scale")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The gradient in units of the clip, and whether it was within it if the clip adapts."""
        return (Part("gradient", self.model.size, 1.0), *self.rule.parts)

    def question(self) -> Question:
        """Clipped at 1: the rows come in units of the clip of the round, so the noise's bound stays fixed."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The gradients of a fresh batch of the site's patients; none at all is an answer too."""
        batch = poisson_batch(len(site.target), self.sampling_rate, self.answering)
        rows = gradients(self.model, known, site.features[batch], site.target[batch])
        return self.answering.answer(
            self.kind,
            self.parts,
            self.rule.rows("gradient", rows, known),
            sampling_rate=self.sampling_rate,
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Moves `parameters`; the clip moves by what was within it."""
        counted = state["counted"] + np.array([self.answering.patients(total), 1.0])
        patients = counted[0] / counted[1]
        gradient = mean(total, "gradient", patients) * state["clip"][0]
        parameters = state["parameters"]
        gradient += self.model.penalty_gradient(parameters)
        rates = self.model.rates(float(state["learning_rate"][0]))
        return {
            **state,
            **moved(self.server, self.model, state, -rates * gradient, 1),
            "counted": counted,
            "round": state["round"] + 1.0,
            "clip": self.rule.moved(state["clip"], total, self.answering.patients(total)),
        }


def poisson_batch(patients: int, rate: float, answering: Answering) -> slice | Vector:
    """Who is in a batch, shape (patients,) of bool: each by chance `rate`, by secret draws; or everybody."""
    if rate == 1.0 or not patients:
        return slice(None)
    seed = bytearray(answering.entropy(SECRET_BYTES))
    drawn = _core.poisson_sample(patients, seed, q=rate)
    _core.wipe(seed)
    chosen: Vector = drawn.astype(np.bool_)
    return chosen


def gradients(model: Model, known: Arrays, features: Matrix, target: Vector) -> Matrix:
    """Each patient's gradient, shape (patients, size). What overflows is not finite, and adds nothing."""
    with np.errstate(over="ignore", invalid="ignore"):
        return model.gradients(known["parameters"], standardised(features, known), target)
