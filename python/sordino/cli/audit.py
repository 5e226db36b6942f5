# SPDX-License-Identifier: Apache-2.0

"""`sordino audit`: attacks on a study's own sums and model, before hospitals join."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sordino.cli.app import app, tell_warning
from sordino.cli.check import DataPath, StudyPath

if TYPE_CHECKING:
    from sordino.audit.findings import Report


@app.command()
def audit(
    study: StudyPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Write audit.json and pictures here.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Few shadow models and canaries: seconds, and wide intervals.")
    ] = False,
    canaries: Annotated[
        int | None,
        typer.Option("--canaries", metavar="N", help="For the one-run epsilon; a multiple of 500."),
    ] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="The patients' rows may be seen: their pictures go into the report as well."
        ),
    ] = False,
    data: DataPath = None,
) -> None:
    """Attack a study's sums and model in simulation, each attack beside a control that it must win.

    Tries membership and attribute inference, gradient inversion, canaries against epsilon, and the masks.
    Pictures of the study's own patients go to DIR/patients, which is for its owner and in no report; those of
    phantoms, and audit.json, are shown by 'sordino report DIR'. An audit that finds nothing proves nothing;
    docs/audit.md says what each attack can see.
    """
    import json
    from importlib.util import find_spec

    from rich.console import Console
    from rich.table import Table

    from sordino.audit.report import audit_study
    from sordino.errors import ConfigError
    from sordino.federated.study.prepared import prepare
    from sordino.files.durable import write_durably

    prepared = prepare(study, data)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
    report = audit_study(
        prepared,
        quick=quick,
        canaries=canaries,
        tell=lambda name: typer.echo(f"{name} ...", err=True),
    )
    if find_spec("matplotlib"):
        _draw(report, out, public=public)
    else:
        report.missing.append("no pictures: pip install 'sordino[figures]'")
    text = json.dumps(report.summary(), indent=1, allow_nan=False)
    write_durably(out / "audit.json", text.encode() + b"\n")
    table = Table(title=f"Audit of {report.study}", show_lines=True)
    for heading in ("attack", "target", "result (95 % interval)", "in words"):
        table.add_column(heading)
    for row in report.rows:
        table.add_row(row.attack, row.target, row.result, row.says)
    Console().print(table)
    for missing in report.missing:
        tell_warning(missing, err=False)
    typer.echo(f"An audit that finds nothing proves nothing. Written to {out / 'audit.json'}")


def _draw(report: Report, out: Path, *, public: bool) -> None:
    """The pictures, those of patients where only their owner looks unless they are public."""
    from sordino.audit.pictures import draw_rebuilt, file_name

    own = out / "patients"
    hidden = set() if public else report.private
    for name in hidden:  # of an audit before
        (out / file_name(name)).unlink(missing_ok=True)
    draw_rebuilt({name: one for name, one in report.pictures.items() if name not in hidden}, out)
    if hidden:
        own.mkdir(mode=0o700, exist_ok=True)
        draw_rebuilt({name: report.pictures[name] for name in sorted(hidden)}, own)
