# SPDX-License-Identifier: Apache-2.0

"""`sordino check`: everything that is wrong with a study, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sordino.cli.app import YOU_ERRED, app, tell_error, tell_warning

if TYPE_CHECKING:
    from sordino.course.noise import NoisePlanned
    from sordino.federated.study.prepared import Prepared

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
DataPath = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Instead of the study's own paths: its one CSV file, or the folder of its sites' files.",
    ),
]


@app.command()
def check(study: StudyPath, data: DataPath = None) -> None:
    """Say what is wrong with a study: keys, files, columns, cells, policy. Nothing is run or written."""
    from sordino.federated.study.prepared import examine

    prepared, findings = examine(study, data)
    for warning in findings.warnings:
        tell_warning(warning, err=False)
    for fault in findings.faults:
        tell_error(fault)
    if prepared is None:
        raise typer.Exit(YOU_ERRED)
    typer.echo(summary(prepared))


def summary(prepared: Prepared) -> str:
    """What the study comes to, in a few lines."""
    policy, training = prepared.policy, prepared.training
    tolerated = max(policy.tolerated(policy.sites), 0)
    sums = len(training.turns()) * prepared.study.repeats
    update = policy.question(training.trainer.kind)
    bits = max(block.fraction_bits for block in update.blocks)
    size = (update.lanes * policy.bits + 7) // 8
    return (
        f"{prepared.study.name}: ready to run\n"
        f"  {policy.sites} sites, {training.columns} features, {sums} secure sums\n"
        f"  at least {policy.smallest_cohort} sites in every sum, {tolerated} may drop out of a round, "
        f"{policy.colluders} may collude with the coordinator\n"
        f"  {update.lanes} lanes of {policy.bits} bits: {size:,} bytes of masked numbers a round and site, "
        f"resolution 2^-{bits}{modality_summary(prepared)}{harmonise_summary(prepared)}"
        + (f"\n{privacy_summary(prepared, prepared.privacy)}" if prepared.privacy is not None else "")
    )


def modality_summary(prepared: Prepared) -> str:
    """How many sites have each modality that some lack, a line each."""
    counted = {
        name: sum(name in patients.modalities for patients in prepared.cohort.sites.values())
        for name in prepared.cohort.modalities
    }
    return "".join(
        f"\n  {name}: {len(columns)} features at {counted[name]} of {prepared.policy.sites} sites"
        for name, columns in prepared.cohort.modalities.items()
    )


def harmonise_summary(prepared: Prepared) -> str:
    """What the features are harmonised by, if they are, a line."""
    if (combat := prepared.training.harmonisation) is None:
        return ""
    layout, kept = combat.plan.layout, [one.name for one in combat.plan.covariates]
    return (
        f"\n  harmonised over {layout.batches} batches, {len(layout.shared)} of them shared by several sites"
        + (f"; preserved: {', '.join(kept)}" if kept else "")
    )


def privacy_summary(prepared: Prepared, planned: NoisePlanned) -> str:
    """What the noise costs and does, in a few lines."""
    from sordino.federated.study.prepared import training_patients

    terms, guarantee = planned.terms, planned.guarantee
    whole = (
        f"  privacy of one {terms.unit}: epsilon {guarantee.epsilon:.4g} at delta {guarantee.delta:g}, "
        f"{terms.spare_rounds} spare rounds included"
    )
    lines = [whole]
    lines += [
        f"    {kind}: {planned.times[kind]} times, noise multiplier {multiplier:.4g}, epsilon "
        f"{planned.epsilon_of(kind):.4g} each"
        for kind, multiplier in planned.multipliers.items()
    ]
    patients = training_patients(prepared.study, prepared.cohort) * terms.sampling_rate
    length = planned.noise_to_clip(prepared.training.trainer.kind, patients)
    lines.append(
        f"    over {patients:,.0f} patients a step's noise is {length:.3g} times as long as the clip"
    )
    return "\n".join(lines)
