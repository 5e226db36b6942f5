# SPDX-License-Identifier: Apache-2.0

"""`sordino predict`: score new patients with a trained model."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from sordino.cli.app import app


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="model.json", help="The model of a finished study.")],
    patients: Annotated[Path, typer.Argument(metavar="new.csv", help="New patients, .csv or .csv.gz.")],
    site: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Whose patients these are; beside the model is sites/NAME/effects.json."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here, not to the terminal.")
    ] = None,
) -> None:
    """Write the id and what is predicted for every patient as CSV.

    Columns may stand in any order and others beside them; a feature that is missing is named.
    """
    from sordino.errors import ConfigError
    from sordino.federated.study.harmonise_file import read_effects
    from sordino.federated.study.model_file import read_model
    from sordino.federated.study.table import read_table
    from sordino.files.durable import write_durably

    if out is not None and out.resolve() in (model.resolve(), patients.resolve()):
        raise ConfigError(f"{out}: would overwrite what it is made from")
    trained = read_model(model)
    effects = None if site is None else read_effects(model.parent / "sites" / site / "effects.json", site)
    scores = trained.score(read_table(patients), effects)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([trained.id, *trained.columns])
    writer.writerows((name, *(f"{number:.6g}" for number in numbers)) for name, *numbers in scores)
    if out is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        try:
            # A pipe or a device is written to, never replaced by a file.
            if out.exists() and not out.is_file():
                out.write_text(text.getvalue(), encoding="utf-8")
            else:
                write_durably(out, text.getvalue().encode())
        except OSError as error:
            raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
        typer.echo(f"{len(scores)} patients scored; written to {out}", err=True)
