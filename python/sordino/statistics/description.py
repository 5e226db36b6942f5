"""`describe`: what the features of all sites together look like, by secure sums."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from sordino.aggregation.base import Aggregate, Aggregator, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.arrays import Arrays
from sordino.course.follow import Event, Summed, follow
from sordino.course.rows import Rows
from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import AcrossRounds
from sordino.statistics.correlation import as_matrix
from sordino.statistics.histogram import Grid, Histogram, Quantile, grid_edges, outer_bounds
from sordino.statistics.survey import MAX_LANES, Survey

QUARTILES = (0.25, 0.5, 0.75)
MIN_PATIENTS = 5

SiteData: TypeAlias = Any
"""A site's rows: anything with `features` and `columns`, a pair (matrix, columns), or a pandas DataFrame."""

Losses: TypeAlias = Mapping[str, Mapping[str, Step]]
"""Simulated losses: kind of sum -> site -> the first message that it no longer sends."""


@dataclass(frozen=True, repr=False)
class FeatureRows:
    """One site's patients, a row of features each, NaN where a value is missing."""

    name: str
    features: Matrix
    columns: tuple[str, ...]

    def __repr__(self) -> str:
        return f"FeatureRows({self.name!r})"


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
    histograms    one for each feature, neighbouring bins merged until k patients are in each
    correlation   (columns, columns), each pair over the patients who have both values
    pairs         (columns, columns): how many these are
    withheld      feature -> why nothing is told of it
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
            counts = [self._counted(value) for value in (self.count[place], self.missing[place])]
            lines.append([name, *counts, *(_number(value) for value in numbers)])
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

    def _counted(self, value: float) -> str:
        return "-" if np.isnan(value) else f"{value:,.0f}"


def describe(
    sites: Mapping[str, SiteData],
    *,
    aggregator: Literal["masked", "plain"] | Aggregator = "masked",
    quantiles: Iterable[float] = QUARTILES,
    grid: Grid | None = 64,
    correlation: bool = False,
    min_patients: int = MIN_PATIENTS,
    max_patients: int | None = None,
    max_lanes: int = MAX_LANES,
    across_rounds: AcrossRounds = "freeze",
    lose: Losses | None = None,
) -> Description:
    """Describe the features of all sites by four secure sums, in this process.

    sites          by name, three at least. A site that lacks a column has no value of it; columns come in the
                   order in which the sites, sorted, have them
    aggregator     "masked", "plain" for sums in the clear, for comparison, or one whose policy plans
                   `Survey(...).questions()`
    quantiles      parts, from 0 to 1; they need a grid
    grid           edges of the histograms' bins, for all features or by name; a number of bins around the
                   public centre; or None for no histograms, quantiles and bounds
    correlation    whether every pair of features is correlated, 3 columns^2 numbers
    min_patients   k: neighbouring bins with fewer are merged, features with fewer withheld
    max_patients   public bound on the patients of a site; None for the next power of two above the largest
    max_lanes      the most numbers that one sum may hold
    across_rounds  "freeze": all sums over the same survivors; "accept": each over its own, see
                   docs/statistics.md
    lose           simulated losses, by kind of sum: "presence", "exponents", "centres", "description"

    Raises `InvalidArgument` (a ValueError) for what cannot be described, `PolicyError` for sums that are too
    large, before anything is sent, and `RoundAborted` where too few sites survive.
    """
    rows = _rows(sites)
    columns = next(iter(rows.values())).columns
    parts = tuple(float(part) for part in quantiles) if grid is not None else ()
    if wrong := [part for part in parts if not 0.0 <= part <= 1.0]:
        raise InvalidArgument(f"quantiles must be from 0 to 1, got {wrong[0]}")
    if min_patients < 1:
        raise InvalidArgument(f"min_patients must be 1 at least, got {min_patients}")
    largest = max(len(one.features) for one in rows.values())
    if max_patients is not None and largest > max_patients:
        raise InvalidArgument(f"a site has {largest} patients, max_patients allows {max_patients}")
    survey = Survey(
        columns=len(columns),
        sites=len(rows),
        max_patients=1 << (largest - 1).bit_length() if max_patients is None else max_patients,
        edges=None if grid is None else grid_edges(grid, columns),
        correlation=correlation,
        max_lanes=max_lanes,
    )
    if isinstance(aggregator, Aggregator):
        return _described(survey, aggregator, rows, parts, min_patients, lose)
    with _aggregator(aggregator, survey, across_rounds, tuple(rows)) as sums:
        return _described(survey, sums, rows, parts, min_patients, lose)


def _described(
    survey: Survey,
    aggregator: Aggregator,
    rows: Mapping[str, Rows],
    parts: Sequence[float],
    min_patients: int,
    lose: Losses | None,
) -> Description:
    survey = replace(survey, least_sites=aggregator.policy.min_cohort)
    _check_losses(survey, lose or {})
    sums: dict[str, Aggregate] = {}

    def note(event: Event) -> None:
        if isinstance(event, Summed):
            sums[event.turn.stage.kind] = event.total

    def losses(kind: str, _number: int) -> Mapping[str, Step]:
        return (lose or {}).get(kind, {})

    state = follow(survey.turns(), aggregator, rows, {}, lose=losses, keep=False, notify=note)
    return told(survey, state, sums, next(iter(rows.values())).columns, parts, min_patients)


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
    shown = enough & ((missing == 0.0) | (missing >= k))
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
        histograms = tuple(
            Histogram.of_bins(*one, k) if tells else nobody for one, tells in zip(bins, enough, strict=True)
        )
        bounds = [
            outer_bounds(*one, k) if tells else (np.nan, np.nan)
            for one, tells in zip(bins, enough, strict=True)
        ]
        low, high = np.array(bounds).T
        description = replace(
            description,
            histograms=histograms,
            quantiles={part: tuple(each.quantile(part) for each in histograms) for part in parts},
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
            pairs=np.where(own, np.diag(description.count), np.where(many, pairs, np.nan)),
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


def _aggregator(
    kind: str, survey: Survey, across_rounds: AcrossRounds, names: tuple[str, ...]
) -> MaskedAggregator | PlainAggregator:
    policy = survey.policy(across_rounds=across_rounds)
    if kind == "masked":
        return MaskedAggregator(policy, names)
    if kind == "plain":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlainSumWarning)  # it was asked for by name
            return PlainAggregator(policy, names)
    raise InvalidArgument(f'aggregator must be "masked", "plain" or an Aggregator, got {kind!r}')


def _check_losses(survey: Survey, lose: Losses) -> None:
    kinds = [stage.kind for stage in survey.stages()]
    if unknown := sorted(set(lose) - set(kinds)):
        raise InvalidArgument(f"lose names the sum {unknown[0]!r}, the sums are {kinds}")


def _rows(sites: Mapping[str, SiteData]) -> dict[str, Rows]:
    """Every site's rows, all with the same columns."""
    if len(sites) < 3:
        raise InvalidArgument(f"a secure sum needs three sites or more, got {len(sites)}")
    given = {name: _site(name, sites[name]) for name in sorted(sites)}
    columns = tuple(dict.fromkeys(column for one in given.values() for column in one.columns))
    return {name: _widened(one, columns) for name, one in given.items()}


def _site(name: str, data: SiteData) -> FeatureRows:
    if hasattr(data, "to_numpy"):
        matrix, columns = data, tuple(str(column) for column in data.columns)
    elif isinstance(data, tuple) and len(data) == 2:
        matrix, columns = data[0], tuple(str(column) for column in data[1])
    elif hasattr(data, "features") and hasattr(data, "columns"):
        matrix, columns = data.features, tuple(data.columns)
    else:
        raise InvalidArgument(f"site {name!r} must be rows, a pair (matrix, columns) or a DataFrame")
    features = _numbers(name, matrix, columns)
    if features.ndim != 2 or features.shape[1] != len(columns):
        raise InvalidArgument(
            f"site {name!r} has {len(columns)} columns and features of shape {features.shape}"
        )
    if len(set(columns)) < len(columns) or not columns:
        raise InvalidArgument(f"site {name!r}: columns must be distinct names, one at least")
    if not len(features):
        raise InvalidArgument(f"site {name!r} has no patients")
    return FeatureRows(name, features, columns)


def _numbers(name: str, matrix: Any, columns: tuple[str, ...]) -> Matrix:
    try:
        if hasattr(matrix, "to_numpy"):
            return np.asarray(matrix.to_numpy(dtype=np.float64, na_value=np.nan))
        return np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.asarray(matrix, dtype=object)
    if table.ndim == 2:
        for place, column in enumerate(table.T):
            for cell in column:
                try:
                    float(np.nan if cell is None else cell)
                except (TypeError, ValueError):
                    where = columns[place] if place < len(columns) else place
                    raise InvalidArgument(
                        f"site {name!r}, column {where!r} is not numeric: it holds {cell!r}"
                    ) from None
    raise InvalidArgument(f"site {name!r}: the features must be numbers, shape (patients, columns)")


def _widened(one: FeatureRows, columns: tuple[str, ...]) -> FeatureRows:
    if one.columns == columns:
        return one
    features = np.full((len(one.features), len(columns)), np.nan)
    places = {name: place for place, name in enumerate(columns)}
    features[:, [places[name] for name in one.columns]] = one.features
    return FeatureRows(one.name, features, columns)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"
