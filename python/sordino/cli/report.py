# SPDX-License-Identifier: Apache-2.0

"""`sordino report`: what a run did, cost and left exposed, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sordino.cli.app import app, tell_warning


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run, finished or not.")],
    site: Annotated[
        str | None,
        typer.Option("--site", metavar="NAME", help="The report for one site, with its own figures."),
    ] = None,
) -> None:
    """Write report.html, one page that needs no network, and report.json with the same as data.

    With --site they go into that site's own folder, DIR/sites/NAME.
    """
    import msgspec

    from sordino.report.write import write_report

    shown = write_report(folder, site)
    for warning in msgspec.json.decode(shown.with_suffix(".json").read_bytes())["missing"]:
        tell_warning(warning)
    typer.echo(f"{shown}")
