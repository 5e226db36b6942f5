# SPDX-License-Identifier: Apache-2.0

"""Lane groups against an oracle that tries every subset of the sites."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sordino.protocol.groups import planned_groups, thin_group
from sordino.protocol.policy import Block, Question, plan_policy

GROUPS = ("a", "b", "c", "d")


def rank(rows: list[list[Fraction]]) -> int:
    rows = [row[:] for row in rows]
    found = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(found, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        for i in range(len(rows)):
            if i != found and rows[i][column]:
                factor = rows[i][column] / rows[found][column]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[found], strict=True)]
        found += 1
    return found


def smallest_shown(groups: Sequence[str], declared: Mapping[str, Sequence[str]]) -> int:
    """The fewest sites that some combination of the groups' sums shows, by trying all sets of sites.

    A set of sites can be shown alone exactly if leaving them out makes the others' memberships span less.
    """
    sites = sorted(declared)
    rows = {s: [Fraction(1), *(Fraction(int(g in declared[s])) for g in groups)] for s in sites}
    full = rank(list(rows.values()))
    for size in range(1, len(sites) + 1):
        for left_out in combinations(sites, size):
            if rank([rows[s] for s in sites if s not in left_out]) < full:
                return size
    raise AssertionError("leaving all out leaves nothing")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.sampled_from(GROUPS), unique=True), min_size=3, max_size=8),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_a_combination_is_refused_exactly_if_it_shows_too_few(
    has: list[list[str]], minimum: int, count: int
) -> None:
    groups = GROUPS[:count]
    declared = {f"s{place}": [g for g in mine if g in groups] for place, mine in enumerate(has)}
    reason = thin_group(groups, declared, list(declared), minimum)
    memberships = {"all": set(declared)} | {g: {s for s in declared if g in declared[s]} for g in groups}
    differences = [len(one - other) for one, other in permutations(memberships.values(), 2)]
    few = [size for size in differences if 0 < size < minimum]
    assert (reason is not None) == (bool(few) or smallest_shown(groups, declared) < minimum)


def test_of_any_two_groups_the_sites_with_the_one_only_are_none_or_enough() -> None:
    for both, only_a, only_b, neither in product((0, 2, 3, 4), repeat=4):
        declared: dict[str, tuple[str, ...]] = {}
        for count, has in ((both, ("a", "b")), (only_a, ("a",)), (only_b, ("b",)), (neither, ())):
            for _ in range(count):
                declared[f"s{len(declared):02}"] = has
        a, b = both + only_a, both + only_b
        sizes = [a, b, len(declared) - a, len(declared) - b, only_a, only_b]
        if any(0 < size < 3 for size in sizes):
            assert thin_group(("a", "b"), declared, list(declared), 3) is not None


def test_only_the_survivors_count() -> None:
    declared = {f"s{place}": ("a",) if place < 4 else () for place in range(8)}
    assert thin_group(("a",), declared, list(declared), 3) is None
    assert "'a' has 2 survivors" in str(thin_group(("a",), declared, list(declared)[2:], 3))
    assert "2 survivors have lane group 'all' but not 'a'" in str(
        thin_group(("a",), declared, list(declared)[:6], 3)
    )


def test_the_group_everyone_is_held_to_the_minimum_too() -> None:
    declared = dict.fromkeys(("x", "y"), ())
    assert "'all' has 2 survivors" in str(thin_group((), declared, list(declared), 3))


@pytest.mark.parametrize("sites", [31, 100])
def test_sixteen_groups_of_any_kind_are_decided_in_bounded_time(sites: int) -> None:
    groups = [f"g{place}" for place in range(16)]
    declared = {
        f"s{site}": [group for place, group in enumerate(groups) if (site * 7919 >> place % 11) & 1]
        for site in range(sites)
    }
    started = time.process_time()
    thin_group(groups, declared, list(declared), 8)
    assert time.process_time() - started < 10


def test_groups_are_those_of_every_planned_question() -> None:
    plan = [
        Question("one", (Block("x", 1, 1.0, 0), Block("y", 1, 1.0, 0, "ct"))),
        Question("two", (Block("x", 1, 1.0, 0, "mr"),)),
    ]
    policy = plan_policy(study="s", sites=5, plan=plan, across_rounds="accept")
    assert planned_groups(policy) == ("all", "ct", "mr")
