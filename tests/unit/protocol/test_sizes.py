# SPDX-License-Identifier: Apache-2.0

"""The bytes of a round, foretold, against those that a real round moves."""

from __future__ import annotations

import numpy as np
import pytest

from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.protocol.policy import Block, Question, plan_policy
from sordino.protocol.sizes import round_bytes

QUESTION = Question("sum", (Block("values", 257, 1.0, 16),), max_weight=9)
BODY = b"some model"


def summed(sites, dropped=0, **terms):
    names = tuple(f"site-{number:03d}" for number in range(sites))
    policy = plan_policy(study="sizes", sites=sites, plan=[QUESTION], across_rounds="accept", **terms)
    given = dict.fromkeys(names, lambda _: Contribution({"values": np.ones(257)}, 3))
    lose = dict.fromkeys(names[len(names) - dropped :], "upload")
    with MaskedAggregator(policy, names) as aggregator:
        return policy, names, aggregator.aggregate("sum", BODY, given, lose=lose)


@pytest.mark.parametrize(
    ("sites", "dropped", "terms"),
    [
        (3, 0, {}),
        (7, 0, {"chain": True}),
        (7, 1, {"chain": True}),
        (7, 2, {"chain": True}),
        (5, 1, {}),
        (5, 1, {"consistency": False}),
        (20, 0, {"chain": True}),
    ],
)
def test_bytes_of_a_round_are_foretold(sites, dropped, terms):
    policy, names, total = summed(sites, dropped, **terms)
    size = round_bytes(policy, QUESTION, names, dropped=dropped)
    for name in total.survivors:
        moved = total.traffic[name]
        # A round number below 128 is as long as any here; names are of one length.
        assert moved.sent == size.sent
        assert moved.received - len(BODY) == size.received
    assert size.payload == (QUESTION.lanes * policy.bits + 7) // 8


def test_bytes_on_the_sparse_graph_are_an_upper_bound_within_a_hundredth():
    terms = {"graph": "sparse", "consistency": False, "colluders": 2, "max_dropouts": 2}
    policy, names, total = summed(120, **terms)
    size = round_bytes(policy, QUESTION, names)
    assert policy.neighbours < 100
    for moved in total.traffic.values():
        assert 0.99 * size.sent <= moved.sent <= size.sent


def test_longer_names_make_larger_rounds():
    policy, names, _ = summed(3)
    longer = [f"{name}-of-the-north" for name in names]
    assert round_bytes(policy, QUESTION, longer).sent > round_bytes(policy, QUESTION, names).sent
