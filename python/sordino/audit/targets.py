# SPDX-License-Identifier: Apache-2.0

"""What an attacker can get hold of in a study: a site's raw update, the sum, the noised sum, the model.

An update is looked at through the model that it makes: the parameters that would follow if a sum were that
update alone. So the same attacks, on the losses of a model, go for all four. Updates are those of the first
round of training, from parameters that say nothing of anyone, where they are largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np

from sordino import _core
from sordino.aggregation.base import Aggregate, Aggregator, Contributor, Step
from sordino.aggregation.lanes import decode_sums, encode_contribution
from sordino.aggregation.private_lanes import encode_private
from sordino.audit.membership import Members, losses
from sordino.course.arrays import Arrays
from sordino.course.follow import Event, Summed, follow
from sordino.errors import ConfigError, PolicyError, PrivacyError
from sordino.federated.site import Site
from sordino.federated.study.prepared import Prepared, planned
from sordino.federated.study.privacy_table import PrivacyTable
from sordino.federated.study.training_table import FedAvgTable, RiskSetsTable
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


class Audited:
    """A study whose training is simulated over halves of its patients, without noise and with.

    features, target   of all patients, site after site, float64 of shapes (patients, columns), (patients,)
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
        self.site = np.repeat(np.arange(len(sites)), [len(sites[name].target) for name in self.names])
        self.raw = int(np.argmax(np.bincount(self.site)))
        self.columns = prepared.cohort.schema.features
        self.study = prepared
        self.noised, self.lacking = (prepared, "") if prepared.privacy is not None else _with_noise(prepared)

    def states(self, member: Members, seed: int) -> dict[str, Arrays]:
        """What an attacker has of a training on these members, by target."""
        first, alone, last = self._train(self.study, member, seed, noise=False)
        seen = {RAW: alone, SUM: first, MODEL: last}
        if self.noised is not None:
            seen[NOISED], _, with_noise = self._train(self.noised, member, seed, noise=True)
            seen[MODEL if self.study.privacy is not None else NOISED_MODEL] = with_noise
        return {target: seen[target] for target in TARGETS if target in seen}

    def observe(self, member: Members, seed: int) -> dict[str, Vector]:
        """Each patient's loss at every target, for `membership.infer`."""
        return {target: self.losses(target, state) for target, state in self.states(member, seed).items()}

    def losses(self, target: str, state: Arrays, features: Matrix | None = None) -> Vector:
        """Of all patients, perhaps with other features; NaN for those of other sites where it is one's."""
        rows = standardised(self.features if features is None else features, state)
        found = losses(self.study.training.model, state["parameters"], rows, self.target)
        return np.where(self.site == self.raw, found, np.nan) if target == RAW else found

    def _train(
        self, prepared: Prepared, member: Members, seed: int, *, noise: bool
    ) -> tuple[Arrays, Arrays, Arrays]:
        """The states after the first round, after it by the raw site's update alone, and in the end."""
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
        now = training.initial()
        seen: dict[str, Arrays] = {}

        def note(event: Event) -> None:
            nonlocal now
            if not isinstance(event, Summed):
                raise ConfigError(f"the simulated training ended early: {event.reason}")
            if event.turn.stage.kind == training.trainer.kind and not seen:
                name = self.names[self.raw]
                one = summing.aggregate(
                    training.trainer.kind, event.body, {name: lambda _: event.contributions[name]}
                )
                seen["alone"], seen["first"] = event.turn.stage.advance(now, one), event.state
            now = event.state

        last = follow(training.turns(), summing, sites, now, notify=note)
        return seen["first"], seen["alone"], last


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
    if study.model.outcome.headline != "auc":
        raise ConfigError(
            "the attacks are on models of two classes, and this study predicts something else "
            f"({study.model.outcome.title} is its metric): nothing was audited"
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
