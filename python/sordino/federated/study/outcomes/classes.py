# SPDX-License-Identifier: Apache-2.0

"""Two classes: one column with one of two labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.federated.evaluation import Evaluation, area_under_curve, bands
from sordino.federated.private.evaluation import noised_area
from sordino.federated.site import Site
from sordino.federated.study.outcomes.outcome import Metrics, Unscaled
from sordino.federated.study.table import SHOWN, Table
from sordino.models.model import Matrix, Model, Vector, classifier

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


class TwoClasses(Unscaled):
    """Column `data.target` with the labels `data.classes`, coded 0 and 1."""

    headline, title = "auc", "AUC"

    def keys(self, data: Data) -> Mapping[str, str]:
        """See `Outcome`."""
        return {"data.target": data.target} if data.target else {}

    def faults(self, data: Data) -> list[str]:
        """See `Outcome`."""
        negative, positive = data.classes
        if not data.target:
            return ["the key 'data.target' is missing: a column name"]
        if label_of(str(negative)) == label_of(str(positive)):
            return [f"'data.classes' names one label twice: {negative!r} and {positive!r}"]
        return []

    def read(self, data: Data, table: Table, faults: list[str]) -> Vector:
        """See `Outcome`."""
        negative, positive = (str(label) for label in data.classes)
        coding = {label_of(negative): 0.0, label_of(positive): 1.0}
        cells = table.column(data.target)
        wrong = [(table.lines[at], cell) for at, cell in enumerate(cells) if label_of(cell) not in coding]
        for line, cell in wrong[:SHOWN]:
            neither = f"{cell!r} is neither {negative!r} nor {positive!r}, the 'data.classes'"
            what = neither if cell else "the value is missing"
            faults.append(f"{table.path}: line {line}, target {data.target!r}: {what}")
        if len(wrong) > SHOWN:
            faults.append(f"{table.path}: {len(wrong) - SHOWN} more targets are of neither class")
        return np.array([coding.get(label_of(cell), 0.0) for cell in cells])

    def overall_faults(self, data: Data, target: Vector) -> list[str]:
        """See `Outcome`."""
        if len(np.unique(target)) == 2:
            return []
        return [f"the target {data.target!r} has one class only, {data.classes[int(target[0])]!r}"]

    def doubt(self, target: Vector) -> str | None:
        """See `Outcome`."""
        return None if len(np.unique(target)) == 2 else "has patients of one class only"

    def strata(self, target: Vector) -> Vector:
        """The classes."""
        return target

    def coding(self, data: Data) -> tuple[object, ...]:
        """The column and its labels."""
        return data.target, tuple(str(label) for label in data.classes)

    def evaluation(self, model: Model, *, bins: int, sites: int, max_patients: int) -> Stage[Site]:
        """Histograms of the predicted probability by class."""
        del sites
        return Evaluation(classifier(model), bins, max_patients)

    def tested(self, state: Arrays) -> Metrics:
        """AUC, accuracy and, without noise, log loss."""
        positives, negatives = state["positives"], state["negatives"]
        if "counts_deviation" in state:
            return _noised(positives, negatives, float(state["counts_deviation"][0]))
        patients = float(positives.sum() + negatives.sum())
        area, off = area_under_curve(positives, negatives)
        return {
            "patients": int(patients),
            "positives": int(positives.sum()),
            "auc": area,
            "auc_off_by_at_most": off,
            "log_loss": float(state["log_loss"][0]) / patients if patients else float("nan"),
            "accuracy": float(state["correct"][0]) / patients if patients else float("nan"),
        }

    def figures(self, state: Arrays, *, least: int) -> Metrics:
        """See `Outcome`: bands of predicted probability, from which ROC and calibration can be drawn."""
        deviation = float(state["counts_deviation"][0]) if "counts_deviation" in state else 0.0
        return {"bands": bands(state["positives"], state["negatives"], least=least, deviation=deviation)}

    def score(self, model: Model, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The AUC."""
        return auc(target, model.decision(parameters, features))


def label_of(cell: str) -> str | float:
    """What a cell of the target, or an entry of `data.classes`, stands for: 1, 1.0 and "1" are one label."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    return cell if isnan(number) else number


def auc(target: Vector, score: Vector) -> float:
    """The area under the ROC curve, by ranks, ties counting one half; NaN if a class is empty."""
    positives = float(target.sum())
    pairs = positives * (len(target) - positives)
    if pairs == 0.0:
        return float("nan")
    _, place, times = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2.0)[place]
    return (float(ranks[target == 1.0].sum()) - positives * (positives + 1.0) / 2.0) / pairs


def _noised(positives: Vector, negatives: Vector, deviation: float) -> Metrics:
    """The metrics from noised counts, each ratio with the standard deviation that their noise gives it.

    Half of the 2 * bins counts are right. Noise on one of them moves the accuracy a by (1 - a) / patients,
    on one of the others by -a / patients.
    """
    area, off = noised_area(positives, negatives, deviation)
    patients, bins = float(positives.sum() + negatives.sum()), len(positives)
    upper = (np.arange(bins) + 0.5) / bins > 0.5
    right = float(positives[upper].sum() + negatives[~upper].sum())
    accuracy = min(max(right / patients, 0.0), 1.0) if patients > 0.0 else float("nan")
    accuracy_off = deviation * math.sqrt(bins * (accuracy**2 + (1.0 - accuracy) ** 2)) / max(patients, 1.0)
    return {
        "patients": round(patients),
        "positives": round(float(positives.sum())),
        "auc": area,
        "auc_noise_deviation": off,
        "accuracy": accuracy,
        "accuracy_noise_deviation": accuracy_off,
    }
