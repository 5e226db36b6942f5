# SPDX-License-Identifier: Apache-2.0

"""What it would take to guess a mask's seed: here, and where a generator of 32 bits makes the mask.

The second is shown for real. `RandomState` of NumPy, seeded by a whole number, has 2^32 states to begin with,
however many bits of secret went into that number. Flower 1.41.0 makes its SecAgg+ masks so: `pseudo_rand_gen`
joins the secret's four-byte words by exclusive or and seeds `RandomState` with what comes out
(flwr/common/secure_aggregation/secaggplus_utils.py). What is opened below is a toy: one mask over numbers
that are known to be small, as is what remains of a vector once its other masks are known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.errors import InvalidArgument

_WORDS, _MIDDLE = 624, 397
_YEAR = 365.25 * 24 * 3600
_AT_ONCE = 1 << 14
"""Seeds that are tried side by side: what stays in a core's own cache."""

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Strength:
    """Guesses a second on this machine, and what they come to; years are the mean, half of all seeds.

    keystream_guesses   blocks of AES-256 that this machine makes in a second on one core, a seed for each:
                        more than any attacker's key schedule allows
    twister_guesses     seeds of the Mersenne Twister that are tried a second
    """

    keystream_guesses: float
    twister_guesses: float

    @property
    def years(self) -> float:
        """For one of sordino's seeds, of 256 bits."""
        return 2.0**255 / self.keystream_guesses / _YEAR

    def minutes(self, bits: int) -> float:
        """For all seeds of so many bits of a Mersenne Twister."""
        return 2.0**bits / self.twister_guesses / 60.0


def first_words(seeds: Words, count: int = 1) -> Words:
    """The first 32-bit outputs of MT19937 by seed, shape (count, seeds): those of NumPy's `RandomState`.

    Matsumoto and Nishimura (1998); `init_genrand` of 2002. A first output needs 398 of the 624 words.
    """
    if not 1 <= count <= _WORDS - _MIDDLE - 1:
        raise InvalidArgument(f"from 1 to {_WORDS - _MIDDLE - 1} words, got {count}")
    word, kept, found = seeds.astype(np.uint32), [seeds], []
    mixed = np.empty_like(word)
    for number in range(1, _MIDDLE + count):
        np.right_shift(word, np.uint32(30), out=mixed)
        np.bitwise_xor(mixed, word, out=mixed)
        np.multiply(mixed, np.uint32(1812433253), out=mixed)
        np.add(mixed, np.uint32(number), out=mixed)
        word, mixed = mixed, (np.empty_like(word) if number <= count + 1 else word)
        if number <= count:
            kept.append(word)
        if number >= _MIDDLE:
            at = number - _MIDDLE
            y = (kept[at] & np.uint32(0x80000000)) | (kept[at + 1] & np.uint32(0x7FFFFFFF))
            y = word ^ (y >> np.uint32(1)) ^ ((y & np.uint32(1)) * np.uint32(0x9908B0DF))
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            found.append(y ^ (y >> np.uint32(18)))
    return np.array(found)


def twister_mask(length: int, seed: int) -> Words:
    """A mask as in Flower 1.41.0, whose range is 2^32 by default."""
    drawn = np.random.RandomState(seed).randint(0, 2**32 - 1, length, dtype=np.int64)
    return drawn.astype(np.uint32)


def open_twister(
    masked: Words, *, below: int, first: int = 0, seeds: int = 2**32
) -> tuple[int, Words] | None:
    """Seed and values of a masked vector whose values are below `below`, of so many seeds from `first` on.

    The first values tell right seeds from wrong ones: 4 numbers of 22 bits leave 2^-40 of the wrong.
    """
    if len(masked) * (32 - np.log2(below)) < 40:
        raise InvalidArgument("too few values to tell a right seed from a wrong one")
    for start in range(first, first + seeds, _AT_ONCE):
        tried = np.arange(start, min(start + _AT_ONCE, first + seeds)).astype(np.uint32)
        opened = masked[0] - first_words(tried)[0]
        for seed in tried[opened < below]:
            values = masked - twister_mask(len(masked), int(seed))
            if (values < below).all():
                return int(seed), values
    return None


def strength(*, seconds: float = 0.2) -> Strength:
    """Measure this machine, one core of it."""
    out, seed = bytearray(1 << 20), bytes(range(32))
    rates = []
    for work, each in (
        (lambda: _core.keystream(seed, out), len(out) / 16),
        (lambda: first_words(np.arange(_AT_ONCE, dtype=np.uint32)), _AT_ONCE),
    ):
        work()
        started, done = time.thread_time(), 0
        while (spent := time.thread_time() - started) < seconds:
            work()
            done += 1
        rates.append(done * each / spent)
    return Strength(*rates)
