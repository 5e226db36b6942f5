# SPDX-License-Identifier: Apache-2.0

"""The figures of an audit: a strip for each attack on each target, beside its control and its null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sordino.report import charts
from sordino.report.figures import figure, table
from sordino.report.markup import Markup


class Family(NamedTuple):
    """Attacks of one kind: how their figure is called, and what its strips show."""

    title: str
    scale: str
    caption: str


FAMILIES = {
    "membership": Family(
        "Membership: was this patient in the training?",
        "AUC, 0 to 1",
        "Each strip is the area under the attack's curve with its 95 % interval; the hair at 0.5 is a coin. "
        "The control must be far to the right, or the attack shows nothing; the null must hold the hair.",
    ),
    "attribute": Family(
        "Attributes: what is this patient's hidden value?",
        "gained over imputation, -1 to 1",
        "Each strip is what the model adds to imputation that never sees it, with its 95 % interval; the "
        "hair is at nothing. Only what is gained is a leak.",
    ),
    "inversion": Family(
        "Inversion: what are the patient's numbers?",
        "patients rebuilt, 0 to 1",
        "Each strip is the part of patients who were rebuilt within a quarter of a standard deviation, with "
        "its 95 % interval. Where a row is read off directly there is no strip, and the result is how far it "
        "is from the patient's. The raw update is the control. Sums are over few patients here unless more "
        "are named: over so few a secure sum alone hides nobody.",
    ),
    "epsilon": Family(
        "Epsilon: is the noise what it is said to be?",
        "epsilon, from 0",
        "Each bar is the least epsilon that the found canaries allow, at 95 %; the hair is what the "
        "accountant claims. A bar beyond its hair catches a mechanism with too little noise, as the control "
        "is made to have.",
    ),
    "mask": Family("Masks: can a seed be guessed?", "", "What it takes to guess the seed of one mask."),
}


def attack_figures(rows: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """One figure for each kind of attack that there is, in order; what is of no known kind comes last."""
    drawn = []
    for kind, family in FAMILIES.items():
        if own := [row for row in rows if row.get("kind") == kind]:
            drawn.append(_family(kind, family, own))
    if others := [row for row in rows if row.get("kind") not in FAMILIES]:
        cells = [[row["attack"], row["target"], row["result"], row["says"]] for row in others]
        drawn.append(table(["attack", "on", "result", "in words"], cells, "Attacks"))
    return drawn


def _family(kind: str, family: Family, rows: Sequence[Mapping[str, Any]]) -> Markup:
    most = max((_reach(row["figures"]) for row in rows), default=1.0) if kind == "epsilon" else 1.0
    strips = [_strip(kind, row, most) for row in rows]
    headings = ["attack", "on", "result", "in words"]
    cells: list[list[str]] = [
        [row["attack"].split(", ", 1)[-1], row["target"], row["result"], row["says"]] for row in rows
    ]
    if any(strips):
        headings.insert(2, family.scale)
        for cell, strip in zip(cells, strips, strict=True):
            cell.insert(2, strip or "")
    drawing = table(headings, cells, label=family.title)
    return figure(f"audit-{kind}", family.title, drawing, family.caption, None)


def _strip(kind: str, row: Mapping[str, Any], most: float) -> Markup | None:
    figures, said = row["figures"], f"{row['attack']} on {row['target']}: {row['result']}"
    if kind == "membership":
        return _interval(said, figures.get("auc"), (0.0, 1.0), 0.5)
    if kind == "attribute":
        return _interval(said, figures.get("gained"), (-1.0, 1.0), 0.0)
    if kind == "inversion" and "matched" in figures:
        return _interval(said, figures["matched"], (0.0, 1.0), None)
    if kind == "epsilon" and isinstance(figures.get("least"), float):
        marks = [(0.0, 1.0, "rail"), (0.0, figures["least"] / most, "bar")]
        if (claimed := figures.get("claimed")) is not None:
            for half, kind in ((0.012, "gap"), (0.004, "claim")):
                marks.append((max(claimed / most - half, 0.0), min(claimed / most + half, 1.0), kind))
        return charts.strip(said, marks)
    return None


def _interval(
    said: str, found: Mapping[str, float] | None, span: tuple[float, float], hair: float | None
) -> Markup | None:
    if found is None:
        return None
    return charts.interval(said, found["value"], (found["low"], found["high"]), span, hair=hair)


def _reach(figures: Mapping[str, Any]) -> float:
    return 1.02 * max(float(figures.get("least") or 0.0), float(figures.get("claimed") or 0.0), 1e-9)
