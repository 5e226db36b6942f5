# SPDX-License-Identifier: Apache-2.0

"""Client sampling: a part of the sites in each round of training, drawn by a public seed.

Who was drawn is known to all, so without noise the guarantee is that of `across_rounds = "accept"`: each sum
is over at least the cohort minimum, but rounds are over different cohorts. Once training stands still, a site
sends nearly the same in round after round, and whoever holds the sums of many cohorts can solve for what each
site sends: two cohorts that differ by one site already show it, to within what the model moved meanwhile.
Under `freeze` it is refused. With noise the accountant covers it; nothing is amplified, since the draw is no
secret.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil

import numpy as np

from sordino.errors import PolicyError
from sordino.protocol.policy import Policy


@dataclass(frozen=True)
class ClientSampling:
    """Draws `fraction` of the sites, rounded up, for each sum of one kind; a `Draw` for `follow`.

    policy   whose smallest cohort is the least that is drawn; as many more as may drop out have to be

    Raises `PolicyError` under `freeze`, and for a fraction that is not in (0, 1].
    """

    policy: Policy
    kind: str
    fraction: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise PolicyError(f"the fraction of sites in a round must be in (0, 1], got {self.fraction}")
        if self.policy.across_rounds == "freeze" and self.fraction < 1.0:
            raise PolicyError(
                f"a fraction of {self.fraction:g} of the sites in each round does not go with "
                'across_rounds = "freeze", under which the first sum fixes who takes part in all others: two '
                'sums over different sites show the difference; say "accept", or add [privacy]'
            )

    def __call__(self, kind: str, number: int, sites: Collection[str]) -> Collection[str]:
        """The names that are asked for sum `number` of `kind`, sorted; all of them for another kind."""
        if kind != self.kind or self.fraction == 1.0:
            return sites
        names = sorted(sites)
        least = max(self.policy.smallest_cohort, ceil(self.fraction * len(names)))
        order = np.random.default_rng([self.seed, number]).permutation(len(names))
        return sorted(names[place] for place in order[:least])
