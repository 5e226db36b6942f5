# SPDX-License-Identifier: Apache-2.0

"""Who can mask with whom: the smallest set of sites to leave out so that no bad pair remains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

_EXACT_STEPS = 20_000


def smallest_cover(
    bad_pairs: Iterable[tuple[str, str]], blame: Mapping[str, int] | None = None
) -> frozenset[str]:
    """A smallest set of sites that meets every bad pair (a vertex cover), the same for the same pairs.

    Among sets of one size, the one with more blame is taken: who was part of bad pairs before. Branches on
    the busiest site: it is in the cover, or all its partners are. Where that takes more than a bounded number
    of steps the busiest-first cover is given instead, which may be larger.
    """
    pairs = frozenset((min(pair), max(pair)) for pair in bad_pairs)
    best = _busiest_first(pairs)
    blame = blame or {}

    def rank(cover: frozenset[str]) -> tuple[int, int, list[str]]:
        return len(cover), -sum(blame.get(site, 0) for site in cover), sorted(cover)

    stack: list[tuple[frozenset[tuple[str, str]], frozenset[str]]] = [(pairs, frozenset())]
    for _ in range(_EXACT_STEPS):
        if not stack:
            break
        left, chosen = stack.pop()
        if not left:
            best = min(best, chosen, key=rank)
            continue
        site, degree = _busiest(left)
        # With every remaining site in at most `degree` pairs, so many more sites are needed.
        if len(chosen) + -(-len(left) // degree) > len(best):
            continue
        partners = frozenset(a if b == site else b for a, b in left if site in (a, b))
        stack += [
            (frozenset(pair for pair in left if not more & set(pair)), chosen | more)
            for more in (partners, frozenset({site}))
        ]
    return best


def _busiest_first(pairs: frozenset[tuple[str, str]]) -> frozenset[str]:
    cover: set[str] = set()
    while left := frozenset(pair for pair in pairs if not cover & set(pair)):
        cover.add(_busiest(left)[0])
    return frozenset(cover)


def _busiest(pairs: frozenset[tuple[str, str]]) -> tuple[str, int]:
    degrees = Counter(site for pair in pairs for site in pair)
    return min(degrees.items(), key=lambda item: (-item[1], item[0]))
