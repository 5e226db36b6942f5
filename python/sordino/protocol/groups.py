# SPDX-License-Identifier: Apache-2.0

"""Lane groups: no group, and no difference of groups, may show fewer than min_cohort sites.

Whoever sees the sums of several groups sees every linear combination of them. A combination over the sites is
a vector in the span of the groups' indicator vectors, and it shows the sum over its support. So the rule is:
every nonzero vector of that span has at least `min_cohort` sites in its support. Besides, for any two groups
the sites that have the one and not the other are none or at least `min_cohort`: stricter where both groups
have sites of their own, and easy to state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import permutations
from typing import TypeAlias

from sordino.protocol.policy import EVERYONE, Policy

_MAX_STEPS = 20_000
"""Beyond so many steps the test is the sufficient one: every cell of the Venn diagram is large enough."""

_PRIME = 2**31 - 1
"""Ranks are taken modulo this: exact, as minors of 0/1 rows of length 17 stay below 2**21 (Hadamard)."""

_Row: TypeAlias = tuple[int, ...]


def planned_groups(policy: Policy) -> tuple[str, ...]:
    """Every lane group of every planned question, sorted; sums of different questions differ too."""
    return tuple(sorted({group for question in policy.plan for group in question.groups}))


def thin_group(
    groups: Collection[str], declared: Mapping[str, Collection[str]], survivors: Collection[str], minimum: int
) -> str | None:
    """Why these survivors may not be summed in these groups, or None if they may.

    declared   for each site the groups that it has; every site is in "all"
    minimum    the least number of sites that any combination of the groups may show
    """
    columns = Counter(
        tuple(int(group == EVERYONE or group in declared[site]) for group in (EVERYONE, *sorted(groups)))
        for site in survivors
    )
    names = (EVERYONE, *sorted(groups))
    for place, group in enumerate(names):
        size = sum(count for column, count in columns.items() if column[place])
        if 0 < size < minimum:
            return f"lane group {group!r} has {size} survivors, fewer than {minimum}"
    for one, other in permutations(range(len(names)), 2):
        size = sum(count for column, count in columns.items() if column[one] > column[other])
        if 0 < size < minimum:
            return f"{size} survivors have lane group {names[one]!r} but not {names[other]!r}"
    smallest = _smallest_support(tuple(sorted(columns.items())), minimum)
    if smallest < minimum:
        return f"the lane groups {sorted(groups)} together show {smallest} of {len(survivors)} survivors"
    return None


@lru_cache(maxsize=256)
def _smallest_support(columns: tuple[tuple[_Row, int], ...], minimum: int) -> int:
    """The least number of sites in the support of a nonzero vector of the groups' span, or `minimum`.

    Sites with the same groups form one cell. Each cell, the largest first, is either among the zeros of the
    vector or in its support. The zeros span less than all cells do, and the support stays below the best one
    so far: of rank + minimum choices, all but a few are forced.
    """
    cells = sorted(columns, key=lambda item: -item[1])
    smallest = cells[-1][1]
    if smallest >= minimum:
        return minimum
    everything: list[_Row] = []
    for cell, _ in cells:
        everything = _with(everything, _reduced(everything, cell))
    best = minimum
    stack: list[tuple[list[_Row], int, int]] = [([], 0, 0)]
    for _ in range(_MAX_STEPS):
        if not stack:
            return best
        zeros, place, support = stack.pop()
        if support >= best:
            continue
        if place == len(cells):
            best = support
            continue
        cell, count = cells[place]
        rest = _reduced(zeros, cell)
        wider = _with(zeros, rest)
        if any(rest):
            stack.append((zeros, place + 1, support + count))
        if len(wider) < len(everything):
            stack.append((wider, place + 1, support))
    return smallest


def _reduced(basis: list[_Row], row: _Row) -> _Row:
    """What is left of `row` without its part in the span of `basis`; zero if it lies there."""
    for one in basis:
        factor = row[_pivot(one)]
        if factor:
            row = tuple((a - factor * b) % _PRIME for a, b in zip(row, one, strict=True))
    return row


def _with(basis: list[_Row], rest: _Row) -> list[_Row]:
    """The basis of the span of `basis` and a reduced row, whose first nonzero entry is made 1."""
    if not any(rest):
        return basis
    inverse = pow(rest[_pivot(rest)], -1, _PRIME)
    return [*basis, tuple(a * inverse % _PRIME for a in rest)]


def _pivot(row: _Row) -> int:
    return next(place for place, value in enumerate(row) if value)
