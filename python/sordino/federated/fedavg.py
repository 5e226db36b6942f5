# SPDX-License-Identifier: Apache-2.0

"""Federated averaging: local gradient steps at every site, then the patient-weighted mean of the changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.errors import Diverged
from sordino.federated.local import Local
from sordino.federated.server import Momentum, Server, moved
from sordino.federated.site import Site
from sordino.models.model import Model, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised

LOSS_CLIP = 1024.0
"""The training loss is a metric only: a larger one is shown as this."""


@dataclass(frozen=True)
class FedAvg:
    """FederatedAveraging (McMahan et al. 2017, Algorithm 1), and FedProx with `Local.proximal`.

    A site starts from the common parameters, takes the steps of `local` and sends by how much its parameters
    changed; the change is multiplied by its number of patients after rounding, inside the masked vector. With
    one full-batch step, every site there and `Momentum(0.0)`, a round is one step of gradient descent on the
    pooled rows; more steps drift towards each site's own optimum, the more so the more the sites differ.

    local          the sites' own work
    server         what the coordinator does with the mean change
    clip           bound on the change of any parameter in one round; a larger one is refused, since it means
                   that training diverges
    wanted_bits    fraction bits of a change if the lanes allow: a resolution of 2**-wanted_bits

    State: `parameters` (shape (model.size,)), `learning_rate` and `round` (shape (1,)), `losses`, the mean
    training loss at the start of every round, `best`, the parameters of the least of them, and the server's.
    """

    model: Model
    sites: int
    max_patients: int
    local: Local = field(default_factory=Local)
    server: Server = field(default_factory=Momentum)
    clip: float = 16.0
    wanted_bits: int = 30

    kind = "fedavg"
    reads = ("parameters", "learning_rate", "round", "mean", "scale")

    def question(self) -> Question:
        """The change of every parameter, and the training loss in a block of its own."""
        change = self.block("change", "update_clip", self.model.size, self.clip, self.wanted_bits)
        loss = self.block("loss", "the training loss", 1, LOSS_CLIP, 20)
        return Question(kind=self.kind, blocks=(change, loss), max_weight=self.max_patients)

    def block(self, name: str, what: str, length: int, clip: float, wanted: int) -> Block:
        """A block with as many fraction bits as are wanted and fit; `PolicyError` names `what`."""
        bits = fraction_bits(what, clip=clip, sites=self.sites, max_weight=self.max_patients, wanted=wanted)
        return Block(name=name, length=length, clip=clip, fraction_bits=bits)

    def initial(self, learning_rate: float | None = None) -> Arrays:
        """The state before round 1; without `learning_rate` an earlier stage has to set it."""
        start = {
            "parameters": self.model.initial(),
            "best": self.model.initial(),
            "round": np.zeros(1),
            "losses": np.zeros(0),
            **self.server.initial(self.model.size),
        }
        return start if learning_rate is None else {**start, "learning_rate": np.array([learning_rate])}

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The site's change of the parameters and its mean loss before it."""
        change, loss, _ = self.train(site, known)
        return self.contribution(site, change, loss)

    def train(self, site: Site, known: Arrays, correction: Vector | float = 0.0) -> tuple[Vector, float, int]:
        """The change of the parameters, the mean loss before it, and the steps taken; nothing is checked."""
        features = standardised(site.features, known)
        start, rates = known["parameters"], self.model.rates(float(known["learning_rate"][0]))
        batches = self.local.batches(site.name, len(site.target), int(known["round"][0]))
        # Overflow shows as infinity or NaN, which `contribution` names.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.model.loss(start, features, site.target)
            change = self.local.descend(
                self.model, start, rates, features, site.target, batches, correction=correction
            )
        return change, loss, len(batches)

    def contribution(self, site: Site, change: Vector, loss: float, **more: Vector) -> Contribution:
        """What is sent of a training, with further blocks; raises `Diverged` for a change beyond the clip."""
        wrong = np.flatnonzero(~(np.abs(change) <= self.clip))
        if len(wrong):
            names = (*site.columns, "the intercept")
            where = repr(names[wrong[0]]) if self.model.size <= len(names) else f"parameter {wrong[0]}"
            raise Diverged(
                f"site {site.name!r}: the change of {where} in one round is {change[wrong[0]]:.3g}, beyond "
                f"update_clip = {self.clip:g}: if training diverges, lower learning_rate or local_steps, "
                "else raise update_clip"
            )
        shown = np.array([np.fmin(loss, LOSS_CLIP)])
        return Contribution({"change": change, "loss": shown, **more}, weight=len(site.target))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Moves `parameters` as the server has it."""
        losses = np.append(state["losses"], total.mean("loss"))
        return {
            **state,
            **moved(self.server, self.model, state, total.mean("change"), self.local.count),
            "best": state["parameters"] if losses[-1] <= losses.min() else state["best"],
            "round": state["round"] + 1.0,
            "losses": losses,
        }

    def give_up(self, state: Arrays) -> Arrays:
        """`parameters` as they were where the validation loss was least, else the mean training loss."""
        return {**state, "parameters": state["validated" if "validated" in state else "best"]}
