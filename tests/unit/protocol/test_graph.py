# SPDX-License-Identifier: Apache-2.0

"""Smallest covers against an oracle that tries every subset, and in bounded time."""

from __future__ import annotations

import random
import time
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sordino.protocol.graph import smallest_cover

NAMES = [f"s{place}" for place in range(8)]
PAIRS = st.sampled_from(list(combinations(NAMES, 2)))


def covers(sites: tuple[str, ...], pairs: list[tuple[str, str]]) -> bool:
    return all(set(pair) & set(sites) for pair in pairs)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(PAIRS, max_size=14))
def test_a_smallest_cover_is_found(pairs: list[tuple[str, str]]) -> None:
    subsets = chain.from_iterable(combinations(NAMES, size) for size in range(len(NAMES) + 1))
    smallest = next(len(subset) for subset in subsets if covers(subset, pairs))
    found = smallest_cover(pairs)
    assert covers(tuple(found), pairs)
    assert len(found) == smallest


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(PAIRS, max_size=14), st.randoms(use_true_random=False))
def test_the_same_pairs_give_the_same_cover_in_any_order(
    pairs: list[tuple[str, str]], shuffle: random.Random
) -> None:
    other = [pair[::-1] if shuffle.random() < 0.5 else pair for pair in pairs]
    shuffle.shuffle(other)
    assert smallest_cover(other) == smallest_cover(pairs)


def test_one_bad_site_is_left_out_alone_and_no_pairs_cost_nobody() -> None:
    assert smallest_cover([]) == frozenset()
    assert smallest_cover([("a", "x"), ("b", "x"), ("x", "c")]) == {"x"}
    assert smallest_cover([("a", "b")]) == {"a"}


@pytest.mark.parametrize(("sites", "liars"), [(31, 15), (100, 33)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_many_liars_are_covered_in_bounded_time(sites: int, liars: int, share: float) -> None:
    chance = random.Random(9)
    names = [f"s{place:03}" for place in range(sites)]
    pairs = [
        (liar, other)
        for liar in names[:liars]
        for other in names
        if other != liar and chance.random() < share
    ]
    started = time.process_time()
    found = smallest_cover(pairs)
    assert time.process_time() - started < 10
    assert covers(tuple(found), pairs)
    assert len(found) <= liars
