# SPDX-License-Identifier: Apache-2.0

"""The graph of a session: regular, connected where it says so, and drawn from the session's hash alone."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adversarial.toolkit import site_names
from sordino.protocol import harary
from sordino.protocol.encoding import digest, encode
from sordino.protocol.harary import Graph, session_graph, shuffled, thin_neighbourhood

SESSION = digest("test")


def sparse(sites: int, neighbours: int, session: bytes = SESSION) -> Graph:
    return session_graph(site_names(sites), neighbours, session)


def reached(graph: Graph, names: set[str]) -> set[str]:
    """What can be reached from the first of `names` within them, edge by edge."""
    seen: set[str] = set()
    stack = sorted(names)[:1]
    while stack:
        site = stack.pop()
        if site not in seen:
            seen.add(site)
            stack += [peer for peer in graph.neighbours(site) if peer in names]
    return seen


# Shape ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sites", "neighbours"), [(5, 2), (6, 2), (6, 4), (9, 6), (24, 4), (24, 22), (151, 22), (151, 148)]
)
def test_every_site_has_as_many_neighbours_as_planned_and_is_theirs(sites: int, neighbours: int) -> None:
    graph = sparse(sites, neighbours)
    for site in graph.ring:
        peers = graph.neighbours(site)
        assert len(set(peers)) == neighbours
        assert list(peers) == sorted(peers)
        assert site not in peers
        assert all(site in graph.neighbours(peer) for peer in peers)
    assert graph.connected(graph.ring)
    assert len(list(graph.pairs(graph.ring))) == sites * neighbours // 2


@pytest.mark.parametrize("sites", [3, 4, 5, 24, 101])
def test_the_complete_graph_has_everyone_with_everyone(sites: int) -> None:
    names = tuple(sorted(site_names(sites)))
    graph = session_graph(names, 0, SESSION)
    for site in names:
        assert graph.neighbours(site) == tuple(name for name in names if name != site)
    for size in range(sites):
        assert graph.connected(names[:size])
        assert thin_neighbourhood(graph, names[:size], 0) is None


def test_neighbours_are_the_sites_on_either_side_of_the_ring() -> None:
    graph = Graph(tuple("hcadgbfe"), 2)
    assert graph.neighbours("h") == tuple("acef")
    assert graph.neighbours("e") == tuple("bcfh")
    assert graph.among("h", "abcd") == ("a", "c")
    assert set(graph.pairs("hcad")) == {("c", "h"), ("a", "h"), ("a", "c"), ("c", "d"), ("a", "d")}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(5, 40), st.data())
def test_survivors_are_connected_exactly_where_edges_lead_to_all(sites: int, data: st.DataObject) -> None:
    neighbours = 2 * data.draw(st.integers(1, (sites - 2) // 2))
    graph = sparse(sites, neighbours)
    # Runs of the ring that are removed, since single sites seldom disconnect anything.
    removed: set[str] = set()
    for start, length in data.draw(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 12)), max_size=4)):
        removed |= {graph.ring[(start + step) % sites] for step in range(length)}
    left = set(graph.ring) - removed
    assert graph.connected(left) == (reached(graph, left) == left)


def test_two_gaps_cut_the_ring_and_one_does_not() -> None:
    names = site_names(12)
    graph = Graph(names, 2)
    assert graph.connected(set(names) - {names[1], names[2]})
    assert not graph.connected(set(names) - {names[1], names[2], names[6], names[7]})
    assert graph.connected(set(names) - {names[1], names[2], names[6]})
    fault = thin_neighbourhood(graph, set(names) - {names[1], names[2], names[6], names[7]}, 0)
    assert fault == "the 8 sites fall into parts that share no mask"


def test_a_site_with_too_few_neighbours_is_named() -> None:
    names = site_names(12)
    graph = Graph(names, 2)
    left = set(names) - {names[4], names[5]}
    assert thin_neighbourhood(graph, left, 2) is None
    assert thin_neighbourhood(graph, left, 3) == "site 'site03' has 2 neighbours, at least 3 are needed"


# Order ----------------------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_shuffle_written_out() -> None:
    """Backwards through the list, numbers from SHA-256 over a counter, none of the uneven last run."""
    names = site_names(40)
    words: list[int] = []
    for counter in range(16):
        block = hashlib.sha256(encode("harary ring", SESSION, counter)).digest()
        words += struct.unpack(">8I", block)
    ring, used = list(names), iter(words)
    for last in reversed(range(1, len(ring))):
        word = next(used)
        while word // (last + 1) == 2**32 // (last + 1):
            word = next(used)
        ring[last], ring[word % (last + 1)] = ring[word % (last + 1)], ring[last]
    assert shuffled(names, SESSION) == tuple(ring)


def test_words_of_the_uneven_last_run_are_passed_over() -> None:
    words = iter([2**32 - 1, 5, 7])
    assert harary._below(3, words) == 2, "2**32 - 1 is a multiple of 3, so the last run has one word"
    assert list(words) == [7]
    assert harary._below(2, iter([2**32 - 1])) == 1, "2 divides 2**32: there is no uneven run"


def test_every_order_is_as_likely_as_any_other() -> None:
    names = site_names(4)
    draws = 4800
    found = Counter(shuffled(names, digest("test", place)) for place in range(draws))
    assert set(found) == set(permutations(names))
    expected = draws / 24
    # Chi-square with 23 degrees of freedom: above 60 with probability 4e-5, and the draws are fixed.
    assert sum((seen - expected) ** 2 / expected for seen in found.values()) < 60


def test_the_order_depends_on_the_whole_session_hash() -> None:
    names = site_names(30)
    orders = {shuffled(names, SESSION)}
    for byte in range(32):
        flipped = bytearray(SESSION)
        flipped[byte] ^= 1
        orders.add(shuffled(names, bytes(flipped)))
    assert len(orders) == 33
