"""What a run came to: metrics from secure sums, and apart from them what only a simulation can know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sordino.course.arrays import Arrays
from sordino.federated.evaluation import area_under_curve
from sordino.federated.private.evaluation import noised_area
from sordino.federated.site import Site
from sordino.federated.training import Training
from sordino.models.model import Matrix, Vector
from sordino.statistics.scaling import standardised

POOLED_NOTE = (
    "Made from all sites' rows in one place, which this simulation has and real hospitals do not. "
    "Nothing here came from a secure sum."
)


def repeat_results(
    training: Training, sites: Mapping[str, Site], state: Arrays, *, pooled: bool
) -> dict[str, Any]:
    """The metrics of one training, with `pooled` beside those of the same model on the pooled rows."""
    # A loss by round would be one more lane for everyone's noise: a private training has none.
    losses = {} if training.private else {"train_loss_by_round": state["losses"].tolist()}
    results: dict[str, Any] = {"secure_sums": {**losses, **_held_out(state)}}
    if not pooled:
        return results
    model = training.model
    features, target = _together(sites, held_out=False)
    known = _own_scaler(training, features)
    optimum = model.fit(standardised(features, known), target)
    simulation: dict[str, Any] = {
        "train_objective_federated": model.objective(
            state["parameters"], standardised(features, state), target
        ),
        "train_objective_pooled": model.objective(optimum, standardised(features, known), target),
    }
    if training.bins is not None:
        test, truth = _together(sites, held_out=True)
        federated = model.decision(state["parameters"], standardised(test, state))
        simulation["test_auc_federated"] = auc(truth, federated)
        simulation["test_auc_pooled"] = auc(truth, model.decision(optimum, standardised(test, known)))
    return {**results, "simulation": simulation}


def alone(training: Training, sites: Mapping[str, Site]) -> dict[str, float]:
    """For each site the test AUC, on all sites' held-out patients, of the model fitted on its rows only.

    NaN where a site has one class only. A simulation's own: real hospitals publish no such table.
    """
    test, truth = _together(sites, held_out=True)
    areas = {}
    for name, site in sites.items():
        if len(np.unique(site.target)) < 2:
            areas[name] = float("nan")
            continue
        known = _own_scaler(training, site.features)
        parameters = training.model.fit(standardised(site.features, known), site.target)
        areas[name] = auc(truth, training.model.decision(parameters, standardised(test, known)))
    return areas


def metrics(repeats: Sequence[Mapping[str, Any]], *, sums: int, compared: int, equal: int) -> dict[str, Any]:
    """The content of metrics.json without its heading."""
    content: dict[str, Any] = {
        "secure_sums": {"made": sums, "repeats": [repeat["secure_sums"] for repeat in repeats]}
    }
    if aucs := [
        repeat["secure_sums"]["test"]["auc"] for repeat in repeats if "test" in repeat["secure_sums"]
    ]:
        content["secure_sums"]["test_auc"] = interval(aucs)
    simulation: dict[str, Any] = {}
    if compared:
        simulation["compared_with_plain_sums"] = {"sums": compared, "equal_bit_for_bit": equal}
    pooled = [repeat["simulation"] for repeat in repeats if "simulation" in repeat]
    if pooled:
        simulation["repeats"] = pooled
        if "test_auc_pooled" in pooled[0]:
            both = ("test_auc_federated", "test_auc_pooled")
            federated, together = ([repeat[key] for repeat in pooled] for key in both)
            simulation |= dict(zip(both, (interval(federated), interval(together)), strict=True))
            simulation["test_auc_difference"] = interval(
                [one - other for one, other in zip(federated, together, strict=True)]
            )
    if simulation:
        content["simulation"] = {"note": POOLED_NOTE, **simulation}
    found: dict[str, Any] = _without_nan(content)
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean, and with three values or more its 95% interval by Student's t over the repeats.

    Repeats share patients, so the interval is that of these splits, not of a new cohort.
    """
    mean = float(np.mean(values))
    if len(values) < 3:
        return {"mean": mean}
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def auc(target: Vector, score: Vector) -> float:
    """The area under the ROC curve, by ranks, ties counting one half; NaN if a class is empty."""
    positives = float(target.sum())
    pairs = positives * (len(target) - positives)
    if pairs == 0.0:
        return float("nan")
    _, place, times = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2.0)[place]
    return (float(ranks[target == 1.0].sum()) - positives * (positives + 1.0) / 2.0) / pairs


def _held_out(state: Arrays) -> dict[str, Any]:
    if "positives" not in state:
        return {}
    positives, negatives = state["positives"], state["negatives"]
    if "counts_deviation" in state:
        return _noised_test(positives, negatives, float(state["counts_deviation"][0]))
    patients = float(positives.sum() + negatives.sum())
    area, off = area_under_curve(positives, negatives)
    return {
        "test": {
            "patients": int(patients),
            "positives": int(positives.sum()),
            "auc": area,
            "auc_off_by_at_most": off,
            "log_loss": float(state["log_loss"][0]) / patients if patients else float("nan"),
            "accuracy": float(state["correct"][0]) / patients if patients else float("nan"),
        }
    }


def _noised_test(positives: Vector, negatives: Vector, deviation: float) -> dict[str, Any]:
    """The same from noised counts, each ratio with the standard deviation that their noise gives it.

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
        "test": {
            "patients": round(patients),
            "positives": round(float(positives.sum())),
            "auc": area,
            "auc_noise_deviation": off,
            "accuracy": accuracy,
            "accuracy_noise_deviation": accuracy_off,
        }
    }


def _own_scaler(training: Training, features: Matrix) -> Arrays:
    """Mean and standard deviation of these rows, if the study standardises."""
    if not training.standardise:
        return {}
    # By its range: rounding gives a constant such as 0.1 a deviation of 1e-17.
    constant = features.min(axis=0) == features.max(axis=0)
    mean = np.where(constant, features[0], features.mean(axis=0))
    return {"mean": mean, "scale": np.where(constant, 1.0, features.std(axis=0))}


def _together(sites: Mapping[str, Site], *, held_out: bool) -> tuple[Matrix, Vector]:
    rows = [
        (site.test_features, site.test_target) if held_out else (site.features, site.target)
        for _, site in sorted(sites.items())
    ]
    features = [part for part, _ in rows if part is not None]
    target = [part for _, part in rows if part is not None]
    return np.concatenate(features), np.concatenate(target)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for a metric that is not defined."""
    match value:
        case dict():
            return {key: _without_nan(part) for key, part in value.items()}
        case list():
            return [_without_nan(part) for part in value]
        case float() if math.isnan(value):
            return None
        case _:
            return value
