"""A study that is ready to run: its file, its rows, the training and the policy that follow from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from sordino.errors import ConfigError, PolicyError
from sordino.federated.course import ATTEMPTS
from sordino.federated.site import Site
from sordino.federated.study.cohort import Cohort, examine_cohort
from sordino.federated.study.file import StudyFile, examine_study
from sordino.federated.study.split import drawn, named
from sordino.federated.training import Training
from sordino.protocol.encoding import digest
from sordino.protocol.policy import MAX_ROUNDS, Policy, plan_policy


@dataclass(frozen=True, repr=False)
class Prepared:
    """Everything that a run needs; nothing in it changes while it runs."""

    study: StudyFile
    cohort: Cohort
    training: Training
    policy: Policy

    @property
    def digest(self) -> bytes:
        """Tells this study on these rows from any other, 32 bytes. It stays with the run, in one place."""
        rows = sha256()
        for name, patients in sorted(self.cohort.sites.items()):
            rows.update(msgspec.msgpack.encode([name, patients.ids, patients.features.shape]))
            rows.update(np.ascontiguousarray(patients.features).tobytes())
            rows.update(patients.target.tobytes())
        return digest("study", msgspec.json.encode(self.study), self.policy.digest, rows.digest())

    def sites(self, repeat: int) -> Mapping[str, Site]:
        """Every site's rows, split for this repeat (from 0 on)."""
        test, split = self.study.test, {}
        for name, patients in self.cohort.sites.items():
            if test is None:
                held_out = np.zeros(len(patients.target), dtype=np.bool_)
            elif test.ids is not None:
                held_out = named(patients.ids, [str(one) for one in test.ids])
            else:
                fraction = test.fraction or 0.0
                held_out = drawn(name, patients.target, fraction=fraction, seed=test.seed + repeat)
            split[name] = Site(
                name,
                features=patients.features[~held_out],
                target=patients.target[~held_out],
                columns=self.cohort.schema.features,
                test_features=patients.features[held_out],
                test_target=patients.target[held_out],
            )
        return split


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
    try:
        # Bounds of the policy do not hang on the rows, so they are told along with faults of the rows.
        training = _training(study, columns)
        policy = _policy(study, training, cohort.schema.digest if cohort else b"")
    except PolicyError as error:
        return None, Findings((*faults, f"{path}: policy: {error}"), ())
    warnings = _warnings(study, policy)
    if cohort is None or faults:
        return None, Findings(tuple(faults), warnings)
    return Prepared(study, cohort, training, policy), Findings((), (*cohort.warnings, *warnings))


def _training(study: StudyFile, columns: int) -> Training:
    rate = study.training.learning_rate
    return Training(
        columns=columns,
        sites=len(study.sites),
        max_patients=study.policy.max_patients,
        l2=study.model.l2,
        rounds=study.training.rounds,
        local_steps=study.training.local_steps,
        batch_size=study.training.batch_size,
        learning_rate=None if isinstance(rate, str) else rate,
        momentum=study.training.momentum,
        standardise=study.model.standardise,
        clip=study.policy.update_clip,
        wanted_bits=study.policy.fraction_bits,
        seed=study.training.seed,
        bins=None if study.test is None else study.test.bins,
    )


def _policy(study: StudyFile, training: Training, schema: bytes) -> Policy:
    terms = study.policy
    # Aborted rounds and a run that was interrupted use up round numbers too.
    planned = study.repeats * len(training.turns())
    rounds = max(planned, min(ATTEMPTS * planned + 100, MAX_ROUNDS))
    return plan_policy(
        study=study.name,
        sites=len(study.sites),
        plan=training.questions(),
        across_rounds=terms.across_rounds,
        rounds=rounds,
        colluders=terms.colluders,
        threshold=terms.threshold,
        min_cohort=terms.min_cohort,
        max_dropouts=terms.max_dropouts,
        consistency=terms.consistency,
        schema=schema,
    )


def _warnings(study: StudyFile, policy: Policy) -> tuple[str, ...]:
    warnings = []
    if policy.across_rounds == "accept":
        warnings.append(
            'across_rounds = "accept": two sums of one question over cohorts that differ by one site show '
            "that site's input to whoever sees both"
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
