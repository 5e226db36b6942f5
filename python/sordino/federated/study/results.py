# SPDX-License-Identifier: Apache-2.0

"""What a run came to: metrics from secure sums, and apart from them what only a simulation can know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sordino.course.arrays import Arrays
from sordino.course.follow import DIVERGED, STOPPED
from sordino.federated.fusion.late import bases_of
from sordino.federated.fusion.missing import filled
from sordino.federated.site import Site
from sordino.federated.study.outcomes.outcome import Outcome
from sordino.federated.subgroups import Subgroups, cell_state
from sordino.federated.training import Training
from sordino.models.model import Matrix, Vector
from sordino.statistics.scaling import standardised

LEAST = 10

POOLED_NOTE = (
    "Made from all sites' rows in one place, which this simulation has and real hospitals do not. "
    "Nothing here came from a secure sum."
)


def repeat_results(
    training: Training, sites: Mapping[str, Site], state: Arrays, *, pooled: bool, least: int = LEAST
) -> dict[str, Any]:
    """The metrics of one training, with `pooled` beside those of the same model on the pooled rows.

    least  the fewest patients in a cell of what may be drawn
    """
    outcome = training.outcome
    # A loss by round would be one more lane for everyone's noise: a private training has none.
    losses: dict[str, Any] = {} if training.private else {"train_loss_by_round": state["losses"].tolist()}
    if "validation_losses" in state:
        losses["validation_loss_by_check"] = state["validation_losses"].tolist()
    if STOPPED in state:
        losses["stopped"] = {"round": int(state[STOPPED][0]), "diverged": DIVERGED in state}
    tested: dict[str, Any] = {} if training.bins is None else {"test": outcome.tested(state)}
    if training.bins is not None and (drawn := outcome.figures(state, least=least)):
        tested["figures"] = drawn
    if training.bins is not None and training.subgroups is not None:
        tested["subgroups"] = _by_subgroup(outcome, training.subgroups, state)
    results: dict[str, Any] = {"secure_sums": {**losses, **tested}}
    if not pooled:
        return results
    model = training.model
    features, target = _together(sites, held_out=False)
    known = _own_scaler(training, features, target)
    if training.late is not None:
        return {**results, "simulation": _late_simulation(training, sites, state, known)}
    trained_on = outcome.trained_on(target, known)
    optimum = model.fit(_ready(features, known), trained_on)
    simulation: dict[str, Any] = {
        "train_objective_federated": model.objective(
            state["parameters"], _ready(features, state), outcome.trained_on(target, state)
        ),
        "train_objective_pooled": model.objective(optimum, _ready(features, known), trained_on),
    }
    if training.bins is not None:
        test, truth = _together(sites, held_out=True)
        for which, parameters, scaler in [
            ("federated", state["parameters"], state),
            ("pooled", optimum, known),
        ]:
            truly = outcome.trained_on(truth, scaler)
            score = outcome.score(model, parameters, _ready(test, scaler), truly)
            simulation[f"test_{outcome.headline}_{which}"] = score
    return {**results, "simulation": simulation}


def _late_simulation(
    training: Training, sites: Mapping[str, Site], state: Arrays, scaler: Arrays
) -> dict[str, Any]:
    """The headline of late fusion, and of the same with every model fitted on the pooled rows."""
    if training.late is None or training.bins is None:
        return {}
    late, outcome = training.late, training.outcome
    test, truth = _together(sites, held_out=True)
    pooled = late.fit(*_together(sites, held_out=False), scaler)
    return {
        f"test_{outcome.headline}_{which}": outcome.score(
            late.combiner, known["parameters"], _ready(late.scores(test, bases_of(known)), known), truth
        )
        for which, known in [("federated", state), ("pooled", pooled)]
    }


def alone(training: Training, sites: Mapping[str, Site]) -> dict[str, float]:
    """For each site the headline, on all sites' held-out patients, of the model fitted on its rows only.

    NaN where a site's rows are none to fit by, such as one class only. A simulation's own: real hospitals
    publish no such table.
    """
    test, truth = _together(sites, held_out=True)
    outcome, scores = training.outcome, {}
    for name, site in sites.items():
        if outcome.doubt(site.target):
            scores[name] = float("nan")
            continue
        known = _own_scaler(training, site.features, site.target)
        trained_on = outcome.trained_on(site.target, known)
        parameters = training.model.fit(_ready(site.features, known), trained_on)
        truly = outcome.trained_on(truth, known)
        scores[name] = outcome.score(training.model, parameters, _ready(test, known), truly)
    return scores


def metrics(
    headline: str, repeats: Sequence[Mapping[str, Any]], *, sums: int, compared: int, equal: int
) -> dict[str, Any]:
    """The content of metrics.json without its heading; `headline` is the metric that gets an interval."""
    content: dict[str, Any] = {
        "secure_sums": {"made": sums, "repeats": [repeat["secure_sums"] for repeat in repeats]}
    }
    if scores := [
        repeat["secure_sums"]["test"][headline] for repeat in repeats if "test" in repeat["secure_sums"]
    ]:
        content["secure_sums"][f"test_{headline}"] = interval(scores)
    simulation: dict[str, Any] = {}
    if compared:
        simulation["compared_with_plain_sums"] = {"sums": compared, "equal_bit_for_bit": equal}
    pooled = [repeat["simulation"] for repeat in repeats if "simulation" in repeat]
    if pooled:
        simulation["repeats"] = pooled
        both = (f"test_{headline}_federated", f"test_{headline}_pooled")
        if both[1] in pooled[0]:
            federated, together = ([repeat[key] for repeat in pooled] for key in both)
            simulation |= dict(zip(both, (interval(federated), interval(together)), strict=True))
            simulation[f"test_{headline}_difference"] = interval(
                [one - other for one, other in zip(federated, together, strict=True)]
            )
    if simulation:
        content["simulation"] = {"note": POOLED_NOTE, **simulation}
    found: dict[str, Any] = without_nan(content)
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


def _by_subgroup(outcome: Outcome, subgroups: Subgroups, state: Arrays) -> list[dict[str, Any]]:
    """The metrics of every cell, or that it is withheld since too few patients, or sites, are in it.

    A cell that lost patients between the two sums is withheld too.
    """
    found: list[dict[str, Any]] = []
    for cell, (column, name) in enumerate(subgroups.names):
        entry: dict[str, Any] = {"column": column, "cell": name}
        tested = outcome.tested(own) if (own := cell_state(state, cell)) else {}
        if tested.get("patients", 0) >= subgroups.minimum:
            found.append({**entry, **tested})
        elif state["subgroup_sizes"][cell] > 0.0:
            needed = f"{subgroups.minimum} patients at {subgroups.least_sites} sites are needed"
            found.append({**entry, "withheld": f"too few patients or sites: {needed}"})
    return found


def _own_scaler(training: Training, features: Matrix, target: Vector) -> Arrays:
    """Mean and standard deviation of these rows, if the study standardises, and what the target needs."""
    known = training.outcome.own_scaler(target)
    if not training.standardise:
        return known
    # By its range: rounding gives a constant such as 0.1 a deviation of 1e-17.
    constant = np.nanmin(features, axis=0) == np.nanmax(features, axis=0)
    first = np.nanmin(features, axis=0)
    mean = np.where(constant, first, np.nanmean(features, axis=0))
    scale = np.where(constant, 1.0, np.nanstd(features, axis=0))
    return {**known, "mean": mean, "scale": scale, **({"fill": mean} if training.names else {})}


def _ready(features: Matrix, known: Arrays) -> Matrix:
    """As a model takes them: filled and standardised."""
    return standardised(filled(features, known), known)


def _together(sites: Mapping[str, Site], *, held_out: bool) -> tuple[Matrix, Vector]:
    rows = [
        (site.test_features, site.test_target) if held_out else (site.features, site.target)
        for _, site in sorted(sites.items())
    ]
    features = [part for part, _ in rows if part is not None]
    target = [part for _, part in rows if part is not None]
    return np.concatenate(features), np.concatenate(target)


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for a metric that is not defined."""
    match value:
        case dict():
            return {key: without_nan(part) for key, part in value.items()}
        case list():
            return [without_nan(part) for part in value]
        case float() if math.isnan(value):
            return None
        case _:
            return value
