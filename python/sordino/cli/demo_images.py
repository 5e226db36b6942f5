# SPDX-License-Identifier: Apache-2.0

"""The demo from images: phantom scans, features at every site, harmonised by sums, and a model over them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from sordino.cli.extract import extracting
from sordino.cli.watched_sums import WatchedSums
from sordino.errors import ConfigError, StateError
from sordino.federated.estimators.logistic import FederatedLogisticRegression
from sordino.models.model import Matrix, Vector
from sordino.radiomics import Phantoms, extract, write_phantoms
from sordino.statistics.combat import harmonise

TEXTURE = "original_firstorder_RobustMeanAbsoluteDeviation"
IMAGED = ("original_shape_MeshVolume", "original_shape_Sphericity", "original_glcm_Contrast", TEXTURE)
FOLDS = 4


class Cohort(NamedTuple):
    """All patients' rows, which only a simulation has together.

    images     features from the scans, shape (patients, IMAGED)
    amplitude  of the lesions' texture, as it truly is
    eta        the risk by the law that the outcomes were drawn from
    """

    site: NDArray[np.str_]
    images: Matrix
    age: Vector
    outcome: Vector
    amplitude: Vector
    eta: Vector


def demo_images(folder: Path, *, sites: int = 5, patients: int = 40, size: int = 48) -> None:
    """Show it, and keep everything in `folder`, which must be empty: scans, tables, `images.json`.

    Raises `ConfigError` without the extra `radiomics`.
    """
    if missing := [name for name in ("SimpleITK", "radiomics") if find_spec(name) is None]:
        raise ConfigError(f"images need {' and '.join(missing)}: pip install 'sordino[radiomics]'")
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{sites * patients} made-up patients with a lesion each, at {sites} sites whose scanners differ: "
        "slices, sharpness,\nnoise. The outcome depends on the lesion and on age, never on the scanner.\n"
    )
    typer.echo(f"  writing {sites * patients} scans", err=True)
    cohort = _extracted(folder, write_phantoms(folder, sites=sites, patients=patients, size=size))
    typer.echo(f"  {FOLDS} times: harmonise, train, and test on one patient in {FOLDS}", err=True)
    watched = WatchedSums(lambda line: typer.echo(line, err=True))
    harmonised, areas = _tested(cohort, watched)
    textures = cohort.images[:, -1], harmonised[:, -1], cohort.amplitude
    between = [_between(texture, cohort) for texture in textures]
    follows = [float(np.corrcoef(texture, cohort.amplitude)[0, 1]) for texture in textures]
    table = Table(title=f"{sites * patients} patients, each tested by a model that was trained without it")
    table.add_column("")
    for which in areas:
        table.add_column(which, justify="right")
    for what, values in (
        ("variance of texture due to scanners", between),
        ("correlation of texture with the true", follows),
        ("AUC of the model", areas.values()),
    ):
        table.add_row(what, *(f"{value:.3f}" for value in values))
    console.print(table)
    console.print(
        "Texture is the spread of grey values: noise adds to it, thick slices take from it. ComBat takes\n"
        "each scanner's mean and spread out, by secure sums; no site's own is seen. AUC: of two patients,\n"
        "how often the model tells who has the outcome; true is the law that outcomes were drawn from.\n"
        f"{watched.sums} secure sums for {2 * FOLDS} models, {watched.equal} equal to the plain ones, bit "
        "for bit."
    )
    kept = {
        "auc": areas,
        "texture_follows": follows,
        "texture_between_scanners": between,
        "sums": watched.sums,
        "sums_equal": watched.equal,
    }
    (folder / "images.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    if watched.equal != watched.sums:
        raise StateError(f"{watched.sums - watched.equal} secure sums differ from the plain ones")


def _extracted(folder: Path, phantoms: Phantoms) -> Cohort:
    """Each site extracts its features by the same settings."""
    rows: list[dict[str, str]] = []
    labels: list[str] = []
    for name, place in phantoms.sites.items():
        typer.echo(f"  {name} extracts its features", err=True)
        table = place / "features.csv"
        with extracting() as watch:
            extract(
                place / "images",
                place / "masks",
                table,
                settings=phantoms.settings,
                clinical=place / "clinical.csv",
                watch=watch,
            )
        rows += _rows(table)
        labels += [name] * (len(rows) - len(labels))
    truth = {row["patient"]: row for row in _rows(folder / "truth.csv")}
    true = [truth[row["patient"]] for row in rows]
    return Cohort(
        np.array(labels),
        _numbers(rows, IMAGED),
        *_numbers(rows, ("age", "outcome")).T,
        *_numbers(true, ("amplitude", "eta")).T,
    )


def _tested(cohort: Cohort, watched: WatchedSums) -> tuple[Matrix, dict[str, float]]:
    """The harmonised features of each patient, learnt without its fold, and the mean AUC over folds."""
    site, images, outcome = cohort.site, cohort.images, cohort.outcome
    names = np.unique(site).tolist()
    # In turn within each site.
    fold = sum((np.cumsum(site == name) - 1) * (site == name) for name in names) % FOLDS
    harmonised = np.empty_like(images)
    areas: dict[str, list[float]] = {"as scanned": [], "harmonised": [], "true": []}
    for held in range(FOLDS):
        test = fold == held
        done = harmonise({name: images[(site == name) & ~test] for name in names})
        adjusted = np.empty_like(images)
        for name in names:
            adjusted[site == name] = done.adjust(name, images[site == name])
        harmonised[test] = adjusted[test]
        for which, features in (("as scanned", images), ("harmonised", adjusted)):
            rows = np.column_stack([cohort.age, features])
            model = FederatedLogisticRegression(rounds=30, aggregator=watched.aggregator)
            model.fit(rows[~test], outcome[~test], sites=site[~test])
            areas[which].append(roc_auc_score(outcome[test], model.decision_function(rows[test])))
        areas["true"].append(roc_auc_score(outcome[test], cohort.eta[test]))
    return harmonised, {which: float(np.mean(area)) for which, area in areas.items()}


def _between(texture: Vector, cohort: Cohort) -> float:
    """Which part of the variance is that of the sites' means."""
    means = sum(
        (cohort.site == name) * texture[cohort.site == name].mean() for name in np.unique(cohort.site)
    )
    return float(np.var(means) / np.var(texture))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _numbers(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> Matrix:
    return np.array([[float(row[column]) for column in columns] for row in rows])
