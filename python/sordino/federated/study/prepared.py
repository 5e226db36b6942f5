# SPDX-License-Identifier: Apache-2.0

"""A study that is ready to run: its file, its rows, the training and the policy that follow from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sordino.course.follow import ATTEMPTS, Draw
from sordino.course.noise import NoisePlanned, plan_noise
from sordino.errors import ConfigError, PolicyError, PrivacyError
from sordino.federated.sampling import ClientSampling
from sordino.federated.site import Site
from sordino.federated.study.cohort import Cohort, Patients, examine_cohort
from sordino.federated.study.families.cox import CoxFamily
from sordino.federated.study.file import StudyFile, examine_study
from sordino.federated.study.harmonise_table import harmonisation_of
from sordino.federated.study.harmonise_trial import try_harmonisation
from sordino.federated.study.modality_table import late_of
from sordino.federated.study.privacy_table import range_faults, sample_faults
from sordino.federated.study.split import drawn, drawn_apart, named
from sordino.federated.study.subgroup_table import subgroups_of
from sordino.federated.study.training_table import RiskSetsTable
from sordino.federated.training import Training
from sordino.protocol.encoding import digest
from sordino.protocol.groups import planned_groups, thin_group
from sordino.protocol.policy import MAX_ROUNDS, Policy, plan_policy


@dataclass(frozen=True, repr=False)
class Prepared:
    """Everything that a run needs; nothing in it changes while it runs.

    privacy   the noise of a private study, and what its run costs at most; None without [privacy]
    """

    study: StudyFile
    cohort: Cohort
    training: Training
    policy: Policy
    privacy: NoisePlanned | None = None

    @property
    def digest(self) -> bytes:
        """Tells this study on these rows from any other, 32 bytes. It stays with the run, in one place."""
        rows = sha256()
        for name, patients in sorted(self.cohort.sites.items()):
            rows.update(msgspec.msgpack.encode([name, patients.ids, patients.features.shape]))
            rows.update(np.ascontiguousarray(patients.features).tobytes())
            rows.update(np.ascontiguousarray(patients.target).tobytes())
            if patients.groups is not None:
                rows.update(patients.groups.tobytes())
            if patients.origins is not None:
                rows.update(msgspec.msgpack.encode(patients.origins.batches.tolist()))
                rows.update(np.ascontiguousarray(patients.origins.covariates).tobytes())
        return digest("study", msgspec.json.encode(self.study), self.policy.digest, rows.digest())

    @property
    def groups(self) -> Mapping[str, frozenset[str]]:
        """By site, the lane groups that it has besides the one of everybody: of modalities, or batches."""
        return _groups(self.training, self.cohort)

    def sites(self, repeat: int) -> Mapping[str, Site]:
        """Every site's rows, split for this repeat (from 0 on)."""
        test, split = self.study.test, {}
        for name, patients in self.cohort.sites.items():
            if test is None:
                held_out = np.zeros(len(patients.target), dtype=np.bool_)
            elif test.ids is not None:
                held_out = named(patients.ids, [str(one) for one in test.ids])
            elif self.study.draw == "patient":
                held_out = drawn_apart(
                    name, patients.ids, fraction=test.fraction or 0.0, seed=test.seed + repeat
                )
            else:
                fraction = test.fraction or 0.0
                strata = self.study.model.outcome.strata(patients.target)
                held_out = drawn(name, strata, fraction=fraction, seed=test.seed + repeat)
            kept = self._validated(name, patients, repeat) & ~held_out
            trained = ~held_out & ~kept
            split[name] = Site(
                name,
                features=patients.features[trained],
                target=patients.target[trained],
                columns=self.cohort.schema.features,
                test_features=patients.features[held_out],
                test_target=patients.target[held_out],
                validation_features=patients.features[kept],
                validation_target=patients.target[kept],
                modalities=patients.modalities,
                test_groups=None if patients.groups is None else patients.groups[held_out],
                origins={}
                if patients.origins is None
                else {
                    "features": patients.origins.take(trained),
                    "test_features": patients.origins.take(held_out),
                    "validation_features": patients.origins.take(kept),
                },
            )
        return split

    def _validated(self, name: str, patients: Patients, repeat: int) -> NDArray[np.bool_]:
        """By whom training is stopped early: drawn as those held out are, by other draws."""
        fraction = self.study.training.validation
        if fraction is None:
            return np.zeros(len(patients.target), dtype=np.bool_)
        seed, by = self.study.training.seed + repeat, f"{name}, validation"
        if self.study.draw == "patient":
            return drawn_apart(by, patients.ids, fraction=fraction, seed=seed)
        return drawn(by, self.study.model.outcome.strata(patients.target), fraction=fraction, seed=seed)

    @property
    def asked(self) -> Draw:
        """Who is asked for each sum."""
        table = self.study.training
        return ClientSampling(self.policy, self.training.trainer.kind, table.sites_fraction, table.seed)


@dataclass(frozen=True)
class Findings:
    """What `examine` found: faults, with which a study cannot run, and warnings, with which it can."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(path: Path, data: Path | None = None) -> Prepared:
    """Read a study and its rows. Raises `ConfigError` with everything that is wrong, a line each.

    data  instead of the study's own: its one file, or the folder of its sites' files
    """
    prepared, findings = examine(path, data)
    if prepared is None:
        raise ConfigError("\n".join(findings.faults))
    return prepared


def examine(path: Path, data: Path | None = None) -> tuple[Prepared | None, Findings]:
    """The study, if it can run, and everything that is wrong or doubtful; nothing is written or sent."""
    study, faults = examine_study(path)
    if study is None:
        return None, Findings(tuple(faults), ())
    columns = max(1, len(study.data.features)) if isinstance(study.data.features, list) else 1
    cohort = None
    if not faults:
        cohort, faults = examine_cohort(study, path.parent, data)
    if cohort is not None:
        columns = len(cohort.schema.features)
        faults += [f"{path}: {fault}" for fault in _private_faults(study, cohort)]
    if cohort is None and study.privacy is not None:
        # The noise hangs on the number of features, which the files may have to tell.
        return None, Findings(tuple(faults), ())
    try:
        # Bounds of the policy do not hang on the rows, so they are told along with faults of the rows.
        training = _training(study, columns, cohort)
        policy, privacy = _policy(study, training, cohort.schema.digest if cohort else b"")
    except ConfigError as error:
        return None, Findings((*faults, f"{path}: {error}"), ())
    except PolicyError as error:
        return None, Findings((*faults, f"{path}: policy: {error}"), ())
    except PrivacyError as error:
        return None, Findings((*faults, f"{path}: privacy: {error}"), ())
    if privacy is not None:
        training = replace(
            training, noise={one.kind: one.noise for one in policy.plan if one.noise is not None}
        )
    if cohort is not None:
        declared = _groups(training, cohort)
        if reason := thin_group(planned_groups(policy), declared, study.site_names, policy.min_cohort):
            faults.append(f"{path}: modalities: {reason}")
    warnings = (*_warnings(study, policy), *_noise_warnings(study, training, privacy, cohort))
    if cohort is None or faults:
        return None, Findings(tuple(faults), warnings)
    prepared = Prepared(study, cohort, training, policy, privacy)
    tried, doubts = try_harmonisation(prepared)
    if tried:
        return None, Findings(tuple(f"{path}: harmonise: {fault}" for fault in tried), warnings)
    return prepared, Findings((), (*cohort.warnings, *warnings, *doubts))


def _groups(training: Training, cohort: Cohort) -> Mapping[str, frozenset[str]]:
    if training.harmonisation is not None:
        return training.harmonisation.plan.layout.groups
    return {name: patients.modalities for name, patients in cohort.sites.items()}


def planned(study: StudyFile, cohort: Cohort) -> tuple[Training, Policy, NoisePlanned | None]:
    """The training, the policy and the noise of a study over these rows.

    Raises `PolicyError` where the lanes cannot hold it, `TargetUnreachable` where epsilon is too small.
    """
    training = _training(study, len(cohort.schema.features), cohort)
    return training, *_policy(study, training, cohort.schema.digest)


def _private_faults(study: StudyFile, cohort: Cohort) -> list[str]:
    if study.privacy is None:
        return []
    patients = sum(len(rows.target) for rows in cohort.sites.values())
    return [
        *range_faults(study.privacy, cohort.schema.features),
        *sample_faults(study.privacy, patients),
    ]


def _training(study: StudyFile, columns: int, cohort: Cohort | None) -> Training:
    features = None if cohort is None else cohort.schema.features
    groups = () if cohort is None else cohort.groups
    late = None if cohort is None else late_of(study, cohort.schema.features, cohort.modalities)
    gaps = bool(groups) or late is not None or study.data.missing != "refuse"
    rounds = study.training.rounds
    model, outcome, exact = study.model, study.model.outcome, None
    targets = None if cohort is None else np.concatenate([rows.target for rows in cohort.sites.values()])
    if targets is not None:
        outcome = outcome.seen(targets)
    if isinstance(model, CoxFamily) and isinstance(study.training, RiskSetsTable):
        grid = model.outcome if targets is None else model.outcome.seen(targets)
        names = features or tuple(str(place) for place in range(columns))
        outcome = replace(grid, covariates=True)
        exact = model.newton(grid, names, sites=len(study.sites), patients=study.policy.max_patients)
    return Training(
        columns=columns,
        sites=len(study.sites),
        max_patients=study.policy.max_patients,
        l2=study.model.l2,
        learner=study.model.model(columns),
        outcome=outcome,
        exact=exact,
        **study.training.settings,
        standardise=study.model.standardise,
        clip=study.policy.update_clip,
        wanted_bits=study.policy.fraction_bits,
        bins=study.bins,
        names=features if gaps and features else (),
        least_sites=study.policy.min_cohort or 3,
        groups=groups,
        late=late,
        subgroups=subgroups_of(study),
        harmonisation=None if cohort is None else harmonisation_of(study, features or (), cohort.sites),
        private=None if study.privacy is None else study.privacy.terms(rounds, features),
    )


def _policy(study: StudyFile, training: Training, schema: bytes) -> tuple[Policy, NoisePlanned | None]:
    terms = study.policy
    # Aborted rounds and a run that was interrupted use up round numbers too.
    planned = study.repeats * len(training.turns())
    rounds = max(planned, min(ATTEMPTS * planned + 100, MAX_ROUNDS))
    given: dict[str, Any] = {
        "study": study.name,
        "sites": len(study.sites),
        "rounds": rounds,
        "colluders": terms.colluders,
        "threshold": terms.threshold,
        "min_cohort": terms.min_cohort,
        "max_dropouts": terms.max_dropouts,
        "consistency": terms.consistency,
        "schema": schema,
    }
    if training.private is not None:
        private = plan_noise(training.demands(study.repeats), training.private, **given)
        return private.policy, private
    across = terms.across_rounds or "freeze"  # the file was checked to say
    return plan_policy(plan=training.questions(), across_rounds=across, **given), None


def training_patients(study: StudyFile, cohort: Cohort) -> float:
    """About how many patients a training has in all, which a simulation knows and hospitals do not tell."""
    patients = sum(len(rows.target) for rows in cohort.sites.values())
    held_out = study.test.fraction or 0.0 if study.test else 0.0
    return patients * (1.0 - held_out)


def _noise_warnings(
    study: StudyFile, training: Training, privacy: NoisePlanned | None, cohort: Cohort | None
) -> tuple[str, ...]:
    if privacy is None or cohort is None:
        return ()
    warnings = []
    patients = training_patients(study, cohort) * privacy.terms.sampling_rate
    length = privacy.noise_to_clip(training.trainer.kind, patients)
    if length > 1.0:
        warnings.append(
            f"the noise on one round's mean update is {length:.3g} times as long as the clip, so training is "
            f"hopeless: it takes about {patients * length:,.0f} patients in a round, fewer rounds, or "
            + (
                'another unit than "site", of which one may move the sum by max_patients times the clip'
                if privacy.terms.unit == "site"
                else "a larger epsilon"
            )
        )
    patients = training_patients(study, cohort)
    if "spreads" in privacy.multipliers and (bin_noise := privacy.noise_on_votes()) > patients / 8.0:
        warnings.append(
            f"the noise on a vote for a feature's scale is {bin_noise:,.0f} patients, of {patients:,.0f} who "
            "vote: scales will be wrong; use fewer features, a larger statistics_share or epsilon, or data "
            "that is scaled already with model.standardise = false"
        )
    if study.simulation.compare_plain:
        warnings.append(
            "simulation.compare_plain is off: with [privacy] every sum has noise of its own, so none is bit "
            "for bit that of another"
        )
    return tuple(warnings)


def _warnings(study: StudyFile, policy: Policy) -> tuple[str, ...]:
    warnings = []
    if policy.across_rounds == "accept":
        warnings.append(
            'across_rounds = "accept": two sums of one question over cohorts that differ by one site show '
            "that site's input to whoever sees both"
        )
    if isinstance(study.model, CoxFamily) and study.model.discloses_patients:
        warnings.append(
            "model.discloses_patients = true: differences of neighbouring risk sets show the covariates of "
            "single patients to whoever sees the sums"
        )
    losses = [(number, study.losses(number)) for number in range(1, study.training.rounds + 1)]
    if policy.across_rounds == "freeze" and any(lost for _, lost in losses):
        warnings.append(
            'across_rounds = "freeze" holds on to the sites of the first sum, so a round with a dropout '
            "is lost and asked for again"
        )
    tolerated = max(policy.tolerated(len(study.sites)), 0)
    beyond = [number for number, lost in losses if len(lost) > tolerated]
    if beyond:
        shown = ", ".join(str(number) for number in beyond[:5]) + (", ..." if len(beyond) > 5 else "")
        warnings.append(
            f"more sites are lost in round {shown} than the {tolerated} that the policy tolerates: "
            "the round may be aborted, and is then asked for again"
        )
    return tuple(warnings)
