# SPDX-License-Identifier: Apache-2.0

"""Who masks with whom: a Harary graph on a ring of sites, of which the complete graph is the widest.

The sites of the roster stand on a ring, and each is the neighbour of the `reach` sites on either side. In a
sparse session the order on the ring is drawn from the session's hash, which covers all advertisements; in a
complete one it does not matter. Absent sites keep their places: to the bounds of `degrees` they are missing.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import count

from msgspec import Struct

from sordino.protocol.encoding import DigestOfMany

_WORDS = struct.Struct(">8I")
_WORD_VALUES = 2**32


class Graph(Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """A graph over the sites of the roster.

    ring     every site of the roster, once
    reach    how many sites on either side of it are a site's neighbours
    """

    ring: tuple[str, ...]
    reach: int

    @cached_property
    def _places(self) -> dict[str, int]:
        return {site: place for place, site in enumerate(self.ring)}

    @cached_property
    def _neighbours(self) -> dict[str, tuple[str, ...]]:
        return {}

    def neighbours(self, site: str) -> tuple[str, ...]:
        """The neighbours of a site of the roster, sorted."""
        known = self._neighbours.get(site)
        if known is None:
            place, size = self._places[site], len(self.ring)
            steps = range(1, self.reach + 1)
            around = {self.ring[(place + step) % size] for step in steps}
            around |= {self.ring[place - step] for step in steps}
            known = self._neighbours[site] = tuple(sorted(around - {site}))
        return known

    def among(self, site: str, names: Collection[str]) -> tuple[str, ...]:
        """The neighbours of a site that are among `names`, sorted."""
        present = frozenset(names)
        return tuple(peer for peer in self.neighbours(site) if peer in present)

    def pairs(self, names: Collection[str]) -> Iterator[tuple[str, str]]:
        """Every pair of neighbours among `names`, the earlier site first."""
        present = frozenset(names)
        for site in sorted(present):
            for peer in self.neighbours(site):
                if site < peer and peer in present:
                    yield site, peer

    def connected(self, names: Collection[str]) -> bool:
        """Whether the neighbours' neighbours' ... neighbours of any of `names`, among them, are all of them.

        Sites that follow each other on the ring are neighbours unless they are more than `reach` apart. One
        such gap leaves the way around the other side. Two cut the ring into arcs that no edge joins.
        """
        places = sorted(self._places[name] for name in set(names))
        around = zip(places, [*places[1:], places[0] + len(self.ring)], strict=True) if places else ()
        return sum(after - before > self.reach for before, after in around) <= 1


@lru_cache(maxsize=8)
def session_graph(names: tuple[str, ...], neighbours: int, session: bytes) -> Graph:
    """The graph of a session over the roster's names, sorted; the complete one for 0 neighbours.

    Drawn once in a process that plays many sites: nothing in it is secret.
    """
    if not neighbours:
        return Graph(names, len(names) // 2)
    return Graph(shuffled(names, session), neighbours // 2)


def shuffled(names: Sequence[str], session: bytes) -> tuple[str, ...]:
    """The names in an order drawn from the session's hash, every order alike.

    Durstenfeld's version of the Fisher-Yates shuffle (Algorithm P of Knuth's TAOCP 3.4.2), fed by SHA-256 in
    counter mode.
    """
    ring, words = list(names), _words(session)
    for last in range(len(ring) - 1, 0, -1):
        chosen = _below(last + 1, words)
        ring[last], ring[chosen] = ring[chosen], ring[last]
    return tuple(ring)


def _words(session: bytes) -> Iterator[int]:
    block = DigestOfMany("harary ring", session, rest=1)
    for counter in count():
        yield from _WORDS.unpack(block(counter))


def _below(bound: int, words: Iterator[int]) -> int:
    """A number below `bound`, every one alike: words beyond the last multiple of `bound` are passed over."""
    limit = _WORD_VALUES - _WORD_VALUES % bound
    return next(word for word in words if word < limit) % bound


def thin_neighbourhood(graph: Graph, names: Collection[str], least: int) -> str | None:
    """Why these sites may not be summed on this graph, or None if they may.

    least    neighbours that each of them must have among them
    """
    if not graph.connected(names):
        return f"the {len(names)} sites fall into parts that share no mask"
    present = frozenset(names)
    for site in sorted(present):
        if (have := len(graph.among(site, present))) < least:
            return f"site {site!r} has {have} neighbours, at least {least} are needed"
    return None
