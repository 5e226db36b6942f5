# SPDX-License-Identifier: Apache-2.0

"""`sordino extract`: scans and masks to a table of features."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sordino.cli.app import app

if TYPE_CHECKING:
    from sordino.radiomics.extraction import Progress

ALL_FAILED = 4
"""Exit code where scans were found and not one gave a row."""


@app.command()
def extract(
    images: Annotated[Path, typer.Option(help="Folder of images, named by patient.")],
    masks: Annotated[Path, typer.Option(help="Folder of masks, named by patient and lesion.")],
    out: Annotated[Path, typer.Option(metavar="features.csv", help="The table to write.")],
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PyRadiomics' parameters, TOML or YAML; else for CT.")
    ] = None,
    join: Annotated[
        Path | None, typer.Option(metavar="clinical.csv", help="Add its columns, by its column `patient`.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are processors if left out.")
    ] = None,
) -> None:
    """Extract radiomic features: a row a lesion, and failures.csv beside it.

    The same command goes on after a stop, and does only new or changed scans when it was done before.

    Exit codes: 0 done, even if some scans failed; 2 you erred; 4 every scan failed; 130 after Ctrl-C.
    """
    from sordino.radiomics.extraction import extract as extract_features
    from sordino.radiomics.table import FAILURES

    with extracting() as watch:
        found = extract_features(
            images, masks, out, settings=settings, clinical=join, workers=workers, watch=watch
        )
    before = f" ({found.reused} patients done before)" if found.reused else ""
    typer.echo(
        f"{found.rows} lesions of {found.patients} patients{before}, {len(found.failures)} failures; "
        f"settings {found.settings}"
    )
    if found.failures:
        typer.echo(f"What failed and why: {out.with_name(FAILURES)}", err=True)
    if not found.rows:
        raise typer.Exit(ALL_FAILED)


@contextmanager
def extracting() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, elsewhere a line for every tenth."""
    if not sys.stderr.isatty():

        def tell(now: Progress) -> None:
            if now.done == now.total or now.done % max(1, now.total // 10) == 0:
                typer.echo(f"  {now.done} of {now.total} patients, {now.failed} failed", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("extract"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("patients{task.fields[failed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("extract", total=None, failed="")

        def show(now: Progress) -> None:
            failed = f", {now.failed} failed" if now.failed else ""
            bar.update(task, total=now.total, completed=now.done, failed=failed)

        yield show
