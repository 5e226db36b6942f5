# SPDX-License-Identifier: Apache-2.0

"""`sordino run`: train and test as a study file says, and go on after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sordino.cli.app import app, tell_warning
from sordino.cli.check import DataPath, StudyPath


@app.command()
def run(
    study: StudyPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the results go.")],
    data: DataPath = None,
) -> None:
    """Run a study with simulated sites; the same command goes on where an interrupted run ended.

    Writes model.json, metrics.json and transcript.jsonl to DIR. DIR/state belongs to the simulated sites: it
    holds their keys and journals, and what it takes to go on.
    """
    import msgspec

    from sordino.cli.progress import progress
    from sordino.errors import ConfigError, Diverged
    from sordino.federated.study.prepared import examine
    from sordino.federated.study.run import run_study

    prepared, findings = examine(study, data)
    if prepared is None:
        first, *more = findings.faults
        rest = f" (and {len(more)} more {'fault' if len(more) == 1 else 'faults'}; see sordino check)"
        raise ConfigError(first + rest if more else first)
    for warning in findings.warnings:
        tell_warning(warning)
    with progress(prepared.study.name) as watch:
        ran = run_study(prepared, out, watch=watch)
    if not ran:
        typer.echo(f"{prepared.study.name}: already finished in {out}; nothing to do")
        return
    found = msgspec.json.decode((out / "metrics.json").read_bytes())
    typer.echo(f"{prepared.study.name}: {found['secure_sums']['made']} secure sums made; results in {out}")
    key, title = prepared.training.outcome.headline, prepared.training.outcome.title
    _tell(f"test {title}, from secure sums", found["secure_sums"].get(f"test_{key}"))
    told = msgspec.json.decode((out / "sites.json").read_bytes())
    for name, site in told["sites"].items():
        if site["left_out"]:
            typer.echo(f"  {name} was left out of {site['left_out']} of {told['rounds']} rounds of training")
    for warning in told["warnings"]:
        tell_warning(warning)
    if privacy := found.get("privacy"):
        typer.echo(
            f"  privacy of one {privacy['unit']}: epsilon {privacy['epsilon']:.4g} at delta "
            f"{privacy['delta']:g}, of {privacy['epsilon_allowed']:g} allowed"
        )
    simulation = found.get("simulation", {})
    _tell(f"test {title} of the same model on the pooled rows", simulation.get(f"test_{key}_pooled"))
    _tell(
        f"test {title}, federated minus pooled, both on pooled rows", simulation.get(f"test_{key}_difference")
    )
    if compared := simulation.get("compared_with_plain_sums"):
        typer.echo(
            f"  sums equal to plain ones, bit for bit: {compared['equal_bit_for_bit']} of {compared['sums']}"
        )
    typer.echo(f"  all of it on one page: sordino report {out}")
    stops = [repeat.get("stopped", {}) for repeat in found["secure_sums"]["repeats"]]
    if rounds := [str(stop["round"]) for stop in stops if stop.get("diverged")]:
        raise Diverged(
            f"training diverged in round {', '.join(rounds)}; {out} has the last good model: lower "
            "training.learning_rate or local_steps"
        )


def _tell(what: str, interval: dict[str, float] | None) -> None:
    if not interval or interval["mean"] is None:
        return
    between = f" (95% interval {interval['low']:.4f} to {interval['high']:.4f})" if "low" in interval else ""
    typer.echo(f"  {what}: {interval['mean']:.4f}{between}")
