# SPDX-License-Identifier: Apache-2.0

"""The demo's survival study: Cox's model over the 18 institutions of lifelines' lung-cancer patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from math import floor, log10
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sordino.aggregation.base import Step
from sordino.cli.watched_sums import WatchedSums
from sordino.errors import StateError
from sordino.models.cox import last_at_risk
from sordino.models.model import Matrix, Vector
from sordino.survival.cox import CoxFit, cox_regression
from sordino.survival.curves import SurvivalCurves, survival_curves
from sordino.survival.performance import performance
from sordino.survival.rows import Flags, SurvivalRows

COLUMNS = ("10 years older", "a woman", "1 ECOG grade up")
SEXES = ("men", "women")

DOWN: Mapping[str, Step] = {"inst-02": "upload"}
"""Not there when the first sum is made, so in none of the others."""

LOSSES: Mapping[tuple[str, int], Mapping[str, Step]] = {
    ("event_quantiles", 1): DOWN,
    ("risk_sets", 1): {"inst-12": "unmask"},
    ("risk_sets", 2): {"inst-13": "upload"},
    ("risk_sets", 3): {"inst-01": "confirm", "inst-22": "confirm"},
}

LEARNT = {
    "event_quantiles": "about when patients die",
    "leaving": "who died and who was last seen, by time",
    "units": "the order of magnitude of each feature",
    "means": "the mean of each feature",
    "variances": "the spread of each feature",
    "risk_sets": "weighted sums of features, by time",
    "concordance": "patients by predicted risk, time, death",
    "brier": "how far predictions are off, by time",
}

SCORE_BINS = 16
"""Few, since a cell of risk, time and death may hold one patient."""


class Patients(NamedTuple):
    """Rows of all institutions, which only a simulation has together."""

    features: Matrix
    time: Vector
    event: Flags
    where: NDArray[Any]

    def only(self, sites: tuple[str, ...]) -> Patients:
        """Those of these sites."""
        kept = np.isin(self.where, sites)
        return Patients(self.features[kept], self.time[kept], self.event[kept], self.where[kept])

    def at_sites(self) -> dict[str, SurvivalRows]:
        """The rows of each institution."""
        names = np.unique(self.where).tolist()
        return {name: SurvivalRows(name, *self.only((name,))[:3], COLUMNS) for name in names}


def demo_survival(folder: Path) -> None:
    """Show it, and keep what it found in `survival.json`; says what to install where that is missing."""
    if missing := [name for name in ("lifelines", "statsmodels") if find_spec(name) is None]:
        typer.echo(
            f"\nA survival study on real institutions needs {' and '.join(missing)}: "
            "pip install 'sordino[demo]'"
        )
        return
    console = Console(soft_wrap=True, highlight=False)
    patients = lung()
    sites, sizes = patients.at_sites(), np.unique(patients.where, return_counts=True)[1]
    console.print(
        f"\n{len(patients.time)} patients with lung cancer at {len(sites)} real institutions, "
        f"{min(sizes)} to {max(sizes)} each\n(North Central Cancer Treatment Group, Loprinzi et al. 1994).\n"
        "What changes the risk of dying? Cox's model compares each death with everybody still followed\n"
        "then, wherever they are: sums over all institutions, at public times between which ten or more\n"
        "patients leave. No row leaves its institution, nor does any institution's own sum.\n"
    )
    watched = WatchedSums(lambda line: typer.echo(line, err=True))
    fit = cox_regression(sites, aggregator=watched.aggregator, lose=_losing(LOSSES))
    cuts = fit.cuts.tolist()
    later = _losing({("leaving", 1): DOWN})
    by_sex = {name: replace(rows, group=rows.features[:, 1].astype(np.intp)) for name, rows in sites.items()}
    curves = survival_curves(
        by_sex, groups=SEXES, grid=cuts, least_patients=3, aggregator=watched.aggregator, lose=later
    )
    found = performance(
        fit, sites, grid=cuts, score_bins=SCORE_BINS, aggregator=watched.aggregator, lose=later
    )
    there = patients.only(fit.survivors)
    on_grid, exact = _pooled(there, fit.cuts), _pooled(there, None)
    _print_coefficients(console, fit, on_grid, exact)
    _print_curves(console, curves)
    index = found.c_index
    console.print(
        f"C-index {index.value:.3f}: of two patients, how often the one with the higher predicted risk died "
        "first; 0.5 is a\ncoin. It is from counts in "
        f"{SCORE_BINS} bins of risk; without bins it is between {index.low:.3f} and {index.high:.3f}.\n"
        "These are the patients of the fit: expect less for new ones.\n"
    )
    _print_sums(console, watched)
    kept = {
        "survivors": fit.survivors,
        "patients": fit.patients,
        "features": COLUMNS,
        "coefficients": fit.coefficients.tolist(),
        "standard_errors": fit.standard_errors.tolist(),
        "coefficients_pooled_same_times": on_grid.tolist(),
        "coefficients_pooled_exact_times": exact.tolist(),
        "times": cuts,
        "survival": dict(zip(SEXES, curves.survival().tolist(), strict=True)),
        "log_rank_p": curves.log_rank()[1],
        "c_index": index._asdict(),
        "sums": dict(watched.times),
        "sums_equal": watched.equal,
    }
    (folder / "survival.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    if watched.equal != watched.sums:
        raise StateError(f"{watched.sums - watched.equal} secure sums differ from the plain ones")


def lung() -> Patients:
    """The patients of lifelines' `load_lung` whose institution, sex, age and ECOG grade are known."""
    from lifelines.datasets import load_lung

    table = load_lung()[["inst", "time", "status", "age", "sex", "ph.ecog"]].dropna()
    inst, time, status, age, sex, grade = table.to_numpy(dtype=np.float64).T
    features = np.column_stack([age / 10.0, sex == 2.0, grade])
    return Patients(features, time, status == 1.0, np.array([f"inst-{number:02.0f}" for number in inst]))


def _losing(
    losses: Mapping[tuple[str, int], Mapping[str, Step]],
) -> Callable[[str, int], Mapping[str, Step]]:
    return lambda kind, number: losses.get((kind, number), {})


def _pooled(patients: Patients, cuts: Vector | None) -> Vector:
    """The coefficients that statsmodels finds for the rows in one place, with times moved to `cuts`."""
    from statsmodels.duration.hazard_regression import PHReg

    features, time, event = patients.features, patients.time, patients.event
    if cuts is not None:
        slots, event = last_at_risk(time, event, cuts)
        time, there = cuts[slots], slots >= 0
        features, time, event = features[there], time[there], event[there]
    fitted = PHReg(time, features, status=event, ties="breslow").fit(tol=1e-12)
    return np.asarray(fitted.params)


def _print_coefficients(console: Console, fit: CoxFit, on_grid: Vector, exact: Vector) -> None:
    table = Table(title="How many times the risk of dying has a patient who is otherwise alike, but is")
    table.add_column("")
    for heading in ("times", "95 % interval", "log", "pooled", "exact times"):
        table.add_column(heading, justify="right")
    for name, b, (low, high), same, finest in zip(
        fit.columns, fit.coefficients, np.exp(fit.confidence_intervals()), on_grid, exact, strict=True
    ):
        interval = f"{low:.2f} to {high:.2f}"
        table.add_row(name, f"{np.exp(b):.2f}", interval, f"{b:.4f}", f"{same:.4f}", f"{finest:.4f}")
    console.print(table)
    off = float(np.max(np.abs(fit.coefficients / on_grid - 1.0)))
    lost = float(np.max(np.abs(fit.coefficients - exact) / fit.standard_errors))
    console.print(
        "log: Cox's coefficient, by secure sums; pooled: by statsmodels, all rows in one place and the same\n"
        f"times. {floor(-log10(max(off, 1e-16)))} digits are the same. That there are {len(fit.cuts)} public "
        "times instead of every patient's own moves\n"
        f"no coefficient by more than {lost:.2f} of its standard error.\n"
    )


def _print_curves(console: Console, curves: SurvivalCurves) -> None:
    console.print("Part of the patients alive, by sex (Kaplan-Meier; m men, w women, * both)")
    for line in _plot(curves.cuts, curves.survival()):
        console.print(line, markup=False)
    men, women = curves.median()
    console.print(
        f"By day {men:.0f} half of the men had died, by day {women:.0f} half of the women. Were there no "
        f"difference,\none as large would be seen with probability {curves.log_rank()[1]:.4f} "
        "(log-rank test).\n"
    )


def _plot(cuts: Vector, survival: Matrix, *, columns: int = 72, rows: int = 10) -> list[str]:
    """Two curves in letters: a row for each tenth, days from left to right."""
    days = np.linspace(0.0, cuts[-1], columns)
    steps = np.column_stack([np.ones(2), survival])[:, np.searchsorted(cuts, days, side="right")]
    heights = np.round(steps * rows).astype(int)
    lines = []
    for height in range(rows, -1, -1):
        men, women = heights == height
        drawn = np.select([men & women, men, women], ["*", "m", "w"], " ")
        lines.append(f"{100 * height // rows:4d} % |{''.join(drawn)}".rstrip())
    lines.append(f"       +{'-' * columns}")
    return [*lines, f"        0{f'{cuts[-1]:.0f} days':>{columns - 1}}"]


def _print_sums(console: Console, watched: WatchedSums) -> None:
    table = Table(title="What everybody learnt, the coordinator included: these sums and nothing else")
    table.add_column("sum")
    table.add_column("times", justify="right")
    table.add_column("numbers", justify="right")
    table.add_column("what they say of all patients together")
    for kind, times in watched.times.items():
        table.add_row(kind, str(times), f"{watched.numbers[kind]:,}", LEARNT[kind])
    console.print(table)
    sent = sum(watched.sent.values()) / len(watched.sent) / 1000
    console.print(
        f"{watched.sums} secure sums, {watched.equal} of them equal to the plain ones, bit for bit; each "
        f"institution sent {sent:.0f} kB.\n"
        f"Each is over at least {watched.least} institutions. What one put in, how many patients and deaths "
        "it has\nincluded, nobody saw; one patient is enough to take part. "
        f"{', '.join(DOWN)} was down at the first sum,\nso it is in none: two sums that differ by one "
        "institution would tell what it sent. Such sums\nstill speak of patients; docs/survival.md says what "
        "they could tell."
    )
