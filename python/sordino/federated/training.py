"""What one training consists of: its settings, the sums that it asks in order, and its first state."""

from __future__ import annotations

from dataclasses import dataclass

from sordino.federated.arrays import Arrays
from sordino.federated.course import Turn, course
from sordino.federated.curvature import Curvature
from sordino.federated.evaluation import Evaluation
from sordino.federated.fedavg import FedAvg
from sordino.federated.scaling import Means, Units, Variances
from sordino.federated.stage import Stage
from sordino.models.logistic import Logistic
from sordino.protocol.policy import Question


@dataclass(frozen=True)
class Training:
    """A logistic model trained by federated averaging.

    sites, max_patients  public bounds: sites of the roster, patients of any one site
    rounds               rounds of federated averaging
    learning_rate        None: from a secure sum of the sites' curvatures
    standardise          whether mean and standard deviation come first, by secure sums
    bins                 histogram bins of the evaluation on held-out patients; None for no evaluation
    The rest is as in `FedAvg` and `Logistic`.
    """

    columns: int
    sites: int
    max_patients: int
    l2: float = 0.01
    rounds: int = 60
    local_steps: int = 1
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float = 0.8
    standardise: bool = True
    clip: float = 16.0
    wanted_bits: int = 30
    seed: int = 0
    bins: int | None = None

    @property
    def model(self) -> Logistic:
        """The model that is trained."""
        return Logistic(self.columns, self.l2)

    @property
    def fedavg(self) -> FedAvg:
        """The algorithm that trains it."""
        return FedAvg(
            self.model,
            sites=self.sites,
            max_patients=self.max_patients,
            local_steps=self.local_steps,
            batch_size=self.batch_size,
            momentum=self.momentum,
            clip=self.clip,
            wanted_bits=self.wanted_bits,
            seed=self.seed,
        )

    def stages(self) -> tuple[tuple[Stage, int], ...]:
        """The stages in order and how many sums each makes. Raises `PolicyError` for what cannot fit."""
        stages: list[tuple[Stage, int]] = []
        if self.standardise:
            bounds = self.columns, self.sites, self.max_patients
            stages += [(Units(*bounds), 1), (Means(*bounds), 1), (Variances(*bounds), 1)]
        if self.learning_rate is None:
            curvature = Curvature(
                self.model,
                l2=self.l2,
                local_steps=self.local_steps,
                sites=self.sites,
                max_patients=self.max_patients,
            )
            stages.append((curvature, 1))
        stages.append((self.fedavg, self.rounds))
        if self.bins is not None:
            stages.append((Evaluation(self.model, self.bins, self.max_patients), 1))
        return tuple(stages)

    def turns(self) -> tuple[Turn, ...]:
        """Every sum of the training, in order."""
        return course(*self.stages())

    def questions(self) -> tuple[Question, ...]:
        """The plan of questions that a policy has to allow."""
        return tuple(stage.question() for stage, _ in self.stages())

    def initial(self) -> Arrays:
        """The state before the first sum."""
        return self.fedavg.initial(self.learning_rate)
