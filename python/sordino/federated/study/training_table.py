# SPDX-License-Identifier: Apache-2.0

"""Table [training], by its `algorithm`: how the sites' work becomes one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from sordino.federated.early_stopping import EarlyStopping
from sordino.federated.server import Adam, Momentum, Server
from sordino.federated.study.families.cox import CoxFamily
from sordino.federated.study.keys import Count, Fraction, Penalty, Positive, Seconds, Seed

if TYPE_CHECKING:
    from sordino.federated.study.file import StudyFile

Rate = Annotated[Literal["auto"] | Positive, Meta(description='"auto" or a number above 0')]
Kept = Annotated[float, Meta(ge=0, lt=1, description="a number from 0, below 1")]
Part = Annotated[float, Meta(gt=0, le=1, description="a number above 0, at most 1")]


Rounds = Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100,000")]


class _Training(Struct, frozen=True, kw_only=True):
    """The keys that every algorithm has."""

    rounds: Rounds = 60
    local_steps: Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10,000")] = 1
    epochs: Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10,000")] | None = None
    batch_size: Count | None = None
    learning_rate: Rate = "auto"
    sites_fraction: Part = 1.0
    validation: Fraction | None = None
    patience: Count = 5
    check_every: Count = 1
    deadline: Seconds | None = None
    seed: Seed = 0

    @property
    def settings(self) -> dict[str, Any]:
        """What `Training` is told of it."""
        stopping = EarlyStopping(self.check_every, self.patience) if self.validation else None
        return {
            "rounds": self.rounds,
            "local_steps": self.local_steps,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": None if isinstance(self.learning_rate, str) else self.learning_rate,
            "stopping": stopping,
            "seed": self.seed,
        }


class FedAvgTable(_Training, frozen=True, kw_only=True, tag_field="algorithm", tag="fedavg"):
    """Federated averaging, and what the coordinator does with the mean change."""

    momentum: Kept = 0.8
    server: Annotated[Literal["momentum", "adam"], Meta(description='"momentum" or "adam"')] = "momentum"
    server_rate: Positive | None = None

    @property
    def optimiser(self) -> Server:
        """The coordinator's, whose `momentum` is Adam's first decay."""
        if self.server == "adam":
            return Adam(learning_rate=self.server_rate or 0.1, beta1=self.momentum)
        return Momentum(self.momentum, self.server_rate or 1.0)

    @property
    def settings(self) -> dict[str, Any]:
        """What `Training` is told of it."""
        return {**super().settings, "momentum": self.momentum, "server": self.optimiser}


class FedProxTable(FedAvgTable, frozen=True, kw_only=True, tag_field="algorithm", tag="fedprox"):
    """The same, with local steps that are held back from each site's own optimum."""

    proximal: Penalty = 0.1

    @property
    def settings(self) -> dict[str, Any]:
        """What `Training` is told of it."""
        return {**super().settings, "proximal": self.proximal}


class ScaffoldTable(_Training, frozen=True, kw_only=True, tag_field="algorithm", tag="scaffold"):
    """Local steps that are corrected for how each site differs from the others."""

    @property
    def settings(self) -> dict[str, Any]:
        """What `Training` is told of it."""
        return {**super().settings, "server": Momentum(0.0), "scaffold": True}


class RiskSetsTable(Struct, frozen=True, kw_only=True, tag_field="algorithm", tag="risk_sets"):
    """Cox regression as if all patients were in one place: Newton steps over secure risk-set sums."""

    rounds: Rounds = 30
    deadline: Seconds | None = None
    seed: Seed = 0

    local_steps: ClassVar[int] = 1
    batch_size: ClassVar[None] = None
    sites_fraction: ClassVar[float] = 1.0
    validation: ClassVar[None] = None

    @property
    def settings(self) -> dict[str, Any]:
        """What `Training` is told of it."""
        return {"rounds": self.rounds}


def _risk_set_faults(study: StudyFile) -> list[str]:
    faults = []
    if not isinstance(study.model, CoxFamily):
        faults.append("'training.algorithm' = \"risk_sets\" goes with 'model.type' = \"cox\" only")
    if not study.model.standardise:
        faults.append("'training.algorithm' = \"risk_sets\" needs 'model.standardise' = true")
    if study.modalities or study.data.missing != "refuse":
        faults.append("'training.algorithm' = \"risk_sets\" goes without 'modalities' and missing values")
    return faults


def training_faults(study: StudyFile) -> list[str]:
    """What does not go together in [training], or with other tables."""
    table, faults = study.training, []
    if isinstance(table, RiskSetsTable):
        return _risk_set_faults(study)
    if table.learning_rate == "auto" and not study.model.has_auto_rate:
        why = "this 'model.type' has no safe one that a sum could find; 0.1 is a fair start"
        faults.append(f"'training.learning_rate' is to be stated: {why}")
    if table.epochs is not None and table.local_steps != 1:
        faults.append("'training.epochs' and 'training.local_steps' both say how long a site trains")
    if table.epochs is not None and study.privacy is not None:
        faults.append("'training.epochs' hangs on a site's number of patients, which [privacy] hides")
    if table.sites_fraction < 1.0 and study.policy.across_rounds == "freeze":
        faults.append(
            "'training.sites_fraction' has other sites in each round, which 'policy.across_rounds' = "
            '"freeze" does not allow'
        )
    if table.validation is None:
        faults += [
            f"'training.{key}' is about stopping early, which needs 'training.validation'"
            for key, default in (("patience", 5), ("check_every", 1))
            if getattr(table, key) != default
        ]
    if isinstance(table, ScaffoldTable) and study.modalities:
        faults.append("'modalities' do not go with 'training.algorithm' = \"scaffold\"")
    if isinstance(table, ScaffoldTable) and study.privacy is not None:
        faults.append(
            "'training.algorithm' = \"scaffold\" does not go with [privacy], whose noise would stay in the "
            "control variates"
        )
    return faults
