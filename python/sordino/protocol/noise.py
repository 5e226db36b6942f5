# SPDX-License-Identifier: Apache-2.0

"""The noise that a sum carries, as terms that everybody hashes: the protocol bounds them and draws nothing.

What they mean, and that they are enough, is for `sordino.privacy`: a site asks its `Guard` before it makes a
key and before every upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil, isfinite, isqrt
from operator import index
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from msgspec import Struct
from msgspec.structs import force_setattr

from sordino.errors import PolicyError

if TYPE_CHECKING:
    from sordino.protocol.policy import Policy, Question

Unit: TypeAlias = Literal["patient", "patient-local", "site"]
"""Whose presence the noise hides: one patient's at one site, one patient's in the site's own training, or all
that one site sends."""


class Noise(Struct, frozen=True, forbid_unknown_fields=True):
    """Discrete Gaussian noise on every lane of a sum, in grid units.

    unit            whose presence it hides
    sensitivity     squared L2 norm that one unit adds at most to all lanes together, as integers
    sigma           standard deviation of the honest survivors' noise on each lane, whoever drops out
    tail            what all participants' noise on one lane exceeds only with the planned probability
    sampling_rate   probability with which a patient is in a round; 1 for everybody
    local_steps     for "patient-local": steps of private training that a site takes in one round
    local_sigma     for "patient-local": standard deviation of the noise of each of them, which the site draws
                    by itself, in units of the sensitivity's root; the sum then carries no noise of its own
    """

    unit: Unit
    sensitivity: int
    sigma: float = 0.0
    tail: int = 0
    sampling_rate: float = 1.0
    local_steps: int = 0
    local_sigma: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sensitivity", "tail", "local_steps"):
            try:
                force_setattr(self, name, int(index(getattr(self, name))))
            except TypeError:
                raise PolicyError(f"noise: {name} must be an integer, got {getattr(self, name)!r}") from None
        for name in ("sigma", "sampling_rate", "local_sigma"):
            try:
                force_setattr(self, name, float(getattr(self, name)))
            except (TypeError, ValueError):
                raise PolicyError(f"noise: {name} must be a number, got {getattr(self, name)!r}") from None
        if self.unit not in get_args(Unit):
            raise PolicyError(f"noise: unit must be one of {list(get_args(Unit))}, got {self.unit!r}")
        if not 1 <= self.sensitivity < 2**126:
            raise PolicyError(f"noise: sensitivity must be from 1 to 2**126 - 1, got {self.sensitivity}")
        local = self.unit == "patient-local"
        bounds = {
            "sigma": (self.sigma, 0.0 if local else 0.5, 0.0 if local else 2.0**62),
            "tail": (self.tail, 0 if local else 1, 0 if local else 2**62),
            "local_steps": (self.local_steps, int(local), 10**6 if local else 0),
            "local_sigma": (self.local_sigma, 1e-3 if local else 0.0, 1e6 if local else 0.0),
        }
        for name, (value, low, high) in bounds.items():
            if not (isfinite(value) and low <= value <= high):
                raise PolicyError(
                    f"noise: {name} must be from {low} to {high} for the unit {self.unit!r}, got {value}"
                )
        if not 0.0 < self.sampling_rate <= 1.0:
            raise PolicyError(f"noise: sampling_rate must be above 0 and at most 1, got {self.sampling_rate}")
        if self.unit == "site" and self.sampling_rate != 1.0:
            raise PolicyError("noise: sampling_rate must be 1 for sites: who takes part is no secret")


def rounded_limit(clip: float, fraction_bits: int, length: int) -> int:
    """What the squared L2 norm of a block may be at most after rounding to the grid, if it was `clip` before.

    D2^2 of Proposition 22 in Kairouz, Liu & Steinke (2021) with beta = exp(-1/2), rounded up: stochastic
    rounding stays below it with probability 0.39 at least, so a few attempts find integers that do.
    """
    radius = Fraction(clip) * 2**fraction_bits
    root = isqrt(length - 1) + 1  # of the dimension, rounded up
    likely: Fraction = radius * radius + Fraction(length, 4) + radius + Fraction(root, 2)
    certain: Fraction = (radius + root) * (radius + root)
    return ceil(min(likely, certain))


class Guard(Protocol):
    """What a site has between a question and its patients: judges noise, and spends a budget."""

    def check(self, policy: Policy) -> None:
        """Raise `PolicyRefused` unless this site may take part under these terms at all."""

    def price(
        self, policy: Policy, question: Question, participants: int, spent: Mapping[bytes, int]
    ) -> bytes:
        """What one upload to this question costs, as bytes for the journal.

        participants    |U|
        spent           how often each price was charged before, for the same data; `journal.PLAIN` counts the
                        uploads without noise

        Raises `BudgetExceeded` if it may not be spent any more.
        """
