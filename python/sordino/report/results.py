# SPDX-License-Identifier: Apache-2.0

"""The results of a run for a notebook: its report as data, its scores as a table, its figures on axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sordino.errors import ConfigError
from sordino.report.content import content
from sordino.report.history import STATES
from sordino.report.intervals import wilson

Part = TypeVar("Part")

FIRST, SECOND, RULE = "#1b5e8c", "#b3541e", "0.6"
"""Colours that differ in lightness too; `RULE` is of lines to compare with."""

MARKS = {
    "in": ("s", FIRST, "took part"),
    "rebuilt": ("D", SECOND, "vanished after its upload, rebuilt"),
    "late": ("x", SECOND, "missed the deadline"),
    "out": ("x", "0.1", "vanished before its upload"),
    "aborted": ("|", "0.5", "round lost, asked for again"),
}
"""Of a site in one sum, as in `STATES`: marker, colour, words; who was not asked has none."""


@dataclass(frozen=True, repr=False)
class Results:
    """What `sordino run --out DIR` left behind.

    report   everything that the page of `sordino report DIR` shows, as docs/report.md lists it

    The `draw_` methods take matplotlib axes (extra `figures`) and raise `ConfigError` where the run does not
    have what they draw. Figures of held-out patients are of the first split, whose model is kept.
    """

    report: Mapping[str, Any]

    def __repr__(self) -> str:
        return self.table()

    @property
    def test(self) -> Mapping[str, Any]:
        """The part `test` of the report; `ConfigError` where nobody was held out."""
        found: Mapping[str, Any] | None = self.report["test"]
        return self._part(found, "no test: nobody was held out")

    def scores(self) -> dict[str, Mapping[str, Any]]:
        """The metric of held-out patients: `mean` (None if undefined), of three splits or more `low`, `high`.

        From secure sums; and where the simulation compared them, of the federated model and of the same model
        fitted to the pooled rows, both on the pooled held-out rows, and their difference.
        """
        key = self.test["headline"]
        found = {"secure sums": self.test["over_splits"]}
        simulated = self.report["simulation"] or {}
        for which in ("federated", "pooled", "difference"):
            if f"test_{key}_{which}" in simulated:
                found[which] = simulated[f"test_{key}_{which}"]
        return found

    def table(self) -> str:
        """The scores for a reader."""
        title, splits = self.test["title"], len(self.test["splits"])
        lines = [f"{title + f', {splits} splits':24}{'mean':>8}  95 % interval"]
        for name, score in self.scores().items():
            if score["mean"] is None:
                lines.append(f"{name:24}{'-':>8}")
                continue
            between = f"  {score['low']:.3f} to {score['high']:.3f}" if "low" in score else ""
            lines.append(f"{name:24}{score['mean']:8.3f}{between}")
        return "\n".join(lines)

    def draw_roc(self, axes: Any) -> None:
        """The ROC curve through the edges of the bands of predicted probability."""
        points = self.roc()
        axes.plot([0.0, 1.0], [0.0, 1.0], color=RULE, linestyle="--", linewidth=1.0)
        axes.plot(points[:, 0], points[:, 1], color=FIRST, marker="o", markersize=3.0)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")

    def roc(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """False and true positive rate at the edges of the bands, from (0, 0) on, shape (bands + 1, 2)."""
        bands = self._figure("bands")[::-1]
        positives = np.array([band["positives"] for band in bands])
        negatives = np.array([band["patients"] for band in bands]) - positives
        rates = [np.cumsum(counts) / max(counts.sum(), 1e-9) for counts in (negatives, positives)]
        return np.vstack([[0.0, 0.0], np.clip(np.column_stack(rates), 0.0, 1.0)])

    def draw_calibration(self, axes: Any) -> None:
        """How often the positive class came true in each band, with 95 % intervals (Wilson 1927)."""
        axes.plot([0.0, 1.0], [0.0, 1.0], color=RULE, linestyle="--", linewidth=1.0)
        for band in self._figure("bands"):
            low, high = wilson(band["positives"], band["patients"])
            widened = 2.0 * band.get("noise_deviation", 0.0) / band["patients"]
            observed = min(max(band["positives"] / band["patients"], 0.0), 1.0)
            between = max(low - widened, 0.0), min(high + widened, 1.0)
            axes.plot([band["mean_predicted"]] * 2, between, color=FIRST, linewidth=1.0)
            axes.plot(band["mean_predicted"], observed, color=FIRST, marker="o", markersize=4.0)
        axes.set(xlabel="mean predicted probability", ylabel="observed part", aspect="equal")
        axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))

    def draw_survival(self, axes: Any) -> None:
        """Life-table curves of the halves of lower and higher predicted risk, with 95 % bands."""
        for curve, colour, style in zip(self._figure("curves"), (FIRST, SECOND), ("-", "--"), strict=False):
            times = [0.0, *curve["times"]]
            steps = {key: [1.0, *curve[key]] for key in ("survival", "low", "high")}
            label = f"{curve['group']}: {curve['patients']} patients, {curve['events']} events"
            axes.fill_between(times, steps["low"], steps["high"], step="post", color=colour, alpha=0.15)
            axes.step(times, steps["survival"], where="post", color=colour, linestyle=style, label=label)
        axes.set(xlabel="time", ylabel="part without the event", ylim=(0.0, 1.02))
        axes.legend(frameon=False)

    def draw_rounds(self, axes: Any, *, split: int = 1) -> None:
        """Who was in which sum of one split: a row for each site, a mark for each sum and aborted round."""
        rounds = [one for one in self.report["history"]["rounds"] if one["repeat"] == split]
        self._part(rounds, f"no sum of a split {split}")
        sites = list(self.report["history"]["sites"])
        for state in STATES:
            places = [
                (at, row)
                for at, one in enumerate(rounds, start=1)
                for row, name in enumerate(sites)
                if state_of(one, name) == state
            ]
            if places and state in MARKS:
                marker, colour, words = MARKS[state]
                x, y = zip(*places, strict=True)
                axes.plot(x, y, marker, color=colour, markersize=4.0, label=words)
        axes.set_yticks(range(len(sites)), sites)
        axes.set(xlabel="sum", ylim=(len(sites) - 0.5, -0.5))
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    def draw_spending(self, axes: Any) -> None:
        """Epsilon after each sum, under the budget."""
        found: Mapping[str, Any] | None = self.report["privacy"]
        privacy = self._part(found, "no epsilon: its sums had no noise")
        spent = [0.0, *privacy["epsilon_after_sum"]]
        axes.axhline(privacy["epsilon_allowed"], color=RULE, linestyle="--", linewidth=1.0)
        axes.step(range(len(spent)), spent, where="post", color=FIRST)
        axes.set(xlabel="secure sums made", ylabel="epsilon spent", ylim=(0.0, None))

    def _figure(self, name: str) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.test["figures"].get(name, ())
        return self._part(found, f"no {name} that may be drawn")

    def _part(self, found: Part | None, lacking: str) -> Part:
        if not found:
            raise ConfigError(f"the run of {self.report['study']!r} has {lacking}")
        return found


def state_of(one: Mapping[str, Any], name: str) -> str:
    """What became of a site in one sum or aborted round of `history`: a key of `STATES`."""
    if one["event"] == "aborted":
        return "out" if name in one["lost"] else "aborted"
    return "idle" if name in one["not_asked"] else str(one["lost"].get(name, "in"))


def read_results(path: Path | str, *, site: str | None = None) -> Results:
    """The results of the run in the folder `path`, finished or not.

    site   for that site's own figures besides, in the part `own` of the report

    Raises `ConfigError` if there is nothing of a run.
    """
    return Results(content(Path(path), site))
