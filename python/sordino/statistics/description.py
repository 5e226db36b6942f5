# SPDX-License-Identifier: Apache-2.0

"""What was told of the features of all sites together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from msgspec.structs import asdict

from sordino.aggregation.base import Aggregate
from sordino.course.arrays import Arrays
from sordino.models.model import Matrix, Vector
from sordino.privacy.accountant import Guarantee
from sordino.statistics.correlation import as_matrix
from sordino.statistics.histogram import Histogram, Quantile, noised_quantile, outer_bounds
from sordino.statistics.survey import Survey

_NUMBERS = ("holders", "count", "missing", "mean", "variance", "low", "high")
"""Of each feature."""


@dataclass(frozen=True, eq=False, repr=False)
class Description:
    """What was told of the features, the small-count rule applied; NaN where nothing may be told.

    Arrays are float64, one number for each of `columns`.

    sites         whose patients these are
    patients      how many they are
    min_patients  k of the small-count rule: no cell is about fewer patients, nor any number of a feature
    holders       sites that have a value of the feature
    count         present values; NaN too where 1 to k - 1 are missing, as the difference would tell
    missing       missing values, likewise
    mean          of present values
    variance      of present values, over n - 1
    low, high     fewer than k patients lie below `low`, fewer than k at `high` or above; None without a grid
    quantiles     by part: one `Quantile` for each feature, with the bounds of its error
    histograms    one for each feature, neighbouring bins merged until k patients are in each; counts are
                  rounded to multiples of k where `count` is not told, as their sum would tell it
    correlation   (columns, columns), each pair over the patients who have both values
    pairs         (columns, columns): how many these are, rounded to multiples of k
    withheld      feature -> why nothing is told of it
    deviations    of a private description: standard deviation of the noise on each number, by name:
                  `patients`, `count`, `missing`, `mean`, `variance`, `bins` (one for all), `correlation`
                  (row by row)
    privacy       what it cost, from the sites' journals; None without noise
    sums          every sum that was made, by its kind, and `state` what the stages made of them: what the
                  coordinator saw, without the small-count rule
    """

    columns: tuple[str, ...]
    sites: tuple[str, ...]
    patients: float
    min_patients: int
    holders: Vector
    count: Vector
    missing: Vector
    mean: Vector
    variance: Vector
    low: Vector | None = None
    high: Vector | None = None
    quantiles: Mapping[float, tuple[Quantile, ...]] = field(default_factory=dict)
    histograms: tuple[Histogram, ...] | None = None
    correlation: Matrix | None = None
    pairs: Matrix | None = None
    withheld: Mapping[str, str] = field(default_factory=dict)
    deviations: Mapping[str, Vector] = field(default_factory=dict)
    privacy: Guarantee | None = None
    sums: Mapping[str, Aggregate] = field(default_factory=dict)
    state: Arrays = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.table()

    def table(self) -> str:
        """A line for each feature: count, missing, mean, standard deviation, quantiles, low and high."""
        heads = ["feature", "count", "missing", "mean", "sd"]
        heads += [f"{100 * part:g}%" for part in self.quantiles]
        heads += ["low", "high"] if self.low is not None else []
        lines = [heads]
        deviation = np.sqrt(self.variance)
        for place, name in enumerate(self.columns):
            numbers = [self.mean[place], deviation[place]]
            numbers += [each[place].value for each in self.quantiles.values()]
            if self.low is not None and self.high is not None:
                numbers += [self.low[place], self.high[place]]
            counts = [_number(value, ",.0f") for value in (self.count[place], self.missing[place])]
            lines.append([name, *counts, *(_number(value, ".4g") for value in numbers)])
        widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
        told = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        notes = [f"{name}: {why}" for name, why in self.withheld.items()]
        heading = f"{self.patients:,.0f} patients of {len(self.sites)} sites: {', '.join(self.sites)}"
        return "\n".join([heading, *told, *notes])

    def summary(self) -> dict[str, Any]:
        """Everything that was told, as JSON may hold it: None for what is not known or not finite."""
        features = []
        numbers = {name: getattr(self, name) for name in _NUMBERS if getattr(self, name) is not None}
        for place, name in enumerate(self.columns):
            one: dict[str, Any] = {"name": name}
            one |= {key: values[place] for key, values in numbers.items()}
            one["quantiles"] = [
                {"part": part, **each[place]._asdict()} for part, each in self.quantiles.items()
            ]
            if self.histograms is not None:
                histogram = self.histograms[place]
                one["histogram"] = {"edges": histogram.edges, "counts": histogram.counts}
            features.append(one)
        told = {
            "sites": self.sites,
            "patients": self.patients,
            "min_patients": self.min_patients,
            "features": features,
            "correlation": self.correlation,
            "pairs": self.pairs,
            "withheld": self.withheld,
            "deviations": self.deviations,
            "privacy": None if self.privacy is None else asdict(self.privacy),
        }
        plain: dict[str, Any] = _plain(told)
        return plain


def told(
    survey: Survey,
    state: Arrays,
    sums: Mapping[str, Aggregate],
    columns: tuple[str, ...],
    parts: Sequence[float],
    min_patients: int,
) -> Description:
    """What may be told of a description's last state; see `Description`."""
    k, patients = min_patients, float(state["patients"][0])
    count, missing = state["count"], patients - state["count"]
    enough = count >= k
    # Where few sites have none of it, what is missing is what patients they have.
    lacking = len(sums["description"].survivors) - state["holders"]
    shown = enough & ((missing == 0.0) | (missing >= k))
    shown &= (lacking == 0.0) | (lacking >= survey.least_sites)
    withheld = {
        name: _why(survey, state, place, k) for place, name in enumerate(columns) if not enough[place]
    }
    description = Description(
        columns=columns,
        sites=sums["description"].survivors,
        patients=patients if patients >= k else np.nan,
        min_patients=k,
        holders=np.where(state["held"] >= survey.least_sites, state["holders"], state["held"]),
        count=np.where(shown, count, np.nan),
        missing=np.where(shown, missing, np.nan),
        mean=np.where(enough, state["mean"], np.nan),
        variance=np.where(enough, state["variance"], np.nan),
        withheld=withheld,
        sums=sums,
        state=state,
    )
    if survey.histograms is not None:
        nobody = Histogram(np.array([-np.inf, np.inf]), np.array([np.nan]))
        bins = survey.histograms.of_features(state)
        exact = [
            Histogram.of_bins(*one, k) if tells else nobody for one, tells in zip(bins, enough, strict=True)
        ]
        bounds = [
            outer_bounds(*one, k) if tells else (np.nan, np.nan)
            for one, tells in zip(bins, enough, strict=True)
        ]
        low, high = np.array(bounds).T
        description = replace(
            description,
            histograms=tuple(
                each if tells else each.rounded(k) for each, tells in zip(exact, shown, strict=True)
            ),
            quantiles={part: tuple(each.quantile(part) for each in exact) for part in parts},
            low=low,
            high=high,
        )
    if "correlation" in state:
        pairs, correlation = as_matrix(state["pairs"]), as_matrix(state["correlation"])
        many = pairs >= k
        one = np.diag(np.where(enough & (state["variance"] > 0.0), 1.0, np.nan))
        own = np.eye(len(columns), dtype=np.bool_)
        description = replace(
            description,
            correlation=np.where(own, one, np.where(many, correlation, np.nan)),
            pairs=np.where(own, np.diag(description.count), np.where(many, k * np.rint(pairs / k), np.nan)),
        )
    return description


def _why(survey: Survey, state: Arrays, place: int, min_patients: int) -> str:
    least = survey.least_sites
    held = float(state["held"][place])
    if held >= least:  # it was asked for, and sites may have been lost since
        held = float(state["holders"][place])
    if held < least:
        return f"{held:g} of the sites have it, at least {least} must"
    return f"fewer than {min_patients} patients have it"


def noised(
    survey: Survey,
    state: Arrays,
    sums: Mapping[str, Aggregate],
    columns: tuple[str, ...],
    parts: Sequence[float],
    privacy: Guarantee | None,
) -> Description:
    """What a private description told: noise stands for the small-count rule, and may drown a feature."""
    count = state["count"]
    enough = (count >= 2.0) & (count > 4.0 * state["count_deviation"])
    names = ("patients", "count", "missing", "mean", "variance", "bins", "correlation")
    description = Description(
        columns=columns,
        sites=sums["description"].survivors,
        patients=float(state["patients"][0]),
        min_patients=1,
        holders=np.full(len(columns), np.nan),
        count=count,
        missing=state["patients"][0] - count,
        mean=np.where(enough, state["mean"], np.nan),
        variance=np.where(enough, state["variance"], np.nan),
        withheld={name: "noise drowns it" for name, tells in zip(columns, enough, strict=True) if not tells},
        deviations={name: state[f"{name}_deviation"] for name in names if f"{name}_deviation" in state},
        privacy=privacy,
        sums=sums,
        state=state,
    )
    if survey.histograms is not None:
        bins, sigma = survey.histograms.of_features(state), float(state["bins_deviation"][0])
        quantiles = {part: tuple(noised_quantile(*one, part, sigma) for one in bins) for part in parts}
        description = replace(
            description,
            histograms=tuple(Histogram.of_bins(*one, 1) for one in bins),
            quantiles=quantiles,
        )
    if "correlation" in state:
        own = np.eye(len(columns), dtype=np.bool_)
        description = replace(
            description,
            correlation=np.where(own, 1.0, as_matrix(state["correlation"])),
            pairs=np.where(own, np.diag(count), as_matrix(state["pairs"])),
        )
    return description


def _plain(value: Any) -> Any:
    """The same of what JSON knows."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _number(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)
