# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino import _core
from sordino.audit.masks import first_words, open_twister, strength, twister_mask
from sordino.errors import InvalidArgument

SEEDS = np.array([0, 1, 12345, 2**28 - 1, 2**32 - 1], dtype=np.uint32)
TOY = np.arange(16, dtype=np.uint32) * 1000


def test_first_words_are_those_of_numpy() -> None:
    found = first_words(SEEDS, 5)
    for place, seed in enumerate(SEEDS):
        drawn = np.random.RandomState(int(seed)).randint(0, 2**32, 5, dtype=np.uint32)
        assert (found[:, place] == drawn).all()
        assert (twister_mask(5, int(seed)) == drawn).all()


def test_a_mask_of_a_mersenne_twister_is_opened_and_its_seed_found() -> None:
    seed = 123_456_789
    masked = TOY + twister_mask(len(TOY), seed)
    found = open_twister(masked, below=2**22, first=seed - 150_000, seeds=200_000)
    assert found is not None
    assert found[0] == seed
    assert (found[1] == TOY).all()


def test_a_mask_of_aes_is_not_opened_by_the_same_search() -> None:
    stream = bytearray(64)
    _core.keystream(bytes(32), stream)
    masked = TOY + np.frombuffer(bytes(stream), dtype=np.uint32)
    assert open_twister(masked, below=2**22, seeds=200_000) is None


def test_years_follow_from_the_measured_rate() -> None:
    found = strength(seconds=0.02)
    assert found.years > 1e50
    assert found.minutes(32) == pytest.approx(16 * found.minutes(28))
    assert found.minutes(28) < 60.0  # an hour would be no demonstration


def test_too_few_values_tell_no_seed() -> None:
    with pytest.raises(InvalidArgument, match="too few values"):
        open_twister(TOY[:2], below=2**22)
    with pytest.raises(InvalidArgument, match="words, got 300"):
        first_words(SEEDS, 300)
