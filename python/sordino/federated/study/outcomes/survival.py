# SPDX-License-Identifier: Apache-2.0

"""Survival: a column of times, and one that says whether the time ended in the event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument
from sordino.federated.site import Site
from sordino.federated.study.outcomes.classes import label_of
from sordino.federated.study.outcomes.outcome import Metrics, Unscaled
from sordino.federated.study.table import SHOWN, Table
from sordino.federated.survival import SurvivalEvaluation, curves_by_risk, time_grid
from sordino.models.model import Matrix, Model, Vector
from sordino.survival.concordance import c_index, c_index_deviation, harrell
from sordino.survival.grid import TAIL, checked_cuts

if TYPE_CHECKING:
    from sordino.federated.study.file import Data


@dataclass(frozen=True)
class Survival(Unscaled):
    """Columns `data.time` and `data.event`, the latter with the labels `data.classes`: censored, event.

    grid    a number of intervals, or the cuts; None stands for all event times until they are seen
    least   patients who leave at each cut at least
    covariates   whether risk sets are summed, see `Leaving`
    """

    grid: int | tuple[float, ...] | None
    least: int
    covariates: bool = False

    headline: ClassVar[str] = "c_index"
    title: ClassVar[str] = "C-index"

    @property
    def most(self) -> int:
        """The most cuts that the grid has."""
        if self.grid is None:
            return 1
        return self.grid + TAIL if isinstance(self.grid, int) else len(self.grid)

    def keys(self, data: Data) -> Mapping[str, str]:
        """See `Outcome`."""
        given = {"data.time": data.time, "data.event": data.event}
        return {key: column for key, column in given.items() if column}

    def faults(self, data: Data) -> list[str]:
        """See `Outcome`."""
        faults = [
            f"the key {key!r} is missing: a column name"
            for key, column in (("data.time", data.time), ("data.event", data.event))
            if not column
        ]
        if self.grid is None and self.least > 1:
            faults.append(
                "'model.grid' = \"exact\" shows the covariates of single patients, by the difference of "
                "neighbouring risk sets: take a number of intervals, or set 'model.discloses_patients' = true"
            )
        if isinstance(self.grid, tuple):
            try:
                checked_cuts(self.grid)
            except InvalidArgument as error:
                faults.append(f"'model.grid': {error}")
        if data.target:
            faults.append("'data.target' goes with other models, here it is 'data.time' and 'data.event'")
        censored, event = data.classes
        if label_of(str(censored)) == label_of(str(event)):
            faults.append(f"'data.classes' names one label twice: {censored!r} and {event!r}")
        return faults

    def read(self, data: Data, table: Table, faults: list[str]) -> Vector:
        """See `Outcome`; shape (patients, 2): times, and 1.0 for an event."""
        found: list[str] = []
        time = table.numbers([data.time], found)[:, 0]
        if not found:
            found = [
                f"{table.path}: line {table.lines[at]}, column {data.time!r}: the time {time[at]:g} is not "
                "above zero; leave out patients that were not followed"
                for at in np.flatnonzero(time <= 0.0)[:SHOWN]
            ]
        coding = {label_of(str(label)): float(place) for place, label in enumerate(data.classes)}
        cells = table.column(data.event)
        found += [
            f"{table.path}: line {table.lines[at]}, column {data.event!r}: {cell!r} is neither "
            f"{data.classes[0]!r} (censored) nor {data.classes[1]!r} (event), the 'data.classes'"
            for at, cell in [(at, cell) for at, cell in enumerate(cells) if label_of(cell) not in coding][
                :SHOWN
            ]
        ]
        faults += found
        return np.column_stack([time, [coding.get(label_of(cell), 0.0) for cell in cells]])

    def overall_faults(self, data: Data, target: Vector) -> list[str]:
        """See `Outcome`."""
        return [] if target[:, 1].any() else [f"no patient has the event: {data.event!r} has none"]

    def doubt(self, target: Vector) -> str | None:
        """See `Outcome`."""
        return None if target[:, 1].any() else "has no patient with the event"

    def strata(self, target: Vector) -> Vector:
        """Those with the event, and the others."""
        events: Vector = target[:, 1]
        return events

    def coding(self, data: Data) -> tuple[object, ...]:
        """The columns, and the labels of censored and event."""
        return "survival", data.time, data.event, tuple(str(label) for label in data.classes)

    def seen(self, target: Vector) -> Survival:
        """With an exact grid: all event times, which the sites announce."""
        if self.grid is not None or not target[:, 1].any():
            return self
        times = np.unique(target[target[:, 1] == 1.0, 0])
        return replace(self, grid=tuple(times.tolist()))

    def initial(self) -> Arrays:
        """The candidates for cuts, where the study says them."""
        return {"candidates": np.array(self.grid)} if isinstance(self.grid, tuple) else {}

    def scaling(self, *, sites: int, max_patients: int) -> tuple[Stage[Site], ...]:
        """The sums that settle the time grid."""
        grid = 1 if self.grid is None else self.grid
        return time_grid(
            grid,
            least=self.least,
            tail=TAIL,
            sites=sites,
            max_patients=max_patients,
            covariates=self.covariates,
        )

    def evaluation(self, model: Model, *, bins: int, sites: int, max_patients: int) -> Stage[Site]:
        """Counts by predicted risk, time and event."""
        del sites
        return SurvivalEvaluation(model, bins, self.most, max_patients)

    def tested(self, state: Arrays) -> Metrics:
        """Harrell's C-index, and what it would be with risks and times as fine as they are."""
        scored = state["scored"].reshape(2, self.most + 1, -1)
        found = c_index(scored)
        return {
            "patients": round(float(scored.sum())),
            "events": round(float(scored[0].sum())),
            "c_index": found.value,
            "c_index_low": found.low,
            "c_index_high": found.high,
            "c_index_deviation": c_index_deviation(scored),
        }

    def figures(self, state: Arrays, *, least: int) -> Metrics:
        """See `Outcome`: survival curves of the halves of lower and of higher predicted risk."""
        scored = state["scored"].reshape(2, self.most + 1, -1)
        return curves_by_risk(scored, state["cuts"], least=least)

    def score(self, model: Model, parameters: Vector, features: Matrix, target: Vector) -> float:
        """Harrell's C-index."""
        return harrell(target[:, 0], target[:, 1] == 1.0, model.decision(parameters, features))
