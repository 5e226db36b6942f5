# SPDX-License-Identifier: Apache-2.0

"""The port behind which sums are made: what a site gives, what everybody gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument
from sordino.protocol.policy import EVERYONE, Policy

Step: TypeAlias = Literal["advertise", "seal", "receipt", "upload", "confirm", "unmask", "recover"]
"""The first message that a lost site no longer sends."""

STEPS: tuple[Step, ...] = ("advertise", "seal", "receipt", "upload", "confirm", "unmask", "recover")


@dataclass(frozen=True)
class Contribution:
    """What one site puts into one sum.

    values  for each block of the lane groups that the site has: floats of shape (block.length,), or with
            noise for the unit "patient" a row for each patient, shape (patients, block.length)
    weight  the integer that multiplies every value after rounding (number of patients), 1 to
            question.max_weight; a mapping gives each lane group its own

    sampling_rate, local_steps, local_sigma    with noise: by which terms the values were made, as those of
            `protocol.noise.Noise` say it. By other terms than the question's they are refused, since the
            budget was charged for those
    """

    values: Mapping[str, NDArray[np.floating[Any]]]
    weight: int | Mapping[str, int] = 1
    sampling_rate: float = 1.0
    local_steps: int = 0
    local_sigma: float = 0.0


Contributor: TypeAlias = Callable[[bytes], Contribution]
"""A site's own work: from the body of the question (a model, say) to its contribution."""


@dataclass(frozen=True)
class Traffic:
    """Bytes that one site has sent and received in one round, and its own working time in seconds."""

    sent: int = 0
    received: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Aggregate:
    """The outcome of one round.

    round      the aggregator's own round number
    sums       for each block: sum over the survivors of weight * value, float64 of shape (block.length,)
    weights    for each lane group: sum over the survivors of the weights; with noise a real number
    integers   the whole summed vector on the integer grid, weight lanes included, int64 of shape (lanes,)
    survivors  whose contribution is in the sum, sorted
    dropped    participants whose contribution is not: name -> the first message they did not send
    vanished   survivors that vanished after their upload, whose secrets the others rebuilt, sorted
    traffic    bytes by site
    seconds    wall time of the round, the sites' own work included
    noise      standard deviation of the noise on each lane of `integers`, colluders' and leftovers included
    """

    round: int
    sums: Mapping[str, NDArray[np.float64]]
    weights: Mapping[str, float]
    integers: NDArray[np.int64]
    survivors: tuple[str, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    seconds: float = 0.0
    noise: float = 0.0

    def mean(self, block: str, group: str = EVERYONE) -> NDArray[np.float64]:
        """The weighted mean of a block over the survivors; a count that noise took below 1 is 1."""
        weight = self.weights[group]
        return self.sums[block] / (max(weight, 1.0) if self.noise else weight)


def check_lose(lose: Mapping[str, Step], sites: Sequence[str]) -> None:
    """Raise `InvalidArgument` unless `lose` names known sites and steps."""
    if unknown := sorted(set(lose) - set(sites)):
        raise InvalidArgument(f"lose names sites outside the roster: {unknown}")
    if wrong := sorted({step for step in lose.values() if step not in STEPS}):
        raise InvalidArgument(f"lose knows the steps {list(STEPS)}, got {wrong}")


class Aggregator(ABC):
    """Makes one sum a round over whoever survives it."""

    policy: Policy
    sites: tuple[str, ...]
    """Every site of the roster, sorted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of what the aggregator holds, keys above all; it makes no more sums."""

    @abstractmethod
    def aggregate(
        self,
        kind: str,
        body: bytes,
        contributors: Mapping[str, Contributor],
        *,
        lose: Mapping[str, Step] | None = None,
    ) -> Aggregate:
        """Ask the planned question `kind` with `body` and sum what the sites contribute.

        `contributors` holds a callable for each site that is asked; the others are left out of the round.
        `lose` makes sites vanish for this round: name -> the first message that they no longer send. An
        error that a contributor raises passes through to the caller, and no sum is made.

        Raises `RoundAborted` if too few survive; the next call may succeed.
        """
