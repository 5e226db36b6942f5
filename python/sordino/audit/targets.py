# SPDX-License-Identifier: Apache-2.0

"""What an attacker can get hold of in a study: a site's raw update, the sum, the noised sum, the model.

An update is looked at through the model that it makes: the parameters that would follow if a sum were that
update alone. So the same attacks, on the losses of a model, go for all four. Updates are those of the first
round of training, from parameters that say nothing of anyone, where they are largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from sordino import _core
from sordino.aggregation.base import Aggregate, Aggregator, Contributor, Step
from sordino.aggregation.lanes import decode_sums, encode_contribution
from sordino.aggregation.private_lanes import encode_private
from sordino.audit.membership import Members, Sites, losses
from sordino.audit.survival import survival_losses
from sordino.course.arrays import Arrays
from sordino.course.follow import Event, Summed, follow
from sordino.course.stage import Stage
from sordino.errors import ConfigError, InvalidArgument, PolicyError, PrivacyError, RoundAborted
from sordino.federated.site import Site
from sordino.federated.study.outcomes.survival import Survival
from sordino.federated.study.prepared import Prepared, planned
from sordino.federated.study.privacy_table import PrivacyTable
from sordino.federated.study.training_table import FedAvgTable, RiskSetsTable
from sordino.federated.survival import NewtonSteps
from sordino.models.model import Matrix, Vector
from sordino.protocol.lanes import empty_lanes
from sordino.protocol.policy import Policy
from sordino.statistics.scaling import standardised

RAW, SUM, NOISED, MODEL = "one site's raw update", "secure sum", "secure sum with noise", "final model"
NOISED_MODEL = "final model with noise"
TARGETS = (RAW, SUM, NOISED, MODEL, NOISED_MODEL)

EPSILON, DELTA = 6.0, 1e-5
"""Of the noised target where the study has no [privacy] of its own."""

LEAST = 8
"""Patients of a site, of whom a training has half by chance."""


class OpenSums(Aggregator):
    """The sums of a policy with their noise and without masks, as an attacker simulates them.

    noise   whether it is added: what the policy promises of the honest sites, and no more; `rng` draws it
    """

    def __init__(
        self, policy: Policy, sites: tuple[str, ...], rng: np.random.Generator, *, noise: bool = True
    ) -> None:
        self.policy, self.sites = policy, sites
        self._rng, self._noise, self._round = rng, noise, 0

    def close(self) -> None:
        """Nothing is held."""

    def aggregate(
        self,
        kind: str,
        body: bytes,
        contributors: Mapping[str, Contributor],
        *,
        lose: Mapping[str, Step] | None = None,
    ) -> Aggregate:
        """Add up what the sites contribute, one alone if there is one; nobody is lost."""
        del lose
        question, bits = self.policy.question(kind), self.policy.bits
        total, self._round = empty_lanes(question.lanes, bits), self._round + 1
        for contribute in contributors.values():
            given = contribute(body)
            if question.noise is None:
                total += encode_contribution(question, given, bits=bits)
            else:
                total += encode_private(question, given, bits=bits, rounding_seed=self._rng.bytes(32))
        sigma = question.noise.sigma if question.noise is not None and self._noise else 0.0
        if sigma:
            _core.add_noise(total, bytearray(self._rng.bytes(32)), [sigma])
        sums, weights, integers = decode_sums(question, total, bits=bits)
        return Aggregate(self._round, sums, weights, integers, tuple(sorted(contributors)), noise=sigma)


class Trained(NamedTuple):
    """What a training was after its first round, after it by the raw site's update alone, and in the end.

    before            the state in which that round was asked
    total, raw        the sum of the round, and the raw site's own part of it
    """

    first: Arrays
    alone: Arrays
    last: Arrays
    before: Arrays
    total: Aggregate
    raw: Aggregate


class Audited:
    """A study whose training is simulated over halves of its patients, without noise and with.

    features, target   of all patients, site after site, float64 of shapes (patients, columns), (patients,);
                       a target of survival has shape (patients, 2)
    site               number of each patient's site; `names` are in that order
    raw                the site whose raw update is attacked: the largest, so that rates can be told
    lacking            why there is no noised target; empty if there is one

    Raises `ConfigError` for a study that cannot be simulated so, with what is missing.
    """

    def __init__(self, prepared: Prepared) -> None:
        sites = prepared.cohort.sites
        _check(prepared)
        self.names = tuple(sorted(sites))
        self.features: Matrix = np.concatenate([sites[name].features for name in self.names])
        self.target: Vector = np.concatenate([sites[name].target for name in self.names])
        self.site: Sites = np.repeat(np.arange(len(sites)), [len(sites[name].target) for name in self.names])
        self.raw = int(np.argmax(np.bincount(self.site)))
        self.columns = prepared.cohort.schema.features
        self.study = prepared
        self.noised, self.lacking = (prepared, "") if prepared.privacy is not None else _with_noise(prepared)

    def states(self, member: Members, seed: int) -> dict[str, Arrays]:
        """What an attacker has of a training on these members, by target."""
        plain = self.train(self.study, member, seed, noise=False)
        seen = {RAW: plain.alone, SUM: plain.first, MODEL: plain.last}
        if self.noised is not None:
            noised = self.train(self.noised, member, seed, noise=True)
            seen[NOISED] = noised.first
            seen[MODEL if self.study.privacy is not None else NOISED_MODEL] = noised.last
        return {target: seen[target] for target in TARGETS if target in seen}

    def observe(self, member: Members, seed: int) -> dict[str, Vector]:
        """Each patient's loss at every target, for `membership.infer`."""
        return {target: self.losses(target, state) for target, state in self.states(member, seed).items()}

    def losses(self, target: str, state: Arrays, features: Matrix | None = None) -> Vector:
        """Of all patients, perhaps with other features; NaN for those of other sites where it is one's."""
        rows = standardised(self.features if features is None else features, state)
        parameters, training = state["parameters"], self.study.training
        if isinstance(training.outcome, Survival):
            known = standardised(self.features, state)
            found = survival_losses(parameters, rows, self.target, known)
        else:
            found = losses(training.model, parameters, rows, training.outcome.trained_on(self.target, state))
        return np.where(self.site == self.raw, found, np.nan) if target == RAW else found

    def train(self, prepared: Prepared, member: Members, seed: int, *, noise: bool) -> Trained:
        """Train on these members.

        Raises `ConfigError` where that fails, as it may on half of the patients.
        """
        sites = {
            name: Site(
                name,
                features=self.features[chosen],
                target=self.target[chosen],
                columns=self.columns,
            )
            for place, name in enumerate(self.names)
            if (chosen := (self.site == place) & member).any()
        }
        training = replace(prepared.training, stopping=None, bins=None)
        summing = OpenSums(prepared.policy, self.names, np.random.default_rng([seed, 8]), noise=noise)
        now, raw = training.initial(), self.names[self.raw]
        found: dict[str, Any] = {}

        def note(event: Event) -> None:
            nonlocal now
            if not isinstance(event, Summed):
                raise ConfigError(f"the simulated training ended early: {event.reason}")
            if event.turn.stage.kind == training.trainer.kind and not found:
                one = summing.aggregate(
                    training.trainer.kind, event.body, {raw: lambda _: event.contributions[raw]}
                )
                found.update(first=event.state, before=now, total=event.total, raw=one)
                found["alone"] = _alone(event.turn.stage).advance(now, one)
            now = event.state

        try:
            last = follow(training.turns(), summing, sites, now, notify=note)
        except (InvalidArgument, RoundAborted) as error:
            raise ConfigError(f"an audit trains on half of the patients, which fails here: {error}") from None
        return Trained(last=last, **found)


def _alone(stage: Stage[Site]) -> Stage[Site]:
    """The stage for a sum over one site, which the attacker makes: few patients stop nobody."""
    if not isinstance(stage, NewtonSteps):
        return stage
    return replace(stage, newton=replace(stage.newton, least_patients=0, l2=max(stage.newton.l2, 1e-3)))


def _check(prepared: Prepared) -> None:
    study, cohort = prepared.study, prepared.cohort
    if cohort.modalities or study.data.missing != "refuse":
        raise ConfigError(
            "an audit simulates complete rows only: leave features with missing values and modalities out "
            "of a copy of the study"
        )
    if prepared.training.harmonisation is not None:
        raise ConfigError(
            "an audit trains on rows as they are: leave [harmonise] out of a copy of the study, or harmonise "
            "its files"
        )
    for name, patients in sorted(cohort.sites.items()):
        if len(patients.target) < LEAST:
            raise ConfigError(
                f"site {name!r} has {len(patients.target)} patients; an audit trains on half of them and "
                f"needs {LEAST} at least"
            )


def _with_noise(prepared: Prepared) -> tuple[Prepared | None, str]:
    """The same study as if it had [privacy], or why there is none."""
    study = prepared.study
    if not study.model.takes_noise or isinstance(study.training, RiskSetsTable):
        return None, "this kind of model is not trained with noise"
    rate = "auto" if study.model.has_auto_rate else study.training.learning_rate
    private = msgspec.structs.replace(
        study,
        privacy=PrivacyTable(unit="patient", epsilon=EPSILON, delta=DELTA),
        policy=msgspec.structs.replace(study.policy, across_rounds=None),
        training=FedAvgTable(rounds=study.training.rounds, learning_rate=rate),
    )
    try:
        made, policy, noise = planned(private, prepared.cohort)
    except (PolicyError, PrivacyError) as error:
        return None, str(error)
    noises = {one.kind: one.noise for one in policy.plan if one.noise is not None}
    return Prepared(private, prepared.cohort, replace(made, noise=noises), policy, noise), ""
