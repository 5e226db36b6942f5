# SPDX-License-Identifier: Apache-2.0

"""`sordino phantom`: scans with known lesions, to go the whole way from images to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sordino.cli.app import app


@app.command()
def phantom(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write; must be empty.")],
    sites: Annotated[int, typer.Option(min=3, help="Sites, each with a scanner of its own.")] = 5,
    patients: Annotated[int, typer.Option(min=1, help="Patients at each site.")] = 24,
    size: Annotated[int, typer.Option(min=48, help="Edge of a scan, mm.")] = 56,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Other seed, other patients.")] = 0,
) -> None:
    """Write CT-like scans of lesions with an outcome that depends on them, and a study over them."""
    from sordino.radiomics.phantom import write_phantoms

    found = write_phantoms(out, sites=sites, patients=patients, size=size, seed=seed)
    typer.echo(f"{sites * patients} scans at {sites} sites in {out}. From here to a model:\n")
    for folder in found.sites.values():
        typer.echo(
            f"sordino extract --images {folder / 'images'} --masks {folder / 'masks'} "
            f"--settings {found.settings} --join {folder / 'clinical.csv'} --out {folder / 'features.csv'}"
        )
    typer.echo(f"sordino run {found.study} --out {out / 'results'}")
