# SPDX-License-Identifier: Apache-2.0

"""What one training consists of: its settings, the sums that it asks in order, and its first state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from sordino.course.answer import Answering
from sordino.course.arrays import Arrays
from sordino.course.follow import Turn, course
from sordino.course.noise import Demand
from sordino.course.stage import Stage
from sordino.course.terms import PrivateTerms
from sordino.errors import PolicyError
from sordino.federated.curvature import Curvature
from sordino.federated.early_stopping import EarlyStopping, PrivateValidation, Validation
from sordino.federated.fedavg import FedAvg
from sordino.federated.fusion.grouped import Grouped, GroupedRate, parameter_groups
from sordino.federated.fusion.late import BASES, Below, Late, OnScores, SideBySide
from sordino.federated.fusion.missing import Filled, imputation
from sordino.federated.harmonisation import Harmonisation, Harmonised
from sordino.federated.local import Local
from sordino.federated.private.averaging import LocalTraining, UpdateAveraging
from sordino.federated.private.clipping import ClipRule
from sordino.federated.private.descent import Descent
from sordino.federated.private.evaluation import PrivateEvaluation
from sordino.federated.private.subgroups import PrivateSubgroups
from sordino.federated.scaffold import Scaffold
from sordino.federated.server import Momentum, Server
from sordino.federated.site import Site
from sordino.federated.study.outcomes.classes import TwoClasses
from sordino.federated.study.outcomes.outcome import Outcome
from sordino.federated.subgroups import SubgroupEvaluation, Subgroups, SubgroupSizes
from sordino.federated.survival import NewtonSteps
from sordino.federated.target_scaling import OnScaledTarget
from sordino.models.linear_form import LinearForm
from sordino.models.logistic import Logistic
from sordino.models.model import Model, classifier, convex
from sordino.protocol.noise import Noise
from sordino.protocol.policy import EVERYONE, Question
from sordino.statistics.noised_scaling import Magnitudes, PrivateMeans, Spreads
from sordino.statistics.scaling import Means, Units, Variances

Trainer: TypeAlias = FedAvg | Scaffold | NewtonSteps | Descent | UpdateAveraging | LocalTraining


@dataclass(frozen=True)
class Training:
    """A model trained by federated averaging, or privately.

    sites, max_patients  public bounds: sites of the roster, patients of any one site
    rounds               rounds of training
    learning_rate        None: from a secure sum of the sites' curvatures; with `private` the safe step for
                         standardised features, 1 / (h (columns + 1)) where h bounds the loss's second
                         derivative, 1/4 for `Logistic`, since that sum would cost privacy
    local_steps, epochs, batch_size, proximal, seed   as in `Local`
    server               the coordinator's optimiser; None for `Momentum(momentum)`
    scaffold             whether control variates correct the local steps; not with `private`, where the noise
                         of every round would stay in them
    stopping             when a validation loss stops training; None: never
    standardise          whether mean and standard deviation come first, by secure sums
    learner              the model; None for `Logistic` over these columns
    outcome              what is predicted, which says how a model is tested
    bins                 histogram bins of the evaluation on held-out patients; None for no evaluation
    names                of the features; given where values may be missing, which are then filled
    least_sites          how many sites must then have values of a feature
    groups               the lane group of each feature, if there are modalities that some sites lack
    exact                Newton steps of a Cox model in place of an algorithm of local steps
    late                 a model of each modality and one of their scores, in place of one of all features
    subgroups            cells of held-out patients that are evaluated by themselves
    harmonisation        the ComBat that comes before everything else; not with `private`, whose noise hides
                         what one patient adds, while here each moves the rows of the whole batch
    private              the terms of a private training; None for one without noise
    noise                by kind of question, once it is planned
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
    epochs: int | None = None
    proximal: float = 0.0
    server: Server | None = None
    scaffold: bool = False
    stopping: EarlyStopping | None = None
    standardise: bool = True
    clip: float = 16.0
    wanted_bits: int = 30
    seed: int = 0
    learner: Model | None = None
    outcome: Outcome = field(default_factory=TwoClasses)
    exact: NewtonSteps | None = None
    bins: int | None = None
    names: tuple[str, ...] = ()
    least_sites: int = 3
    groups: tuple[str, ...] = ()
    late: Late | None = None
    subgroups: Subgroups | None = None
    harmonisation: Harmonisation | None = None
    private: PrivateTerms | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model that is trained; in late fusion the one of the scores."""
        if self.late is not None:
            return self.late.combiner
        return Logistic(self.columns, self.l2) if self.learner is None else self.learner

    @property
    def fedavg(self) -> FedAvg:
        """Federated averaging, without noise."""
        return FedAvg(
            self.model,
            sites=self.sites,
            max_patients=self.max_patients,
            local=Local(
                steps=self.local_steps,
                epochs=self.epochs,
                batch_size=self.batch_size,
                proximal=self.proximal,
                seed=self.seed,
            ),
            server=Momentum(self.momentum) if self.server is None else self.server,
            clip=self.clip,
            wanted_bits=self.wanted_bits,
        )

    @property
    def trainer(self) -> Trainer:
        """The algorithm that trains it."""
        if self.exact is not None:
            return self.exact
        if self.private is None:
            if self.scaffold and self.groups:
                raise PolicyError("SCAFFOLD does not go with lane groups: it speaks of all sites")
            return Scaffold(self.fedavg) if self.scaffold else self.fedavg
        if self.scaffold:
            raise PolicyError(
                "SCAFFOLD does not go with [privacy]: the coordinator adds up what every round changes the "
                "control variates by, so the noise of all rounds would stay in them and grow, and each holds "
                'all that its site\'s patients did; take "fedavg" or "fedprox"'
            )
        answering, rule = self._answering(self.private), self._clip_rule(self.private)
        if self.private.unit == "site":
            return UpdateAveraging(self.fedavg, answering, rule)
        if self.private.unit == "patient-local":
            return LocalTraining(
                self.fedavg, answering, clip=self.private.clip, sampling_rate=self.private.sampling_rate
            )
        return Descent(
            self.model,
            answering,
            rule,
            sampling_rate=self.private.sampling_rate,
            server=self.fedavg.server,
        )

    def stages(self) -> tuple[tuple[Stage[Site], int], ...]:
        """The stages in order and how many sums each makes. Raises `PolicyError` for what cannot fit."""
        if self.harmonisation is None:
            return self._stages()
        if self.private is not None:
            raise PolicyError("ComBat does not go with noise: each patient moves the rows of the others")
        combat = self.harmonisation
        return (
            *((stage, 1) for stage in combat.stages()),
            *((Harmonised(stage, combat), times) for stage, times in self._stages()),
        )

    def harmonised(self, site: Site, state: Arrays) -> Site:
        """The site with its rows as training takes them, but for missing values and units."""
        return site if self.harmonisation is None else self.harmonisation.adjusted(site, state)

    def _stages(self) -> tuple[tuple[Stage[Site], int], ...]:
        if self.private is not None:
            return (
                *self._statistics(self.private),
                (self.trainer, self.rounds),
                *self._validations(),
                *self._tests(self.private),
            )
        if self.late is not None:
            return self._late_stages(self.late)
        stages = [(stage, 1) for stage in self._scaling()]
        scaling = self.outcome.scaling(sites=self.sites, max_patients=self.max_patients)
        stages += [(stage, 1) for stage in scaling]
        if self.learning_rate is None and self.exact is None:
            curvature = self._curvature(self.model, self.l2)
            lacked = tuple(dict.fromkeys(group for group in self.groups if group != EVERYONE))
            rate = GroupedRate(curvature, lacked) if lacked else curvature
            stages.append((self._filled(rate), 1))
        trainer = self._filled(OnScaledTarget(self.trainer) if self.outcome.scales else self.trainer)
        if self.groups:
            trainer = Grouped(trainer, parameter_groups(self.model, self.groups))
        stages += [(trainer, self.rounds), *self._validations()]
        return (*stages, *self._plain_tests())

    def _scaling(self) -> tuple[Stage[Site], ...]:
        """What fills the features and scales them."""
        if self.names:
            return self._imputation(self.names, standardise=self.standardise)
        if not self.standardise:
            return ()
        bounds = self.columns, self.sites, self.max_patients
        return Units(*bounds), Means(*bounds), Variances(*bounds)

    def _imputation(self, names: tuple[str, ...], *, standardise: bool) -> tuple[Stage[Site], ...]:
        return imputation(
            names,
            sites=self.sites,
            max_patients=self.max_patients,
            least_sites=self.least_sites,
            standardise=standardise,
        )

    def _curvature(self, model: Model, l2: float) -> Curvature:
        return Curvature(
            convex(model),
            l2=l2,
            local_steps=self.local_steps,
            sites=self.sites,
            max_patients=self.max_patients,
        )

    def _late_stages(self, late: Late) -> tuple[tuple[Stage[Site], int], ...]:
        """The modalities' models side by side, then what combines their scores, at full-batch steps."""

        def asked(inners: Iterable[Stage[Site]]) -> Stage[Site]:
            return Below(SideBySide(late, tuple(inners), self.sites, self.max_patients))

        stages: list[tuple[Stage[Site], int]] = [(Below(stage), 1) for stage in self._scaling()]
        if self.learning_rate is None:
            stages.append((asked(self._curvature(part.model, self.l2) for part in late.parts), 1))
        trainers = (replace(self.fedavg, model=part.model) for part in late.parts)
        stages.append((asked(trainers), self.rounds))
        names = tuple(part.name for part in late.parts)
        stages += [(OnScores(stage, late), 1) for stage in self._imputation(names, standardise=True)]
        curvature = replace(self._curvature(self.model, late.l2), local_steps=1)
        stages.append((OnScores(Filled(curvature), late), 1))
        stages.append((OnScores(Filled(self._combining), late), late.rounds))
        return (*stages, *self._plain_tests())

    def _late_initial(self, late: Late) -> Arrays:
        state = dict(self._combining.initial())
        for part in late.parts:
            own = replace(self.fedavg, model=part.model).initial(self.learning_rate)
            for fold in range(late.folds + 1):
                state |= {f"{BASES}{part.name}/{fold}/{name}": vector for name, vector in own.items()}
        return state

    @property
    def _combining(self) -> FedAvg:
        return replace(self.fedavg, local=Local(), server=Momentum())

    def tester(self, bins: int, sites: int) -> Stage[Site]:
        """The test without noise, over so many sites."""
        test = self.outcome.evaluation(self.model, bins=bins, sites=sites, max_patients=self.max_patients)
        return self._filled(test) if self.late is None else OnScores(Filled(test), self.late)

    def _plain_tests(self) -> tuple[tuple[Stage[Site], int], ...]:
        if self.bins is None:
            return ()
        test = self.tester(self.bins, self.sites)
        if self.subgroups is None:
            return ((test, 1),)
        sizes = SubgroupSizes(self.subgroups, self.max_patients)
        return (test, 1), (sizes, 1), (SubgroupEvaluation(self.subgroups, test), 1)

    def _filled(self, stage: Stage[Site]) -> Stage[Site]:
        return Filled(stage) if self.names else stage

    def turns(self) -> tuple[Turn, ...]:
        """Every sum of the training, in order; those of training are passed over once it stops."""
        turns: list[Turn] = []
        stages, kinds = self.stages(), {stage.kind for stage, _ in self._validations()}
        checks = [stage for stage, _ in stages if stage.kind in kinds]
        for stage, times in stages:
            if stage.kind == self.trainer.kind:
                turns += (self.stopping or EarlyStopping()).turns(stage, times, *checks)
            elif stage.kind not in kinds:
                turns += course((stage, times))
        return tuple(turns)

    def questions(self) -> tuple[Question, ...]:
        """The plan of questions that a policy has to allow, without noise."""
        return tuple(stage.question() for stage, _ in self.stages())

    def demands(self, repeats: int = 1) -> tuple[Demand, ...]:
        """What a private training asks of its budget, over so many repeats and with the spare rounds."""
        if self.private is None:
            return ()
        terms, statistics = self.private, self._statistics(self.private)
        tests = (*self._validations(), *self._tests(terms))
        local = self.local_steps if terms.unit == "patient-local" else 1
        return (
            *(
                Demand(stage.question(), repeats, terms.statistics_share / len(statistics))
                for stage, _ in statistics
            ),
            Demand(
                self.trainer.question(),
                repeats * self.rounds + terms.spare_rounds,
                sampling_rate=terms.sampling_rate,
                local_steps=local,
            ),
            *(
                Demand(stage.question(), repeats * times, terms.evaluation_share / len(tests))
                for stage, times in tests
            ),
        )

    def initial(self) -> Arrays:
        """The state before the first sum."""
        if self.private is None:
            if self.late is not None:
                return self._late_initial(self.late)
            trainer = self.exact or (Scaffold(self.fedavg) if self.scaffold else self.fedavg)
            return {**trainer.initial(self.learning_rate), **self.outcome.initial()}
        rate = self._private_rate if self.learning_rate is None else self.learning_rate
        state = {
            **self.fedavg.initial(rate),
            "clip": np.array([self.private.clip]),
            "counted": np.zeros(2),
        }
        if self.standardise and self.private.ranges is not None:
            low, high = np.array(self.private.ranges).T
            state |= {"centre": (low + high) / 2.0, "unit": (high - low) / 2.0}
        return state

    @property
    def _private_rate(self) -> float:
        steepest = self.model.steepest if isinstance(self.model, LinearForm) else 0.25
        return 1.0 / (steepest * (self.columns + 1))

    def _answering(self, terms: PrivateTerms) -> Answering:
        return Answering(terms.unit, self.sites, self.max_patients, self.noise)

    def _clip_rule(self, terms: PrivateTerms) -> ClipRule:
        return ClipRule(terms.clip, terms.target_quantile, terms.clip_rate)

    def _statistics(self, terms: PrivateTerms) -> tuple[tuple[Stage[Site], int], ...]:
        if not self.standardise:
            return ()
        answering = self._answering(terms)
        first = () if terms.ranges is not None else ((Magnitudes(self.columns, answering), 1),)
        return (*first, (PrivateMeans(self.columns, answering), 1), (Spreads(self.columns, answering), 1))

    def _validations(self) -> tuple[tuple[Stage[Site], int], ...]:
        if self.stopping is None:
            return ()
        stage: Stage[Site]
        if self.private is not None:
            stage = PrivateValidation(self.model, self._answering(self.private), self.rounds, self.stopping)
        else:
            stage = Validation(self.model, self.sites, self.max_patients, self.rounds, self.stopping)
            if self.outcome.scales:
                stage = OnScaledTarget(stage)
        return ((self._filled(stage), self.stopping.checks(self.rounds)),)

    def _tests(self, terms: PrivateTerms) -> tuple[tuple[Stage[Site], int], ...]:
        if self.bins is None:
            return ()
        test = PrivateEvaluation(classifier(self.model), self._answering(terms), self.bins)
        if self.subgroups is None:
            return ((test, 1),)
        return ((test, 1), (PrivateSubgroups(self.subgroups, test), 1))
