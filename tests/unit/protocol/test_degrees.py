# SPDX-License-Identifier: Apache-2.0

"""Neighbours and thresholds of the sparse graph, against counting every case and published figures."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest
from scipy.stats import hypergeom

from sordino.protocol.degrees import ETA, SIGMA, Degree, risks, smallest_degree, split
from sordino.protocol.harary import Graph


def ring(sites: int, neighbours: int) -> Graph:
    return Graph(tuple(f"s{place:02}" for place in range(sites)), neighbours // 2)


def every_choice(graph: Graph, size: int) -> list[frozenset[str]]:
    """Every set of `size` sites: a random ring with a fixed set is a fixed ring with a random set."""
    return [frozenset(names) for names in combinations(graph.ring, size)]


SMALL = [(7, 2), (8, 4), (9, 2), (10, 4), (11, 6), (12, 2), (12, 4)]


@pytest.mark.parametrize(("sites", "neighbours"), SMALL)
def test_the_bound_on_a_cut_covers_what_counting_every_case_gives(sites: int, neighbours: int) -> None:
    graph = ring(sites, neighbours)
    for removed in range(sites - 1):
        choices = every_choice(graph, removed)
        cut = sum(not graph.connected(set(graph.ring) - gone) for gone in choices)
        bound = split(sites, neighbours, removed)
        assert Fraction(cut, len(choices)) <= bound
        assert (bound == 0) == (removed < neighbours)
        assert bound <= split(sites, neighbours, removed + 1), "fewer removed sites are covered"
        if removed == neighbours:
            # Exactly two runs of k/2 then: the union bound counts each case once or not much more often.
            assert bound <= 2 * Fraction(cut, len(choices))


@pytest.mark.parametrize(("sites", "neighbours"), SMALL)
def test_the_risk_to_secrets_is_the_expected_number_of_surrounded_sites(sites: int, neighbours: int) -> None:
    graph = ring(sites, neighbours)
    for corrupt in range(min(neighbours, sites - 2)):
        for threshold in range(1, neighbours + 1):
            surrounded = Fraction(0)
            choices = every_choice(graph, corrupt)
            for bad in choices:
                honest = set(graph.ring) - bad
                surrounded += sum(len(graph.among(site, bad)) >= threshold for site in honest)
            found = risks(sites, Degree(neighbours, threshold), corrupt=corrupt, missing=0, rounds=1)
            assert found.secrecy == surrounded / len(choices)


@pytest.mark.parametrize(("sites", "neighbours"), SMALL)
def test_the_risk_to_sums_covers_every_site_that_is_left_and_every_one_that_is_not(
    sites: int, neighbours: int
) -> None:
    graph = ring(sites, neighbours)
    for missing in range(1, sites - 2):
        choices = every_choice(graph, missing)
        for threshold in range(1, neighbours + 1):
            lost = sum(
                any(len(graph.among(site, set(graph.ring) - gone)) < threshold for site in graph.ring)
                for gone in choices
            )
            found = risks(sites, Degree(neighbours, threshold), corrupt=0, missing=missing, rounds=1)
            assert Fraction(lost, len(choices)) <= found.recovery


@pytest.mark.parametrize(("sites", "corrupt", "missing", "rounds"), [(150, 49, 15, 1), (1000, 333, 100, 10)])
def test_the_risks_are_those_of_the_formula_in_floating_point(
    sites: int, corrupt: int, missing: int, rounds: int
) -> None:
    k, t = degree = smallest_degree(sites, corrupt=corrupt, missing=missing, rounds=rounds)
    found = risks(sites, degree, corrupt=corrupt, missing=missing, rounds=rounds)
    removed = corrupt + missing
    log_cut = sum(math.log((removed - i) / (sites - i)) for i in range(k))
    cut = sites * (sites - k - 1) / 2 * math.exp(log_cut)
    exposed = (sites - corrupt) * hypergeom.sf(t - 1, sites - 1, corrupt, k)
    stranded = sites * hypergeom.sf(k - t, sites - 1, missing, k)
    assert float(found.secrecy) == pytest.approx(exposed + rounds * cut, rel=1e-9)
    assert float(found.recovery) == pytest.approx(stranded, rel=1e-9)
    assert found.allowed


@pytest.mark.parametrize(
    ("sites", "corrupt", "missing", "degree"),
    [
        (10, 3, 3, (8, 4)),
        (10, 3, 0, (4, 4)),
        (100, 45, 45, (92, 46)),
        (100, 33, 33, (68, 34)),
        (100, 5, 33, (28, 6)),
        (100, 33, 5, (34, 29)),
        (1000, 450, 450, (822, 417)),
        (1000, 330, 330, (286, 150)),
        (1000, 50, 330, (72, 24)),
        (1000, 330, 50, (78, 60)),
    ],
)
def test_the_figures_of_the_papers_authors_are_met(
    sites: int, corrupt: int, missing: int, degree: tuple[int, int]
) -> None:
    """The same bounds, sigma and eta, from the tests of google/federated-compute.

    Its fcp/secagg/server/graph_parameter_finder.cc draws from n sites instead of n - 1, halves 2**-sigma
    between two events where we add them up, and counts corrupt sites among those that can be surrounded; so
    large graphs differ by a few neighbours.
    """
    assert (SIGMA, ETA) == (40, 20)
    found = smallest_degree(sites, corrupt=corrupt, missing=missing, rounds=1)
    if sites <= 100:
        assert found == degree
    else:
        for ours, theirs in zip(found, degree, strict=True):
            assert ours == pytest.approx(theirs, rel=0.035)


@pytest.mark.parametrize(
    ("sites", "corrupt", "missing"), [(24, 2, 2), (60, 19, 6), (300, 99, 30), (4096, 1365, 409)]
)
def test_no_smaller_degree_or_threshold_would_do(sites: int, corrupt: int, missing: int) -> None:
    def allowed(neighbours: int, threshold: int) -> bool:
        degree = Degree(neighbours, threshold)
        return risks(sites, degree, corrupt=corrupt, missing=missing, rounds=1).allowed

    k, t = smallest_degree(sites, corrupt=corrupt, missing=missing, rounds=1)
    assert allowed(k, t)
    assert t == 2 or not allowed(k, t - 1)
    assert not any(allowed(k - 2, threshold) for threshold in range(2, k - 1))


def test_more_rounds_need_no_fewer_neighbours_and_too_few_sites_have_no_sparse_graph() -> None:
    one = smallest_degree(1000, corrupt=1, missing=850, rounds=1)
    many = smallest_degree(1000, corrupt=1, missing=850, rounds=1_000_000)
    assert one < many
    assert smallest_degree(5, corrupt=1, missing=2, rounds=1) is None
