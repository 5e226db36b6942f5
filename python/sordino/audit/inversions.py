# SPDX-License-Identifier: Apache-2.0

"""Gradient inversion of a study's patients and of phantoms' lesions, at every target, beside chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from sordino.audit import inversion
from sordino.audit.findings import NULL, Report, Row
from sordino.audit.patches import IMAGES, lesion_patches
from sordino.audit.survival import rows_behind
from sordino.audit.targets import DELTA, EPSILON, RAW, SUM, Audited
from sordino.audit.updates import update_views
from sordino.federated.study.outcomes.number import Number
from sordino.federated.study.outcomes.survival import Survival
from sordino.federated.survival import NewtonSteps
from sordino.models.linear import Linear
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix, Vector
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.statistics.scaling import standardised

SITES_OF_FEW = 3
"""Sites whose few patients' gradients are inverted."""

FEATURES = "features"

PHANTOMS = 64
"""Lesions of whom a reconstruction is to be recognised."""

CROWD = 32
"""Patients at each of these sites where a sum hides its patients by their number."""

EXACT = 1e-9
"""In standard deviations: what rounding of a row leaves."""


def inversions(audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    """All rows of the table about inversion; pictures go into the report."""
    rng = np.random.default_rng([seed, 12])
    outcome = audited.study.training.outcome
    state = {"mean": audited.features.mean(axis=0), "scale": audited.features.std(axis=0)}
    state["scale"] = np.where(np.ptp(audited.features, axis=0) > 0.0, state["scale"], 1.0)
    rows = standardised(audited.features, state)
    if isinstance(audited.study.training.trainer, NewtonSteps):
        yield from _risk_sets(audited, seed)
    else:
        yield from _analytic(audited, rows, rng, seed)
    # The network that is inverted has two classes, whatever the study predicts.
    classes = audited.target if not isinstance(outcome, Survival) else audited.target[:, 1]
    if isinstance(outcome, Number):
        classes = (classes > np.median(classes)).astype(float)
    few = min(4, len(rows) // SITES_OF_FEW)
    yield from _optimised(FEATURES, rows, classes, few, report, rng, seed)
    if len(rows) >= 2 * SITES_OF_FEW * CROWD:
        yield _crowd(rows, classes, report, rng, seed)
    patches = lesion_patches(PHANTOMS, seed=seed)
    # Brought to the mean patch and one deviation, as what goes into a network is, and grey again in pictures.
    grey, unit = patches.mean(axis=0), float(np.sqrt(np.mean(patches.var(axis=0))))
    classes = rng.integers(0, 2, len(patches)).astype(float)
    yield from _optimised(IMAGES, (patches - grey) / unit, classes, 2, report, rng, seed)
    for name, one in report.pictures.items():
        if name.startswith(IMAGES):
            report.pictures[name] = replace(one, truth=grey + unit * one.truth, found=grey + unit * one.found)


def _analytic(audited: Audited, rows: Matrix, rng: np.random.Generator, seed: int) -> Iterator[Row]:
    """One patient at each site, and a linear model that knows nothing yet."""
    model: Linear | Logistic = Logistic(rows.shape[1], l2=0.0)
    target = audited.target if audited.target.ndim == 1 else audited.target[:, 1]
    if isinstance(audited.study.training.outcome, Number):
        model = Linear(rows.shape[1], l2=0.0)
        target = (target - target.mean()) / target.std()
    chosen = rng.choice(len(rows), size=len(audited.names), replace=False)
    batches = [(rows[one : one + 1], target[one : one + 1]) for one in chosen]
    for name, gradient in update_views(
        model, model.initial(), batches, epsilon=EPSILON, delta=DELTA, seed=seed
    ).items():
        found = inversion.first_layer(gradient[:-1, np.newaxis], gradient[-1:])
        error = float(np.abs(found - batches[0][0][0]).max())
        told = (
            "The one patient's row was read off to the last digit."
            if error < EXACT
            else "The row that comes out is not the patient's."
        )
        yield Row(
            "inversion",
            "inversion, analytic, one patient",
            name,
            f"largest error {error:.1e} SD",
            told,
            {"error": error},
            error < EXACT if name == RAW else None,
        )


def _risk_sets(audited: Audited, seed: int) -> Iterator[Row]:
    """Who leaves alone at a cut, by the first step's sums, of one site and of all together."""
    trained = audited.train(audited.study, np.ones(len(audited.target), dtype=np.bool_), seed, noise=False)
    for name, sums, here in (
        (RAW, trained.raw.sums, audited.site == audited.raw),
        (SUM, trained.total.sums, np.ones(len(audited.target), dtype=np.bool_)),
    ):
        rows = standardised(audited.features[here], trained.before)
        found = rows_behind(sums["zero"], sums["first"].reshape(len(sums["zero"]), -1))
        error = np.abs(found[:, np.newaxis] - rows).max(axis=2).min(axis=0)  # of each patient
        opened = int((error < 1e-6).sum())
        told = (
            f"{opened} of {len(rows)} patients' rows stood open: each left alone at a time of the grid."
            if opened
            else "Nobody's row stood open: at every time of the grid several patients leave."
        )
        yield Row(
            "inversion",
            "inversion, risk-set sums",
            name,
            f"{opened} of {len(rows)} rows read off, nearest {error.min():.1e} SD",
            told,
            {"opened": opened, "patients": len(rows), "error": float(error.min())},
        )


def _optimised(
    what: str,
    rows: Matrix,
    target: Vector,
    few: int,
    report: Report,
    rng: np.random.Generator,
    seed: int,
) -> Iterator[Row]:
    model = MultiLayerPerceptron(rows.shape[1], hidden=(32,), activation="tanh", l2=0.0, seed=seed)
    drawn = rng.permutation(len(rows))
    chosen = drawn[: SITES_OF_FEW * few].reshape(SITES_OF_FEW, few)
    others = rows[drawn[SITES_OF_FEW * few :]]
    batches = [(rows[here], target[here]) for here in chosen]
    for name, gradient in update_views(
        model, model.initial(), batches, epsilon=EPSILON, delta=DELTA, seed=seed
    ).items():
        here = chosen[0] if name == RAW else chosen.ravel()
        found = inversion.by_optimisation(
            model,
            model.initial(),
            gradient,
            target[here],
            starts=3 if report.quick else 6,
            steps=500 if report.quick else 3_000,
            seed=seed,
        )
        one = inversion.compared(rows[here], found, others=others)
        picture = f"{what}, {name}"
        report.pictures[picture] = one
        report.private |= {picture} if what == FEATURES else set()
        yield _rebuilt_row(what, name, one, one.matched.value >= 0.5 if name == RAW else None)
    # What a guess of other patients comes to, who were in no update.
    guessed = others[: len(chosen.ravel())]
    if len(guessed) == chosen.size:
        by_guess = inversion.compared(rows[chosen.ravel()], guessed, others=others)
        yield _rebuilt_row(what, NULL, by_guess, by_guess.matched.value < 0.5)


def _crowd(rows: Matrix, target: Vector, report: Report, rng: np.random.Generator, seed: int) -> Row:
    """The same attack on the secure sum over more patients than the network has units, or rows numbers."""
    model = MultiLayerPerceptron(rows.shape[1], hidden=(32,), activation="tanh", l2=0.0, seed=seed)
    drawn = rng.permutation(len(rows))
    chosen = drawn[: SITES_OF_FEW * CROWD].reshape(SITES_OF_FEW, CROWD)
    here = chosen.ravel()
    views = update_views(model, model.initial(), [(rows[one], target[one]) for one in chosen], seed=seed)
    found = inversion.by_optimisation(
        model,
        model.initial(),
        views[SUM],
        target[here],
        starts=1,
        steps=200 if report.quick else 1_000,
        seed=seed,
    )
    one = inversion.compared(rows[here], found, others=rows[drawn[len(here) :]])
    return _rebuilt_row(f"{FEATURES} of {len(here)} patients", SUM, one, None)


def _rebuilt_row(what: str, name: str, one: inversion.Rebuilt, expected: bool | None) -> Row:
    patients = len(one.truth)
    told = f"{one.matched.value:.0%} of {patients} patients were rebuilt within a quarter of a deviation."
    if name == NULL:
        told = f"Other patients' rows in their place are within a quarter of one for {one.matched.value:.0%}."
    figures: dict[str, Any] = {
        "error": one.error.tolist(),
        "matched": asdict(one.matched),
        "recognised": None if name == NULL else asdict(one.recognised),
        "candidates": one.candidates,
        "chance": one.chance,
    }
    best = "" if name == NULL else f"; best match {one.recognised}, by chance {one.chance:.2g}"
    result = f"median error {float(np.median(one.error)):.2g} SD; matched {one.matched}{best}"
    return Row("inversion", f"inversion, optimised, {what}", name, result, told, figures, expected)
