# SPDX-License-Identifier: Apache-2.0

"""Missing values: each is put at the mean of what is there, over all sites, by secure sums.

NaN is a missing value, and so is every value of a block of features that a site has not. Mean and standard
deviation of a feature are those of its present values at the sites that have any, from training rows only;
a missing value is then the mean, and adds nothing to a standardised model. Four sums, those that describe the
features (`sordino.statistics`): at how many sites each feature is, two for public coordinates, the moments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.errors import InvalidArgument
from sordino.federated.site import Site
from sordino.federated.wrapped import Wrapped
from sordino.models.model import Matrix
from sordino.protocol.policy import Question
from sordino.statistics.coordinates import Centres, Exponents
from sordino.statistics.moments import Moments
from sordino.statistics.presence import Presence

TEMPORARY = frozenset(
    {"held", "answered", "magnitude", "centre", "unit", "count", "holders", "patients", "variance"}
)
"""What the sums leave behind that training does not need."""


def imputation(
    names: tuple[str, ...], *, sites: int, max_patients: int, least_sites: int, standardise: bool
) -> tuple[Stage[Site], ...]:
    """The four sums. They set `fill`, and `mean` and `scale` if the features are to be standardised.

    names         of the features, for messages
    least_sites   how many sites must have values of a feature
    """
    bounds = len(names), sites, max_patients, least_sites
    return (
        Presence(*bounds),
        Exponents(*bounds),
        Centres(*bounds),
        PresentValues(Moments(*bounds), names, standardise),
    )


@dataclass(frozen=True)
class PresentValues:
    """The last of the sums: from the moments of the present values what fills, and what scales."""

    moments: Moments
    names: tuple[str, ...]
    standardise: bool

    kind = Moments.kind
    reads = Moments.reads

    def question(self) -> Question:
        """That of the moments."""
        return self.moments.question()

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """That of the moments."""
        return self.moments.contribute(site, known)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `fill`, `mean` and `scale`; raises `InvalidArgument` for a feature that too few sites have."""
        found = self.moments.advance(state, total)
        lacking = [name for name, mean in zip(self.names, found["mean"], strict=True) if np.isnan(mean)]
        if lacking:
            raise InvalidArgument(
                f"the feature {lacking[0]!r} has values at fewer than {self.moments.least_sites} sites"
                + (f", and so have {len(lacking) - 1} more" if len(lacking) > 1 else "")
                + "; leave it out"
            )
        kept = {name: vector for name, vector in found.items() if name not in TEMPORARY | {"mean"}}
        kept["fill"] = found["mean"]
        if not self.standardise:
            return kept
        # Over n, as `sordino.statistics.scaling` has it; a feature that does not vary is left as it is.
        varied = np.nan_to_num(found["variance"]) * (1.0 - 1.0 / np.maximum(found["count"], 1.0))
        scale = np.where(varied > 0.0, np.sqrt(varied), 1.0)
        return {**kept, "mean": found["mean"], "scale": scale}


class Filled(Wrapped):
    """A stage whose sites fill what is missing before they work on it."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The inner one's, and what fills."""
        return (*self.inner.reads, "fill")

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's."""
        return self.inner.contribute(filled_site(site, known), known)


def filled(features: Matrix, known: Arrays) -> Matrix:
    """The features with `fill` in place of NaN, if it is known; else as they are."""
    return np.where(np.isnan(features), known["fill"], features) if "fill" in known else features


def filled_site(site: Site, known: Arrays) -> Site:
    """The site with nothing missing."""
    if "fill" not in known:
        return site
    test, kept = site.test_features, site.validation_features
    return replace(
        site,
        features=filled(site.features, known),
        test_features=None if test is None else filled(test, known),
        validation_features=None if kept is None else filled(kept, known),
    )
