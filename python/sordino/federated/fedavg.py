"""Federated averaging: local gradient steps at every site, then the patient-weighted mean of the changes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.errors import ValueOutOfRange
from sordino.federated.site import Site
from sordino.models.model import Model, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised

LOSS_CLIP = 1024.0
"""The training loss is a metric only: a larger one is shown as this."""


@dataclass(frozen=True)
class FedAvg:
    """FederatedAveraging (McMahan et al. 2017, Algorithm 1), with all sites in every round.

    A site starts from the common parameters, takes `local_steps` gradient steps (over all of its patients,
    or over batches of `batch_size` drawn by a public seed) and sends by how much its parameters changed; the
    change is multiplied by its number of patients after rounding, inside the masked vector. With one
    full-batch step, and every site there, a round is one step of gradient descent on the pooled rows; more
    steps drift towards each site's own optimum, the more so the more the sites differ.

    momentum       the coordinator adds this part of its last step to the mean change (FedAvgM, Hsu et al.
                   2019); 0 is plain FedAvg
    clip           bound on the change of any parameter in one round; a larger one is refused, since it means
                   that training diverges
    wanted_bits    fraction bits of a change if the lanes allow: a resolution of 2**-wanted_bits

    State: `parameters`, `velocity` (shape (model.size,)), `learning_rate` and `round` (shape (1,)), and
    `losses`, the mean training loss at the start of every round.
    """

    model: Model
    sites: int
    max_patients: int
    local_steps: int = 1
    batch_size: int | None = None
    momentum: float = 0.8
    clip: float = 16.0
    wanted_bits: int = 30
    seed: int = 0

    kind = "fedavg"
    reads = ("parameters", "learning_rate", "round", "mean", "scale")

    def question(self) -> Question:
        """The change of every parameter, and the training loss in a block of its own."""

        def block(name: str, what: str, length: int, clip: float, wanted: int) -> Block:
            bits = fraction_bits(
                what, clip=clip, sites=self.sites, max_weight=self.max_patients, wanted=wanted
            )
            return Block(name=name, length=length, clip=clip, fraction_bits=bits)

        change = block("change", "update_clip", self.model.size, self.clip, self.wanted_bits)
        loss = block("loss", "the training loss", 1, LOSS_CLIP, 20)
        return Question(kind=self.kind, blocks=(change, loss), max_weight=self.max_patients)

    def initial(self, learning_rate: float | None = None) -> Arrays:
        """The state before round 1; without `learning_rate` an earlier stage has to set it."""
        start = {
            "parameters": self.model.initial(),
            "velocity": np.zeros(self.model.size),
            "round": np.zeros(1),
            "losses": np.zeros(0),
        }
        return start if learning_rate is None else {**start, "learning_rate": np.array([learning_rate])}

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The site's change of the parameters and its mean loss before it."""
        change, loss = self.train(site, known)
        self._check(site, change)
        return Contribution(
            {"change": change, "loss": np.array([min(loss, LOSS_CLIP)])}, weight=len(site.target)
        )

    def train(self, site: Site, known: Arrays) -> tuple[Vector, float]:
        """The change of the parameters, shape (model.size,), and the mean loss before it; neither checked."""
        features = standardised(site.features, known)
        start, rates = known["parameters"], self.model.rates(float(known["learning_rate"][0]))
        parameters = start.copy()
        # Overflow shows as infinity or NaN, which `contribute` names.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.model.loss(start, features, site.target)
            for rows in self._batches(site.name, len(site.target), int(known["round"][0])):
                parameters -= rates * self.model.gradient(parameters, features[rows], site.target[rows])
            return parameters - start, loss

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Moves `parameters` by the mean change, and by a part of the last step if there is momentum."""
        velocity = self.momentum * state["velocity"] + total.mean("change")
        rates = self.local_steps * self.model.rates(float(state["learning_rate"][0]))
        parameters = self.model.proximal(state["parameters"] + velocity, rates)
        return {
            **state,
            "parameters": parameters,
            "velocity": parameters - state["parameters"],
            "round": state["round"] + 1.0,
            "losses": np.append(state["losses"], total.mean("loss")),
        }

    def _batches(self, name: str, patients: int, number: int) -> list[slice | Vector]:
        """The rows of each local step: all of them, or batches that go through a shuffle, pass after pass."""
        if self.batch_size is None or self.batch_size >= patients:
            return [slice(None)] * self.local_steps
        # Drawn from the site's name too, or equal sites would batch alike; the order is no secret.
        mixed = int.from_bytes(sha256(name.encode()).digest()[:8], "big")
        order = np.random.default_rng([self.seed, number, mixed])
        in_a_pass = -(-patients // self.batch_size)
        batches: list[slice | Vector] = []
        while len(batches) < self.local_steps:
            batches += np.array_split(order.permutation(patients), in_a_pass)
        return batches[: self.local_steps]

    def _check(self, site: Site, change: Vector) -> None:
        wrong = np.flatnonzero(~(np.abs(change) <= self.clip))
        if len(wrong):
            where = site.columns[wrong[0]] if wrong[0] < len(site.columns) else "the intercept"
            raise ValueOutOfRange(
                f"site {site.name!r}: the change of {where!r} in one round is {change[wrong[0]]:.3g}, beyond "
                f"update_clip = {self.clip:g}: if training diverges, lower learning_rate or local_steps, "
                "else raise update_clip"
            )
