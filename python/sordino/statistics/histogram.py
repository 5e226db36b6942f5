# SPDX-License-Identifier: Apache-2.0

"""Histograms on a public grid, and what they say of quantiles and of the range of values.

The grid is public before any value is counted, and it is asked once: counts on a grid that follows the last
answer (bisection) would corner single patients. Beyond the grid are two open bins, `under` and `over`.

What is told has the small-count rule in it: neighbouring bins are merged, from the left, until each holds at
least k patients, so that no cell, and no difference of the total and other cells, is about fewer. To leave
out only the small cells would not do: the total, which is told, gives a lone one back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, inf, nan
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.rows import Rows
from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Block, Question
from sordino.statistics.presence import Asked

Indices: TypeAlias = NDArray[np.intp]

Grid: TypeAlias = int | Sequence[float] | Mapping[str, Sequence[float]]
"""Edges of the bins for all features or for each by name, increasing; or the number of equal bins from below
the public centre to above it."""

MAX_BINS = 100_000


def grid_edges(grid: Grid, columns: Sequence[str]) -> tuple[tuple[float, ...], ...] | int:
    """The edges for each column, or the number of bins. Raises `InvalidArgument` for what is no grid."""
    if isinstance(grid, int):
        if not 1 <= grid <= MAX_BINS or isinstance(grid, bool):
            raise InvalidArgument(f"a grid has 1 to {MAX_BINS:,} bins, got {grid}")
        return grid
    if isinstance(grid, Mapping):
        if unknown := sorted(set(grid) - set(columns)):
            raise InvalidArgument(f"the grid names {unknown[0]!r}, which is none of the features")
        if without := [name for name in columns if name not in grid]:
            raise InvalidArgument(f"the grid has no edges for the feature {without[0]!r}")
        return tuple(_checked(grid[name], f"of feature {name!r} ") for name in columns)
    edges = _checked(grid, "")
    return (edges,) * len(columns)


def _checked(given: Sequence[float], whose: str) -> tuple[float, ...]:
    try:
        edges = tuple(float(edge) for edge in given)
    except (TypeError, ValueError):
        raise InvalidArgument(f"the grid {whose}must be numbers, got {given!r}") from None
    if not 2 <= len(edges) <= MAX_BINS + 1 or not np.isfinite(edges).all() or (np.diff(edges) <= 0.0).any():
        raise InvalidArgument(
            f"the grid {whose}must be 2 to {MAX_BINS + 1:,} finite, increasing edges, got {list(edges[:8])}"
            + ("..." if len(edges) > 8 else "")
        )
    return edges


@dataclass(frozen=True)
class Histograms(Asked):
    """Sum of the counts in each bin.

    edges   of every feature's bins, or their number, from `grid_edges`
    reach   of equal bins to both sides of the centre, in units

    State: `edges`, all features' edges one after another, and `bins`, their counts likewise, two more than
    edges less one each: under the first edge, from each edge to before the next, from the last edge on.
    """

    edges: tuple[tuple[float, ...], ...] | int = 64
    reach: float = 4.0

    kind = "histograms"
    reads = ("held", "centre", "unit")

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many edges each feature has."""
        if isinstance(self.edges, int):
            return (self.edges + 1,) * self.columns
        return tuple(len(edges) for edges in self.edges)

    @property
    def lanes(self) -> int:
        """How many bins all features have."""
        return sum(self.sizes) + self.columns

    def grid(self, known: Arrays) -> list[Vector]:
        """Each feature's edges."""
        if isinstance(self.edges, int):
            steps = np.linspace(-self.reach, self.reach, self.edges + 1)
            return list(known["centre"][:, np.newaxis] + known["unit"][:, np.newaxis] * steps)
        return [np.array(edges) for edges in self.edges]

    def blocks(self) -> tuple[Block, ...]:
        """A lane for each bin."""
        return (self.counts("bins", self.lanes, self.max_patients),)

    def question(self) -> Question:
        """The bins alone."""
        return Question(kind=self.kind, blocks=self.blocks())

    def contribute(self, site: Rows, known: Arrays) -> Contribution:
        """The site's counts."""
        counts = np.zeros(self.lanes)
        _, places = self._places(self.values(site, known), known)
        np.add.at(counts, places, 1.0)
        return Contribution({"bins": counts})

    def one_hot(self, values: Matrix, known: Arrays) -> NDArray[np.float32]:
        """A row for each patient, with a one in the bin of each present value, shape (patients, lanes)."""
        rows = np.zeros((len(values), self.lanes), np.float32)
        rows[self._places(values, known)] = 1.0
        return rows

    def _places(self, values: Matrix, known: Arrays) -> tuple[Indices, Indices]:
        """The patients of all present values, and the lanes that these are counted in."""
        places, first = np.full(values.shape, -1), 0
        for at, edges in enumerate(self.grid(known)):
            places[:, at] = first + np.searchsorted(edges, values[:, at], side="right")
            first += len(edges) + 1
        patients, features = np.nonzero(~np.isnan(values))
        return patients, places[patients, features]

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `edges` and `bins`."""
        return {**state, "edges": np.concatenate(self.grid(state)), "bins": total.sums["bins"]}

    def of_features(self, state: Arrays) -> list[tuple[Vector, Vector]]:
        """Each feature's edges and counts, under and over included."""
        edges = np.split(state["edges"], list(accumulate(self.sizes))[:-1])
        bins = np.split(state["bins"], list(accumulate(size + 1 for size in self.sizes))[:-1])
        return list(zip(edges, bins, strict=True))


class Quantile(NamedTuple):
    """A quantile: the value lies from `low` to before `high`, and `value` is off by `error` at most."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Infinite in an open cell."""
        return max(self.high - self.value, self.value - self.low)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between edges: counts[i] patients from edges[i] to before edges[i + 1].

    The first edge is -inf and the last one inf, since the outer bins are open.
    """

    edges: Vector
    counts: Vector

    @classmethod
    def of_bins(cls, edges: Vector, bins: Vector, least: float) -> Histogram:
        """Bins merged from the left until each holds at least `least`; what is left joins the last."""
        if least <= 1.0:
            return cls(np.concatenate([[-inf], edges, [inf]]), bins)
        kept, counts, held = [-inf], [], 0.0
        for upper, count in zip([*edges, inf], bins, strict=True):
            held += count
            if held >= least and held > 0.0:
                kept.append(upper)
                counts.append(held)
                held = 0.0
        if counts:
            kept[-1] = inf
            counts[-1] += held
        return cls(np.array(kept if counts else [-inf, inf]), np.array(counts or [nan]))

    def rounded(self, base: int) -> Histogram:
        """The counts to the next multiple of `base`, so that their sum is no exact number of patients."""
        return Histogram(self.edges, base * np.rint(self.counts / base))

    def quantile(self, part: float) -> Quantile:
        """The least value that at least `part` of the patients do not exceed (numpy's "inverted_cdf").

        The middle of its cell: to divide the cell by ranks would give its exact count away.
        """
        total = float(self.counts.sum())
        if not total > 0.0:
            return Quantile(nan, nan, nan)
        below = np.concatenate([[0.0], np.cumsum(self.counts)])
        # A product such as 0.07 * 100 = 7.000000000000001 is rank 7.
        rank = min(max(ceil(part * total * (1.0 - 2.0**-50)), 1), total)
        cell = min(int(np.searchsorted(below, rank, side="left")), len(self.counts)) - 1
        low, high = float(self.edges[cell]), float(self.edges[cell + 1])
        if np.isinf(low) or np.isinf(high):
            return Quantile(high if np.isinf(low) and not np.isinf(high) else low, low, high)
        return Quantile((low + high) / 2.0, low, high)


def noised_quantile(edges: Vector, bins: Vector, part: float, deviation: float) -> Quantile:
    """The quantile from counts with noise of this standard deviation, between the edges where it may lie.

    An edge may be below the quantile unless the counts up to it exceed their part of all counts by two
    deviations of that difference, sqrt(j (1 - part)^2 + (bins - j) part^2) times that of one count; it may be
    above in the same way.
    """
    outer, number = np.concatenate([[-inf], edges, [inf]]), np.arange(1.0, len(bins))
    total = float(bins.sum())
    if not total > 0.0:
        return Quantile(nan, nan, nan)
    excess = np.cumsum(bins)[:-1] - part * total  # at every edge
    doubt = 2.0 * deviation * np.sqrt(number * (1.0 - part) ** 2 + (len(bins) - number) * part**2)
    below, above = np.flatnonzero(excess < -doubt), np.flatnonzero(excess > doubt)
    # The last edge that is surely below, and the first above that: noise makes no order of its own.
    first = int(below[-1]) + 1 if len(below) else 0
    above = above[above >= first]
    last = int(above[0]) + 1 if len(above) else len(outer) - 1
    low, high = float(outer[first]), float(outer[last])
    cell = first + int(np.argmax(np.append(excess[first : last - 1] >= 0.0, True)))
    value = float(np.mean(outer[cell : cell + 2]))
    if np.isinf(value):
        value = float(outer[cell + 1] if cell == 0 else outer[cell])
    return Quantile(value, low, high)


def outer_bounds(edges: Vector, bins: Vector, least: float) -> tuple[float, float]:
    """(low, high): fewer than `least` patients lie below `low`, and fewer than `least` at `high` or above.

    They are as narrow as the grid allows; infinite where that many patients lie beyond it. NaN where nobody
    is left in between. An exact minimum would be one patient's value.
    """
    outer = np.concatenate([[-inf], edges, [inf]])
    enough = np.flatnonzero(np.cumsum(bins) >= max(least, 1.0))
    above = np.flatnonzero(np.cumsum(bins[::-1]) >= max(least, 1.0))
    if not len(enough):
        return nan, nan
    return float(outer[enough[0]]), float(outer[len(bins) - above[0]])
