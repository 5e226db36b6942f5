# SPDX-License-Identifier: Apache-2.0

"""Federated averaging with noise: whole updates of sites, or sites whose own training is private.

For the unit "site" an update is clipped as one vector and weighs as many patients as the site has, so one
site moves the sum by max_patients times the clip: with a few sites the noise drowns it, and `sordino check`
says by how much. For "patient-local" each site takes noised steps by itself, and all sites weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Answering, Part
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.federated.fedavg import FedAvg
from sordino.federated.private.clipping import ClipRule
from sordino.federated.private.descent import gradients, poisson_batch
from sordino.federated.server import moved
from sordino.federated.site import Site
from sordino.models.model import Vector
from sordino.privacy.local import private_sums
from sordino.protocol.policy import Block, Question


@dataclass(frozen=True)
class UpdateAveraging:
    """FedAvg of clipped updates, one a site; the unit is the site."""

    fedavg: FedAvg
    answering: Answering
    rule: ClipRule

    kind = "update"
    reads = ("parameters", "learning_rate", "round", "clip", "mean", "scale")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The update in units of the clip, and whether it was within it if the clip adapts."""
        return (Part("change", self.fedavg.model.size, 1.0), *self.rule.parts)

    def question(self) -> Question:
        """Clipped at 1, in units of the clip of the round."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The change of the parameters after the site's own steps; nothing is refused."""
        with np.errstate(over="ignore", invalid="ignore"):
            change, _, _ = self.fedavg.train(site, known)
        rows = self.rule.rows("change", change[np.newaxis], known)
        return Contribution({name: block[0] for name, block in rows.items()}, len(site.target))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Moves `parameters` by the mean change."""
        patients = self.answering.patients(total)
        change = total.sums["change"] / patients * state["clip"][0]
        return {
            **state,
            **moved(self.fedavg.server, self.fedavg.model, state, change, self.fedavg.local.count),
            "round": state["round"] + 1.0,
            "clip": self.rule.moved(state["clip"], total, patients),
        }


@dataclass(frozen=True)
class LocalTraining:
    """Sites that train by DP-SGD on their own, and the plain mean of what came of it.

    clip            L2 norm to which each patient's gradient is clipped
    sampling_rate   chance of a patient to be in a step
    """

    fedavg: FedAvg
    answering: Answering
    clip: float
    sampling_rate: float = 1.0

    kind = "local"
    reads = ("parameters", "learning_rate", "mean", "scale")

    def question(self) -> Question:
        """The change of every parameter; it is private before it comes here, so every site weighs 1."""
        block = Block(
            "change",
            self.fedavg.model.size,
            self.fedavg.clip,
            fraction_bits(
                "update_clip",
                clip=self.fedavg.clip,
                sites=self.answering.sites,
                max_weight=1,
                wanted=self.fedavg.wanted_bits,
            ),
        )
        return Question(kind=self.kind, blocks=(block,), max_weight=1, saturate=True)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """As many noised steps as the policy says, each on a secret batch of its own."""
        noise, model, local = self.answering.planned(self.kind), self.fedavg.model, self.fedavg.local
        rates = local.damped(model.rates(float(known["learning_rate"][0])))
        parameters = known["parameters"].copy()
        counted: Vector = np.zeros(2)
        for _ in range(noise.local_steps):
            batch = poisson_batch(len(site.target), self.sampling_rate, self.answering)
            state = {**known, "parameters": parameters}
            rows = gradients(model, state, site.features[batch], site.target[batch])
            sums, count = private_sums(
                {"gradient": rows}, {"gradient": self.clip}, noise.local_sigma, entropy=self.answering.entropy
            )
            counted += np.array([max(count, 1.0), 1.0])
            gradient = sums["gradient"] * counted[1] / counted[0]
            gradient += model.penalty_gradient(parameters) + local.proximal * (
                parameters - known["parameters"]
            )
            parameters -= rates * gradient
        return Contribution(
            {"change": parameters - known["parameters"]},
            sampling_rate=self.sampling_rate,
            local_steps=noise.local_steps,
            local_sigma=noise.local_sigma,
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Moves `parameters` by the mean change over the sites."""
        steps = self.answering.planned(self.kind).local_steps
        return {
            **state,
            **moved(self.fedavg.server, self.fedavg.model, state, total.mean("change"), steps),
            "round": state["round"] + 1.0,
        }
