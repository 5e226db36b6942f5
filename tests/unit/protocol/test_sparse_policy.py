# SPDX-License-Identifier: Apache-2.0

"""Policies on the sparse graph: planned to be safe, and refused where they are not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from adversarial.toolkit import make_policy, question, sparse_policy
from sordino.errors import PolicyError
from sordino.protocol.policy import Block, Policy, Question, plan_policy


def planned(sites: int = 300, **terms: Any) -> Policy:
    terms.setdefault("consistency", False)
    terms.setdefault("graph", "sparse")
    return plan_policy(study="test", sites=sites, plan=[question()], across_rounds="accept", **terms)


def test_a_third_may_collude_and_a_tenth_be_missing_unless_something_else_is_said() -> None:
    policy = planned()
    assert (policy.colluders, policy.max_dropouts, policy.min_cohort) == (99, 30, 270)
    assert (policy.neighbours, policy.threshold) == (76, 54)
    assert (policy.smallest_cohort, policy.least_neighbours) == (270, 54)
    assert (policy.tolerated(300), policy.tolerated(280), policy.tolerated(269)) == (30, 10, -1)


@pytest.mark.parametrize(
    ("terms", "cohort"),
    [({"max_dropouts": 50}, 250), ({"min_cohort": 250}, 250), ({"min_cohort": 250, "max_dropouts": 9}, 250)],
)
def test_the_degree_is_planned_for_all_that_may_be_missing(terms: dict[str, int], cohort: int) -> None:
    policy = planned(**terms)
    assert policy.min_cohort == cohort
    assert policy.max_dropouts == terms.get("max_dropouts", 50)
    assert (policy.neighbours, policy.threshold) == (planned(max_dropouts=50).neighbours, 63)


def test_the_complete_graph_has_no_term_of_neighbours() -> None:
    policy = make_policy()
    assert (policy.neighbours, policy.least_neighbours) == (0, 0)


def test_neighbours_are_hashed_and_travel() -> None:
    policy = sparse_policy()
    more = replace(policy, neighbours=8)
    assert more.digest != policy.digest
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(more), type=Policy) == more


@pytest.mark.parametrize(
    ("terms", "match"),
    [
        ({"neighbours": 74}, "74 neighbours with threshold 54 do not keep .* the least are 76 with 54"),
        ({"threshold": 53}, "of 300 sites with 99 colluders and 30 missing: the least are 76 with 54"),
        ({"threshold": 60}, "76 neighbours with threshold 60 do not keep"),
        ({"colluders": 101}, "with 101 colluders and 30 missing: the least are 78 with 56"),
        ({"min_cohort": 260}, "with 99 colluders and 40 missing: the least are"),
        ({"colluders": 98, "min_cohort": 100}, "98 colluders and 200 missing: nor do up to 512 of them"),
        ({"neighbours": 75}, "neighbours must be an even number from 2 to 298, or 0 for all, got 75"),
        ({"neighbours": 300}, "neighbours must be an even number from 2 to 298, or 0 for all, got 300"),
        ({"neighbours": -2}, "neighbours must be an even number from 2"),
        ({"neighbours": "76"}, "neighbours must be an integer, got '76'"),
        ({"threshold": 77}, "threshold must be from 2 to 76"),
        ({"threshold": 1}, "threshold must be from 2 to 76"),
        ({"consistency": True, "threshold": 200}, "neighbours must be 0 with the consistency check"),
        (
            {"plan": (Question("sum", (Block("a", 1, 1.0, 1), Block("b", 1, 1.0, 1, "ct"))),)},
            "neighbours must be 0 with lane groups",
        ),
    ],
)
def test_an_unsafe_sparse_policy_is_refused_by_its_fault(terms: dict[str, Any], match: str) -> None:
    with pytest.raises(PolicyError, match=match):
        replace(planned(), **terms)


@pytest.mark.parametrize(
    ("sites", "terms", "match"),
    [
        (300, {"consistency": True}, "the sparse graph .* needs consistency=False"),
        (300, {"graph": "dense"}, "graph must be 'complete' or 'sparse', got 'dense'"),
        (5, {"max_dropouts": 1}, "no sparse graph of 5 sites withstands 1 colluders and 1 missing"),
        (300, {"max_dropouts": 299}, "min_cohort must be from 101 to 300"),
        (300, {"max_dropouts": -1}, "min_cohort must be from 101 to 300"),
        (300, {"colluders": 299}, "colluders must be from 0 to 298"),
        (5000, {}, "sites must be from 3 to 4096"),
        (300, {"rounds": 0}, "rounds must be from 1"),
    ],
)
def test_a_plan_without_a_sparse_graph_says_why(sites: int, terms: dict[str, Any], match: str) -> None:
    with pytest.raises(PolicyError, match=match):
        planned(sites, **terms)


def test_an_absurd_offer_does_not_keep_a_site_busy() -> None:
    started = time.process_time()
    with pytest.raises(PolicyError, match="nor do up to 512"):
        replace(planned(4096), colluders=2000, min_cohort=2100)
    assert time.process_time() - started < 5


def test_the_largest_study_is_planned_in_no_time() -> None:
    policy = planned(4096)
    assert (policy.neighbours, policy.threshold) == (120, 84)


def test_the_table_of_degrees_in_the_docs_is_what_is_planned() -> None:
    page = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text("utf-8")
    table = page.split("| sites | corrupt | missing | neighbours | threshold |\n")[1].split("\n\n")[0]
    rows = [[int(cell) for cell in line.strip("| ").split("|")] for line in table.splitlines()[1:]]
    assert len(rows) == 5
    for sites, corrupt, missing, neighbours, threshold in rows:
        policy = planned(sites, colluders=corrupt, max_dropouts=missing)
        assert (policy.neighbours, policy.threshold) == (neighbours, threshold)
