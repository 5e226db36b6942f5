# SPDX-License-Identifier: Apache-2.0

"""What one description consists of: its settings, the sums that it asks in order, and their policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import numpy as np

from sordino.course.answer import Answering
from sordino.course.arrays import Arrays
from sordino.course.follow import ATTEMPTS, Turn, course
from sordino.course.noise import Demand, NoisePlanned, plan_noise
from sordino.course.stage import Stage
from sordino.course.terms import PrivateTerms
from sordino.errors import InvalidArgument, PolicyError, StateError
from sordino.protocol.noise import Noise
from sordino.protocol.policy import AcrossRounds, Policy, Question, plan_policy
from sordino.statistics.coordinates import Centres, Exponents
from sordino.statistics.correlation import Correlations
from sordino.statistics.histogram import Histograms
from sordino.statistics.moments import Moments
from sordino.statistics.noised_description import NoisedDescription, Reaches
from sordino.statistics.noised_scaling import Magnitudes, PrivateMeans
from sordino.statistics.presence import Presence
from sordino.statistics.together import Statistic, Together

MAX_LANES = 2**24
"""Of one question unless another limit is given: 128 MB of lanes at every site."""


@dataclass(frozen=True)
class Survey:
    """A description of features by four sums; a private one by one sum, or four where no ranges are public.

    columns, sites, max_patients, least_sites   as in `sordino.statistics.presence.Asked`
    edges         of the histograms, from `grid_edges`; None for none
    correlation   whether every pair of features is correlated
    max_lanes     the most numbers that a site may have to hold for a question
    private       the terms of a private description: its unit, epsilon, delta, the share of the sums that
                  scale, and the public ranges of the features, to which values are clipped
    noise         by kind of question, once it is planned

    Raises `InvalidArgument` where these do not make sense, and `PolicyError` where the sums are too large.
    """

    columns: int
    sites: int
    max_patients: int
    least_sites: int = 3
    edges: tuple[tuple[float, ...], ...] | int | None = None
    correlation: bool = False
    max_lanes: int = MAX_LANES
    private: PrivateTerms | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in [("columns", 1), ("sites", 3), ("max_patients", 1), ("least_sites", 1)]:
            if getattr(self, name) < least:
                raise InvalidArgument(
                    f"a description needs {name} of {least} at least, got {getattr(self, name)}"
                )
        ranges = None if self.private is None else self.private.ranges
        if ranges is not None and (
            len(ranges) != self.columns or any(not -inf < low < high < inf for low, high in ranges)
        ):
            raise InvalidArgument("ranges must be (low, high) for every feature, low below high and finite")
        self.check_size()

    def check_size(self, patients: int = 1) -> None:
        """Raise `PolicyError` where the largest sum, or so many patients' rows of it, pass `max_lanes`."""
        numbers = self.lanes * patients
        if numbers > self.max_lanes:
            size = ceil(numbers * 8 / 2**20)
            rows = f" for each of {patients:,} patients" if patients > 1 else ""
            raise PolicyError(
                f"the description asks {self.lanes:,} numbers in one sum{rows}, {size:,} MB at a site, and "
                f"max_lanes allows {self.max_lanes:,}: take fewer features or bins, or no correlation"
            )

    @property
    def _bounds(self) -> tuple[int, int, int, int]:
        return self.columns, self.sites, self.max_patients, self.least_sites

    @property
    def histograms(self) -> Histograms | None:
        """The stage of the histograms, if there are any."""
        # Values beyond one unit are clipped in a private description.
        reach = 4.0 if self.private is None else 1.0
        return None if self.edges is None else Histograms(*self._bounds, self.edges, reach)

    @property
    def lanes(self) -> int:
        """How many numbers a site sends to the largest question."""
        bins = 0 if self.histograms is None else self.histograms.lanes
        pairs = 3 * self.columns**2 - 2 * self.columns if self.correlation else 0
        return 4 * self.columns + 2 + bins + pairs

    @property
    def answering(self) -> Answering:
        """How sites answer private questions."""
        if self.private is None:
            raise StateError("this description is not private")
        return Answering(self.private.unit, self.sites, self.max_patients, self.noise)

    def initial(self) -> Arrays:
        """The state before the first sum: the middle and half width of public ranges."""
        if self.private is None:
            return {}
        if self.private.ranges is None:
            return {"centre": np.zeros(self.columns)}
        low, high = np.array(self.private.ranges).T
        return {"centre": (low + high) / 2.0, "unit": (high - low) / 2.0}

    def stages(self) -> tuple[Stage[Any], ...]:
        """The stages, in order; the last one has all that is told."""
        if self.private is not None:
            told = NoisedDescription(self.columns, self.answering, self.histograms, self.correlation)
            if self.private.ranges is not None:
                return (told,)
            scaling = self.columns, self.answering
            return (Magnitudes(*scaling), PrivateMeans(*scaling), Reaches(*scaling), told)
        statistics: list[Statistic] = [Moments(*self._bounds)]
        if self.histograms is not None:
            statistics.append(self.histograms)
        if self.correlation and self.columns > 1:
            statistics.append(Correlations(*self._bounds))
        return (
            Presence(*self._bounds),
            Exponents(*self._bounds),
            Centres(*self._bounds),
            Together(tuple(statistics)),
        )

    def turns(self) -> tuple[Turn, ...]:
        """Every sum, in order."""
        return course(*((stage, 1) for stage in self.stages()))

    def questions(self) -> tuple[Question, ...]:
        """The plan of questions that a policy has to allow."""
        return tuple(stage.question() for stage in self.stages())

    def policy(self, *, across_rounds: AcrossRounds, study: str = "description", **terms: Any) -> Policy:
        """The policy that allows just this description; `terms` as in `plan_policy`."""
        return plan_policy(
            study=study,
            sites=self.sites,
            plan=self.questions(),
            across_rounds=across_rounds,
            rounds=self._rounds,
            **terms,
        )

    @property
    def _rounds(self) -> int:
        # What is asked for again uses up round numbers too, and so does a directory that goes on.
        return ATTEMPTS * len(self.stages()) + 100

    def planned(self, *, study: str = "description", **terms: Any) -> NoisePlanned:
        """The noise of a private description, its policy, budget and cost; `terms` as in `plan_policy`.

        Raises `TargetUnreachable` or `PolicyError` where no noise will do.
        """
        if self.private is None:
            raise StateError("this description is not private")
        *scaling, told = (stage.question() for stage in self.stages())
        demands = [Demand(one, 1, self.private.statistics_share / len(scaling)) for one in scaling]
        demands.append(Demand(told, 1 + self.private.spare_rounds))
        return plan_noise(demands, self.private, study=study, sites=self.sites, rounds=self._rounds, **terms)
