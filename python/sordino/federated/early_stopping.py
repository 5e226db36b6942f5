# SPDX-License-Identifier: Apache-2.0

"""Early stopping on the secure loss of patients that every site keeps out of training and out of the test.

Every few rounds the sites sum that loss under the mask; after `patience` sums without a better one training
stops, and the parameters of the best are the model's. It costs a sum each time, and privacy where there is
noise. The choice among models is made on these patients, so their loss is no estimate for new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.answer import Answering, Part
from sordino.course.arrays import Arrays
from sordino.course.follow import STOPPED, Turn
from sordino.course.resolution import fraction_bits
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument
from sordino.federated.site import Site
from sordino.models.model import Matrix, Model, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.scaling import standardised

LOSS_CLIP = 32.0
"""The mean loss of a site's patients is taken as this at most."""


@dataclass(frozen=True)
class EarlyStopping:
    """When the validation loss is summed, and when training stops.

    every      rounds of training between two sums
    patience   sums without a better loss after which it stops

    Raises `InvalidArgument` for less than 1 of either.
    """

    every: int = 1
    patience: int = 5

    def __post_init__(self) -> None:
        if min(self.every, self.patience) < 1:
            raise InvalidArgument(
                f"every and patience must be whole numbers from 1 on, got {self.every} and {self.patience}"
            )

    def checks(self, rounds: int) -> int:
        """How often the loss is summed in so many rounds; the last round is always followed by one."""
        return -(-rounds // self.every)

    def turns(self, trainer: Stage[Site], rounds: int, *checks: Stage[Site]) -> list[Turn]:
        """Rounds of training, and the checks in between; all are passed over once training stops."""
        turns = []
        for number in range(1, rounds + 1):
            turns.append(Turn(trainer, number, stops=True))
            if number % self.every == 0 or number == rounds:
                turns += [Turn(check, self.checks(number), stops=True) for check in checks]
        return turns

    def settle(self, state: Arrays, loss: float, rounds: int) -> Arrays:
        """The state after one more validation loss: the best is kept, and taken where training ends."""
        losses = np.append(state.get("validation_losses", np.zeros(0)), loss)
        best = int(np.argmin(losses))
        state = {**state, "validation_losses": losses}
        if best == len(losses) - 1:
            state["validated"] = state["parameters"]
        stops = len(losses) - 1 - best >= self.patience
        if stops:
            state[STOPPED] = state["round"]
        if stops or state["round"][0] >= rounds:
            state["parameters"] = state["validated"]
        return state


@dataclass(frozen=True)
class Validation:
    """The mean loss over all sites' validation patients, totals and their number under the mask.

    State: `validation_losses`, one for each sum, and `validated`, the parameters of the least.
    """

    model: Model
    sites: int
    max_patients: int
    rounds: int
    stopping: EarlyStopping

    kind = "validation"
    reads = ("parameters", "mean", "scale")

    def question(self) -> Question:
        """Loss and number of patients; weight 1, since these are totals."""
        clip = LOSS_CLIP * self.max_patients
        bits = fraction_bits("the validation loss", clip=clip, sites=self.sites, max_weight=1, wanted=30)
        return Question(
            kind=self.kind,
            blocks=(Block("loss", 1, clip, bits), Block("patients", 1, float(self.max_patients), 0)),
        )

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The summed loss; zero where the site keeps nobody out."""
        features, target = validation_rows(site, known)
        loss = 0.0
        if len(target):
            with np.errstate(over="ignore", invalid="ignore"):
                mean = self.model.loss(known["parameters"], features, target)
            loss = len(target) * float(np.fmin(mean, LOSS_CLIP))
        return Contribution({"loss": np.array([loss]), "patients": np.array([float(len(target))])})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """See `EarlyStopping.settle`. Raises `InvalidArgument` where no site keeps anybody out."""
        patients = float(total.sums["patients"][0])
        if not patients:
            raise InvalidArgument("early stopping needs validation patients, and no site keeps any out")
        return self.stopping.settle(state, float(total.sums["loss"][0]) / patients, self.rounds)


@dataclass(frozen=True)
class PrivateValidation:
    """The same with noise: a row for each validation patient, its loss, of which `clip` is the most."""

    model: Model
    answering: Answering
    rounds: int
    stopping: EarlyStopping
    clip: float = 2.0

    kind = "private_validation"
    reads = ("parameters", "mean", "scale")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The loss less half the clip, so that it goes from -clip / 2 to clip / 2."""
        return (Part("loss", 1, self.clip / 2.0),)

    def question(self) -> Question:
        """A lane and the count."""
        return self.answering.question(self.kind, self.parts)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """A row for each patient, none if the site keeps nobody out."""
        features, target = validation_rows(site, known)
        with np.errstate(over="ignore", invalid="ignore"):
            losses = [
                self.model.loss(known["parameters"], features[row : row + 1], target[row : row + 1])
                for row in range(len(target))
            ]
        rows: Matrix = np.fmin(np.array(losses).reshape(-1, 1), self.clip) - self.clip / 2.0
        return self.answering.answer(self.kind, self.parts, {"loss": rows})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """See `EarlyStopping.settle`."""
        loss = float(total.sums["loss"][0]) / self.answering.patients(total) + self.clip / 2.0
        return self.stopping.settle(state, loss, self.rounds)


def validation_rows(site: Site, known: Arrays) -> tuple[Matrix, Vector]:
    """Features, standardised if there is a scaler, and target of a site's validation patients."""
    if site.validation_features is None or site.validation_target is None:
        return site.features[:0], site.target[:0]
    return standardised(site.validation_features, known), site.validation_target
