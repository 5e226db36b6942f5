# SPDX-License-Identifier: Apache-2.0

"""How many neighbours a site needs in the sparse graph, and how many of them rebuild a secret.

Bell, Bonawitz, Gascon, Lepoint and Raykova, "Secure Single-Server Aggregation with (Poly)Logarithmic
Overhead" (CCS 2020), section 3, ask three things of a random graph of n sites, each with k neighbours, of
which at most c are corrupt and at most d are missing, both fixed before the graph is drawn:

1. no honest site has t or more corrupt neighbours, who could rebuild its secrets;
2. the honest sites that are not missing are connected, or else each part of them would give a sum;
3. every site has t neighbours that are not missing, or else its secrets could not be rebuilt.

Here the graph is a Harary graph on a ring in random order: each site has the k/2 sites on either side. 1 and
2 together may fail with probability 2**-SIGMA in a session, 3 with 2**-ETA in a round. All probabilities are
exact fractions: no rounding stands between the bound and the comparison.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

SIGMA = 40
"""1 and 2 fail with probability 2**-SIGMA at most."""

ETA = 20
"""3 fails with probability 2**-ETA at most."""

MAX_RISK = Fraction(1, 2**SIGMA)
MAX_LOSS = Fraction(1, 2**ETA)


class Degree(NamedTuple):
    """k and t: the neighbours of each site, and how many of them rebuild its secrets."""

    neighbours: int
    threshold: int


class Risks(NamedTuple):
    """Upper bounds on what can go wrong.

    secrecy    1 or 2 fails, in any of the session's rounds
    recovery   3 fails, in one round
    """

    secrecy: Fraction
    recovery: Fraction

    @property
    def allowed(self) -> bool:
        """Whether both are as small as they have to be."""
        return self.secrecy <= MAX_RISK and self.recovery <= MAX_LOSS


@lru_cache(maxsize=64)
def risks(sites: int, degree: Degree, *, corrupt: int, missing: int, rounds: int) -> Risks:
    """The bounds for a graph of `sites` sites; `degree.neighbours` is even and below sites - 1."""
    k, t = degree
    exposed, ways = _at_least(sites - 1, corrupt, k)
    stranded, _ = _at_least(sites - 1, missing, k)
    return Risks(
        secrecy=Fraction((sites - corrupt) * exposed[t], ways) + rounds * split(sites, k, corrupt + missing),
        recovery=Fraction(sites * stranded[k - t + 1], ways),
    )


@lru_cache(maxsize=64)
def smallest_degree(
    sites: int, *, corrupt: int, missing: int, rounds: int, most: int | None = None
) -> Degree | None:
    """The fewest neighbours for which both risks are allowed, and the smallest t that goes with them.

    None if there are none below sites - 1, so that the complete graph is the answer, or none up to `most`:
    the search takes seconds where thousands of sites need thousands of neighbours.
    """
    for k in range(2, sites - 1 if most is None else min(sites - 1, most + 1), 2):
        left = MAX_RISK - rounds * split(sites, k, corrupt + missing)
        if left < 0:
            continue
        exposed, ways = _at_least(sites - 1, corrupt, k)
        limit = left * ways // (sites - corrupt)
        threshold = next((t for t in range(2, k + 1) if exposed[t] <= limit), None)
        if threshold is None:
            continue
        degree = Degree(k, threshold)
        if risks(sites, degree, corrupt=corrupt, missing=missing, rounds=rounds).allowed:
            return degree
    return None


def split(sites: int, neighbours: int, removed: int) -> Fraction:
    """Bounds the probability that the graph without any `removed` sites, or fewer, is not connected.

    On the ring, two sites that are left and follow each other are neighbours unless k/2 or more were removed
    between them. With one such gap at most, the way around the other side still leads everywhere; so there
    are two, that is, two runs of k/2 places in which all were removed, each behind a site that is left. There
    are n (n - k - 1) / 2 pairs of places where such runs can begin, and k given places are all removed with
    probability m (m-1) ... (m-k+1) / (n (n-1) ... (n-k+1)). The product grows with m, so fewer than
    `removed` are covered.
    """
    n, k, m = sites, neighbours, removed
    pairs = Fraction(n * (n - k - 1), 2)
    return pairs * Fraction(_falling(m, k), _falling(n, k)) if m >= k else Fraction(0)


def _at_least(population: int, marked: int, drawn: int) -> tuple[list[int], int]:
    """In how many ways `drawn` of `population` hold at least x marked ones, for x = 0 .. drawn + 1; and all.

    The k neighbours of a site are a uniform subset of the others, so their marked ones are hypergeometric.
    There are the more of them the more are marked, so fewer marked sites are covered.
    """
    with_mark, without = _binomials(marked), _binomials(population - marked)
    exactly = [
        with_mark[x] * without[drawn - x] if x <= marked and drawn - x <= population - marked else 0
        for x in range(drawn + 1)
    ]
    at_least = list(accumulate(reversed([*exactly, 0])))
    return at_least[::-1], at_least[-1]


@lru_cache(maxsize=8)
def _binomials(row: int) -> tuple[int, ...]:
    """C(row, x) for x from 0 to `row`."""
    return tuple(accumulate(range(1, row + 1), lambda last, x: last * (row - x + 1) // x, initial=1))


def _falling(base: int, length: int) -> int:
    """The product base (base-1) ... (base-length+1)."""
    product = 1
    for factor in range(base, base - length, -1):
        product *= factor
    return product
