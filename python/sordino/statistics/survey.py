"""What one description consists of: its settings, the sums that it asks in order, and their policy."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from sordino.course.follow import ATTEMPTS, Turn, course
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument, PolicyError
from sordino.protocol.policy import AcrossRounds, Policy, Question, plan_policy
from sordino.statistics.coordinates import Centres, Exponents
from sordino.statistics.correlation import Correlations
from sordino.statistics.histogram import Histograms
from sordino.statistics.moments import Moments
from sordino.statistics.presence import Presence
from sordino.statistics.together import Statistic, Together

MAX_LANES = 2**24
"""Of one question unless another limit is given: 128 MB of lanes at every site."""


@dataclass(frozen=True)
class Survey:
    """A description of features by four sums.

    columns, sites, max_patients, least_sites   as in `sordino.statistics.presence.Asked`
    edges         of the histograms, from `grid_edges`; None for none
    correlation   whether every pair of features is correlated
    max_lanes     the most numbers that a question may hold

    Raises `InvalidArgument` where these do not make sense, and `PolicyError` where the sums are too large.
    """

    columns: int
    sites: int
    max_patients: int
    least_sites: int = 3
    edges: tuple[tuple[float, ...], ...] | int | None = None
    correlation: bool = False
    max_lanes: int = MAX_LANES

    def __post_init__(self) -> None:
        for name, least in [("columns", 1), ("sites", 3), ("max_patients", 1), ("least_sites", 1)]:
            if getattr(self, name) < least:
                raise InvalidArgument(
                    f"a description needs {name} of {least} at least, got {getattr(self, name)}"
                )
        lanes = self.lanes
        if lanes > self.max_lanes:
            size = ceil(lanes * 8 / 2**20)
            raise PolicyError(
                f"the description asks {lanes:,} numbers in one sum, {size:,} MB at every site, and "
                f"max_lanes allows {self.max_lanes:,}: take fewer features or bins, or no correlation"
            )

    @property
    def _bounds(self) -> tuple[int, int, int, int]:
        return self.columns, self.sites, self.max_patients, self.least_sites

    @property
    def histograms(self) -> Histograms | None:
        """The stage of the histograms, if there are any."""
        return None if self.edges is None else Histograms(*self._bounds, self.edges)

    @property
    def lanes(self) -> int:
        """How many numbers a site sends to the largest question."""
        bins = 0 if self.histograms is None else sum(self.histograms.sizes) + self.columns
        pairs = 3 * self.columns**2 - 2 * self.columns if self.correlation else 0
        return 4 * self.columns + 2 + bins + pairs

    def stages(self) -> tuple[Stage[Any], ...]:
        """The four stages, in order; the last one has all that is told."""
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
            rounds=ATTEMPTS * len(self.stages()),
            **terms,
        )
