# SPDX-License-Identifier: Apache-2.0

"""CKKS for addition only: the smallest ciphertexts that are secure and whose sums come out exact.

Lanes are cut into limbs of a few bits, one limb to a slot, so that the sum of all sites' limbs is a small
non-negative integer. The scale is just large enough that the noise of all encryptions together stays below
one half, so decryption rounds to that very integer. Two things follow. The sum is the fixed-point sum bit for
bit. And what is decrypted says nothing about the noise, so it may be shown: an approximate result would tell
the secret key to whoever knows the ciphertext (Li and Micciancio, EUROCRYPT 2021, section 3; an exact scheme
is safe there, lemma 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2, sqrt

from sordino.errors import PolicyError
from sordino.protocol.policy import Policy

DEGREE = 4096
"""Of the ring. At 2048 the standard leaves 54 bits for two primes, too few for a limb."""

STANDARD_BITS = 109
"""The most bits of all primes together for 128-bit security at this degree, with a ternary secret and errors
of standard deviation 3.2 (Albrecht et al., Homomorphic Encryption Security Standard, 2018, table 1)."""

SECURITY = 128
"""Bits, classical, by that table."""

SLOTS = DEGREE // 2
"""Numbers in one ciphertext."""

_ERROR_VARIANCE = 3.2**2
"""Of each coefficient of a fresh symmetric encryption."""

_ROUNDING_VARIANCE = 1.0 / 6.0
"""Of each coefficient where limbs are encoded: 1/12, twice, since real slots have symmetric coefficients.
Equal limbs round alike, so the sites' rounding adds up and does not average out."""

_DEVIATIONS = 9.0
"""Half a unit is so many standard deviations of the noise: a limb rounds wrongly with chance 2e-19."""

_LARGEST_PRIME = 60
_SMALLEST_PRIME = 24
_EXACT_BITS = 42
"""Encoding is a Fourier transform in float64: sums up to here lose less than 2**-8 of a unit by it."""


@dataclass(frozen=True)
class Parameters:
    """What everybody encrypts with.

    prime_bits   of the prime that ciphertexts are taken modulo, and of the one that TenSEAL asks for besides,
                 for switching keys, which nobody does here
    scale_bits   a limb is multiplied by 2**scale_bits before it is encrypted
    limb_bits    of a lane in one slot
    limbs        slots of one lane
    """

    prime_bits: tuple[int, int]
    scale_bits: int
    limb_bits: int
    limbs: int

    @property
    def bytes_per_lane(self) -> float:
        """Of an upload, before TenSEAL compresses it: two polynomials of 64-bit coefficients a ciphertext."""
        return self.limbs * 2 * DEGREE * 8 / SLOTS

    def statement(self) -> str:
        """One line for people: security and precision."""
        return (
            f"CKKS, ring degree {DEGREE}, {sum(self.prime_bits)} of at most {STANDARD_BITS} bits: "
            f">= {SECURITY}-bit security; {self.limbs} x {self.limb_bits} bits a lane, exact to the bit"
        )


def noise_spread(sites: int) -> float:
    """Standard deviation of the noise on a slot of a sum of so many equal uploads, times the scale."""
    return sqrt(SLOTS * (sites * _ERROR_VARIANCE + sites**2 * _ROUNDING_VARIANCE))


def choose_parameters(policy: Policy) -> Parameters:
    """The parameters for a policy's lanes and number of sites; everybody computes them for itself.

    Raises `PolicyError` where so many sites' noise leaves no room for a limb.
    """
    spread = noise_spread(policy.sites)
    scale_bits = ceil(log2(2.0 * _DEVIATIONS * spread))
    grown = (policy.sites - 1).bit_length()  # a sum of n limbs is so many bits longer
    room = min(_LARGEST_PRIME - 1 - scale_bits, _EXACT_BITS) - grown
    if room < 1:
        raise PolicyError(f"{policy.sites} sites are too many for exact sums under CKKS")
    limbs = -(-policy.bits // room)
    limb_bits = -(-policy.bits // limbs)
    prime = max(limb_bits + grown + scale_bits + 1, _SMALLEST_PRIME)
    return Parameters((prime, min(prime, STANDARD_BITS - prime)), scale_bits, limb_bits, limbs)
