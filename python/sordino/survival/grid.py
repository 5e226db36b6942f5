# SPDX-License-Identifier: Apache-2.0

"""The public time grid of a survival analysis: cuts from two sums, and at least k patients leaving at each.

The difference of neighbouring risk sets is what the patients who left in between add up to. So the cuts must
be far enough apart that these are several. First the sites' own quantiles of their event times are averaged
into candidates (no histogram, no maximum); then patients are counted at the candidates; then candidates are
left out until at each cut that stays at least k patients leave and one has the event. Only then is any sum
of covariates asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.errors import InvalidArgument, PolicyError
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import Block, Question
from sordino.survival.rows import SurvivalRows

TimeGrid: TypeAlias = int | Sequence[float] | Literal["exact"]
"""A number of intervals, cut from the sites' event times by a secure sum; the cuts themselves, increasing
times; or "exact", every distinct event time."""

INTERVALS = 16
LEAST_PATIENTS = 10

_EXPONENT_CLIP = 1100.0
"""Beyond the log2 of every float64."""

TAIL = 8
"""Candidates beyond the mean of the sites' last events, each 2**(1/8) later."""


def checked_cuts(cuts: Sequence[float]) -> Vector:
    """The cuts as float64. Raises `InvalidArgument` unless they are finite, above zero and increase."""
    try:
        found = np.asarray(cuts, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidArgument(f"the time grid must be numbers, got {cuts!r}") from None
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or found[0] <= 0.0:
        raise InvalidArgument("the time grid must be one row of finite times above zero, one at least")
    if (np.diff(found) <= 0.0).any():
        raise InvalidArgument("the times of the grid must increase")
    return found


@dataclass(frozen=True)
class EventQuantiles:
    """First sum: candidates for the cuts, from the mean over events of log2 of the sites' own quantiles.

    intervals   how many candidates lie up to the mean last event; TAIL more follow

    State: `candidates`, increasing times, shape (intervals + 8,).
    """

    intervals: int
    sites: int
    max_patients: int

    kind = "event_quantiles"
    reads: tuple[str, ...] = ()

    def question(self) -> Question:
        """Events times the log of each quantile, and events."""
        clip = _EXPONENT_CLIP * self.max_patients
        bits = fraction_bits("the quantiles", clip=clip, sites=self.sites, max_weight=1, wanted=30)
        return Question(
            kind=self.kind,
            blocks=(
                Block("exponents", self.intervals, clip, bits),
                Block("events", 1, float(self.max_patients), 0),
            ),
        )

    def contribute(self, site: SurvivalRows, known: Arrays) -> Contribution:
        """Zero where the site has no events."""
        del known
        times = site.time[site.event]
        quantiles = np.zeros(self.intervals)
        if len(times):
            parts = np.arange(1, self.intervals + 1) / self.intervals
            quantiles = np.log2(np.quantile(times, parts, method="inverted_cdf"))
        return Contribution({"exponents": len(times) * quantiles, "events": np.array([float(len(times))])})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Raises `InvalidArgument` where no site has an event."""
        events = total.sums["events"][0]
        if not events:
            raise InvalidArgument("no site has an event, so there is nothing to learn of survival")
        exponents = total.sums["exponents"] / events
        tail = exponents[-1] + np.arange(1, TAIL + 1) / TAIL
        return {**state, "candidates": np.unique(np.exp2(np.append(exponents, tail)))}


@dataclass(frozen=True)
class Leaving:
    """Second sum: how many patients of each group have the event, and are censored, at each candidate.

    most            the most candidates
    least_patients  k: of each group at a cut nobody leaves, or so many, and likewise before the first
    groups          how many there are
    covariates      whether those who have the event are added up by themselves later: then those in the risk
                    sets who have it not, which is the difference, must be nobody or k too

    State: `cuts`, the times that stay, and at them `deaths` and `censored` (last seen there), each flat of
    shape (groups, cuts); for each group `never` (censored before the first cut) and `beyond` (events after
    the last). Candidates are increasing times, perhaps fewer than `most`.
    """

    most: int
    max_patients: int
    least_patients: int
    groups: int = 1
    covariates: bool = False

    kind = "leaving"
    reads = ("candidates",)

    def question(self) -> Question:
        """Whole numbers; a place more than candidates, for what is after or before all of them."""
        length, clip = self.groups * (self.most + 1), float(self.max_patients)
        return Question(
            kind=self.kind, blocks=(Block("events", length, clip, 0), Block("censored", length, clip, 0))
        )

    def contribute(self, site: SurvivalRows, known: Arrays) -> Contribution:
        """The site's counts: events up to each candidate and after all, censored before and from each on."""
        candidates = known["candidates"]
        event, group = site.event, site.groups
        if group.max() >= self.groups or group.min() < 0:
            raise InvalidArgument(f"site {site.name!r} has a group that is none of the {self.groups}")
        places = np.where(
            event,
            np.searchsorted(candidates, site.time),
            np.searchsorted(candidates, site.time, side="right"),
        )
        places += group * (self.most + 1)
        length = self.groups * (self.most + 1)
        return Contribution(
            {
                name: np.bincount(places[which], minlength=length).astype(np.float64)
                for name, which in [("events", event), ("censored", ~event)]
            }
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets what the class says. Raises `InvalidArgument` where no cut can stay, or events are too few."""
        candidates, k = state["candidates"], self.least_patients
        events, censored = (
            total.sums[name].reshape(self.groups, -1)[:, : len(candidates) + 1]
            for name in ("events", "censored")
        )
        if not events.sum():
            raise InvalidArgument("no site has an event, so there is nothing to learn of survival")
        counts = merged(events, censored, k)
        if not len(counts.kept) or counts.deaths.sum() < k:
            raise InvalidArgument(
                f"fewer than {k} patients have the event on the time grid, too few to be told"
            )
        others = float(counts.censored.sum() + counts.beyond.sum())
        if self.covariates and 0.0 < others < k:
            raise InvalidArgument(
                f"fewer than {k} patients at risk have no event on the time grid, and their covariates would "
                "show: sums over everybody at risk and over the events differ by them; take a lower "
                "least_patients, or a grid that ends earlier"
            )
        return {
            **state,
            "cuts": candidates[counts.kept],
            "deaths": counts.deaths.ravel(),
            "censored": counts.censored.ravel(),
            "never": counts.never,
            "beyond": counts.beyond,
        }


class Merged(NamedTuple):
    """Counts at the candidates that stay: as in the state of `Leaving`, but of shape (groups, cuts)."""

    kept: NDArray[np.intp]
    deaths: Matrix
    censored: Matrix
    never: Vector
    beyond: Vector


def merged(events: Matrix, censored: Matrix, least: int) -> Merged:
    """Leave candidates out until at each that stays one patient has the event, and no few of a group leave.

    events     up to each candidate from the one before, and after the last, shape (groups, G + 1)
    censored   before the first, and from each candidate to before the next, shape (groups, G + 1)

    Few is 1 to `least` - 1. The events of a candidate that goes wait for the next, its censored patients go
    back to the one before. If it is the last, its events count as after the grid, which biases nothing.
    Before the first cut no few may be censored either: they are in no risk set but in the scaler's sums.
    """
    kept = list(range(events.shape[1] - 1))
    while True:
        starts = np.array([0, *(place + 1 for place in kept)])
        happened, dropped = np.add.reduceat(events, starts, axis=1), np.add.reduceat(censored, starts, axis=1)
        found = Merged(
            np.array(kept, dtype=np.intp), happened[:, :-1], dropped[:, 1:], dropped[:, 0], happened[:, -1]
        )
        if not kept:
            return found
        leave = found.deaths + found.censored
        leave[:, -1] += found.beyond
        few = ((leave > 0.0) & (leave < least)).any(axis=0) | (found.deaths.sum(axis=0) < 1.0)
        if few.any():
            del kept[int(few.argmax())]
        elif ((found.never > 0.0) & (found.never < least)).any():
            del kept[0]
        else:
            return found


def grid_stages(
    sites: Mapping[str, SurvivalRows],
    grid: TimeGrid,
    *,
    least_patients: int,
    discloses_patients: bool,
    max_patients: int,
    groups: int = 1,
    covariates: bool = False,
) -> tuple[tuple[EventQuantiles, Leaving] | tuple[Leaving], Arrays]:
    """The stages that settle the grid, and the state before them.

    Raises `InvalidArgument` for what is no grid, and `PolicyError` for one that may not be asked.
    """
    if least_patients < 2 and not discloses_patients:
        raise PolicyError(
            f"least_patients must be 2 or more without discloses_patients, got {least_patients}"
        )
    least = 1 if discloses_patients else least_patients
    if isinstance(grid, str):
        if grid != "exact":
            raise InvalidArgument(f'a time grid is a number of intervals, times, or "exact", got {grid!r}')
        if not discloses_patients:
            raise PolicyError(
                "the exact time grid shows the covariates of single patients: the difference of neighbouring "
                "risk sets is what the patient who left adds to them; take a number of intervals, or set "
                "discloses_patients = true"
            )
        # The sites announce their event times: that is a part of what they agreed to.
        grid = sorted({float(time) for rows in sites.values() for time in rows.time[rows.event]})
        if not grid:
            raise InvalidArgument("no site has an event, so there is nothing to learn of survival")
    if isinstance(grid, int):
        if not 1 <= grid <= 10_000 or isinstance(grid, bool):
            raise InvalidArgument(f"a time grid has 1 to 10,000 intervals, got {grid}")
        quantiles = EventQuantiles(grid, len(sites), max_patients)
        return (quantiles, Leaving(grid + TAIL, max_patients, least, groups, covariates)), {}
    cuts = checked_cuts(grid)
    return (Leaving(len(cuts), max_patients, least, groups, covariates),), {"candidates": cuts}
