"""Lane groups: no group, and no difference of groups, may show fewer than min_cohort sites.

Whoever sees the sums of several groups sees every linear combination of them. A combination over the sites is
a vector in the span of the groups' indicator vectors, and it shows the sum over its support. So the rule is:
every nonzero vector of that span has at least `min_cohort` sites in its support. For two groups that is the
rule on differences (the declarers of the one that are not in the other are none or at least min_cohort).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction
from itertools import combinations
from math import comb

from sordino.protocol.policy import EVERYONE, Policy

_MAX_CASES = 20_000
"""Above so many cases the test is the sufficient one: every cell of the Venn diagram is large enough."""


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
    smallest = _smallest_support(columns, minimum)
    if smallest < minimum:
        return (
            f"a difference of the lane groups {sorted(groups)} shows {smallest} of {len(survivors)} survivors"
        )
    return None


def _smallest_support(columns: Mapping[tuple[int, ...], int], minimum: int) -> int:
    """The least number of sites in the support of a nonzero vector of the groups' span.

    Sites with the same groups form one cell. A vector of least support is fixed, up to a factor, by a set of
    rank - 1 independent cells on which it vanishes.
    """
    cells = list(columns)
    if min(columns.values()) >= minimum:
        return min(columns.values())
    rank = _rank(cells)
    if comb(len(cells), rank - 1) > _MAX_CASES:
        return min(columns.values())
    best = sum(columns.values())
    for zeros in combinations(cells, rank - 1):
        if _rank(list(zeros)) == rank - 1:
            support = sum(count for cell, count in columns.items() if _rank([*zeros, cell]) == rank)
            best = min(best, support)
    return best


def _rank(rows: list[tuple[int, ...]]) -> int:
    matrix = [[Fraction(value) for value in row] for row in rows]
    rank = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((r for r in range(rank, len(matrix)) if matrix[r][column]), None)
        if pivot is None:
            continue
        matrix[rank], matrix[pivot] = matrix[pivot], matrix[rank]
        for r in range(rank + 1, len(matrix)):
            factor = matrix[r][column] / matrix[rank][column]
            matrix[r] = [a - factor * b for a, b in zip(matrix[r], matrix[rank], strict=True)]
        rank += 1
    return rank
