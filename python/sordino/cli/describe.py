# SPDX-License-Identifier: Apache-2.0

"""`sordino describe`: what the features of a study's sites look like together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sordino.cli.app import app
from sordino.cli.check import DataPath, StudyPath


@app.command()
def describe(
    study: StudyPath,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write everything that was told, as JSON.")
    ] = None,
    data: DataPath = None,
) -> None:
    """Describe a study's features by secure sums over simulated sites: counts, means, quantiles and more.

    A missing cell is a missing value. The study file's table `description` says what is told; with its table
    `privacy` every sum is noised.
    """
    import json

    from sordino.federated.study.described import describe_study
    from sordino.files.durable import write_durably

    described, found = describe_study(study, data)
    if out is not None:
        text = json.dumps({"study": described.name, **found.summary()}, indent=1, allow_nan=False)
        write_durably(out, text.encode())
    typer.echo(found.table())
    if (cost := found.privacy) is not None:
        typer.echo(f"privacy of one {cost.unit}: epsilon {cost.epsilon:.4g} at delta {cost.delta:g}")
