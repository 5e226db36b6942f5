# SPDX-License-Identifier: Apache-2.0

"""Policies, questions, blocks and floors as values: what they normalise, what they refuse, what they hash."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, make_policy
from sordino.errors import PolicyError
from sordino.protocol.policy import (
    MAX_BLOCKS,
    MAX_GROUPS,
    MAX_QUESTIONS,
    Block,
    Policy,
    Question,
    plan_policy,
    required_bits,
)


def planned(*blocks: Block, **terms: Any) -> Policy:
    terms.setdefault("across_rounds", "accept")
    return plan_policy(study="test", sites=terms.pop("sites", 5), plan=[Question("sum", blocks)], **terms)


def travelled(policy: Policy) -> Policy:
    """The policy as a site reads it from the wire."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(policy), type=Policy)


PLAIN = planned(Block("v", 3, 4.0, 4))


@pytest.mark.parametrize(
    "block",
    [
        Block("v", 3, 4, 4),
        Block("v", np.int64(3), np.float32(4), np.uint8(4)),
        Block("v", np.int32(3), np.int16(4), np.int64(4)),
    ],
)
def test_numbers_of_any_type_make_the_same_policy(block: Block) -> None:
    policy = planned(block)
    assert policy == PLAIN
    assert policy.digest == PLAIN.digest
    assert [type(value) for value in (block.length, block.clip, block.fraction_bits)] == [int, float, int]
    assert (travelled(policy), travelled(policy).digest) == (PLAIN, PLAIN.digest)


def test_terms_of_any_integer_type_make_the_same_policy() -> None:
    terms = {"rounds": 9, "colluders": 1, "threshold": 4, "min_cohort": 4, "max_dropouts": 1, "bits": 20}
    given = {name: np.int64(value) for name, value in terms.items()}
    policy = planned(Block("v", 3, 4, 4), sites=np.uint8(5), **given)
    assert policy.digest == planned(Block("v", 3, 4.0, 4), **terms).digest
    assert all(type(getattr(policy, name)) is int for name in (*terms, "sites"))
    assert travelled(policy).digest == policy.digest


def test_sequences_of_any_type_make_the_same_policy() -> None:
    question = Question("sum", [Block("v", 3, 4.0, 4)], max_weight=np.int64(1))
    policy = plan_policy(study="test", sites=5, plan=[question], across_rounds="accept")
    assert (policy.digest, policy) == (PLAIN.digest, PLAIN)
    assert replace(PLAIN, plan=list(PLAIN.plan)).digest == PLAIN.digest


def test_truth_values_of_any_type_make_the_same_policy() -> None:
    question = Question("sum", (Block("v", 3, 4.0, 4),), saturate=np.True_)
    policy = plan_policy(
        study="test", sites=5, plan=[question], across_rounds="accept", chain=1, consistency=np.True_
    )
    same = replace(PLAIN, plan=(replace(PLAIN.plan[0], saturate=True),), chain=True)
    assert policy.digest == same.digest
    assert travelled(policy).digest == same.digest


@pytest.mark.parametrize("block", [Block("vector", 6, 100, 0), Block("vector", np.int64(6), np.int8(100), 0)])
def test_a_policy_with_numbers_of_any_type_goes_through_a_whole_round(block: Block) -> None:
    study = Study(make_policy(plan=[Question("sum", (block,))])).set_up()
    assert study.coordinator.faults == ()
    study.vectors = {name: lanes % 100 for name, lanes in study.vectors.items()}
    assert study.round().survivors == study.names


@pytest.mark.parametrize("wrong", [3.0, "3", None, 2.5, np.float64(3), b"3", (3,)])
@pytest.mark.parametrize("field", ["length", "fraction_bits"])
def test_a_blocks_integers_are_integers(field: str, wrong: object) -> None:
    with pytest.raises(PolicyError, match=f"^{field} must be an integer, got"):
        Block(**{"name": "v", "length": 3, "clip": 4.0, "fraction_bits": 4, field: wrong})


@pytest.mark.parametrize("wrong", ["four", None, 1j, [4.0], 10**400, b"x"])
def test_a_clip_is_a_number(wrong: object) -> None:
    with pytest.raises(PolicyError, match="^clip must be a number, got"):
        Block("v", 3, wrong, 4)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), 2.0**63])
def test_a_clip_is_positive_and_fits(wrong: float) -> None:
    with pytest.raises(PolicyError, match="block 'v': clip"):
        planned(Block("v", 3, wrong, 4))


@pytest.mark.parametrize("wrong", [1.0, "1", None])
def test_a_largest_weight_is_an_integer(wrong: object) -> None:
    with pytest.raises(PolicyError, match="^max_weight must be an integer, got"):
        Question("sum", (Block("v", 3, 4.0, 4),), max_weight=wrong)


@pytest.mark.parametrize("wrong", [2.0, "2", None])
@pytest.mark.parametrize(
    "field", ["sites", "min_cohort", "threshold", "colluders", "bits", "rounds", "max_dropouts"]
)
def test_a_policys_integers_are_integers(field: str, wrong: object) -> None:
    with pytest.raises(PolicyError, match=f"^{field} must be an integer, got"):
        replace(PLAIN, **{field: wrong})


@pytest.mark.parametrize(
    ("blocks", "match"),
    [
        ([Block("v", 0, 4.0, 4)], "length must be from 1"),
        ([Block("v", -1, 4.0, 4)], "length must be from 1"),
        ([Block("v", 3, 4.0, -1)], "fraction_bits must be from 0"),
        ([Block("v", 3, 4.0, 61)], "fraction_bits must be from 0"),
        ([Block("v", 3, 2.0**-30, 4)], "clip in grid units must be from 1"),
        ([Block("v", 3, 4.0, 4), Block("v", 3, 4.0, 4)], "two blocks of one name"),
        ([], "has no block"),
        ([Block("", 3, 4.0, 4)], "a name has 1 to 64"),
        ([Block("v", 3, 4.0, 4, "a b")], "a name has 1 to 64"),
        ([Block("v" * 65, 3, 4.0, 4)], "a name has 1 to 64"),
    ],
)
def test_an_impossible_plan_is_refused_by_its_fault(blocks: list[Block], match: str) -> None:
    with pytest.raises(PolicyError, match=match):
        planned(*blocks)


@pytest.mark.parametrize(
    ("terms", "match"),
    [
        ({"threshold": 3}, "threshold 3 is too small for 5 sites and 1 colluders"),
        ({"colluders": 4}, "colluders must be from 0 to 3"),
        ({"threshold": 6}, "threshold must be from 2 to 5"),
        (
            {"consistency": False, "colluders": 2, "min_cohort": 4, "threshold": 2},
            "threshold must be from 3 to 5",
        ),
        ({"min_cohort": 2}, "min_cohort must be from 3 to 5"),
        ({"rounds": 0}, "rounds must be from 1"),
        ({"max_dropouts": -1}, "max_dropouts must be from 0"),
        ({"bits": 65}, "bits must be from 2 to 64"),
        ({"bits": 5}, "bits 5 cannot hold the sum of 5 sites"),
        ({"study": "a/b"}, "a name has 1 to 64"),
        (
            {"across_rounds": "thaw"},
            r"across_rounds must be one of \['freeze', 'accept', 'noise'\], got 'thaw'",
        ),
        ({"schema": "text"}, "schema must be at most 32 bytes"),
        ({"schema": bytes(33)}, "schema must be at most 32 bytes"),
        ({"chain": 2}, "chain must be true or false, got 2"),
        ({"consistency": "yes"}, "consistency must be true or false, got 'yes'"),
        ({"plan": ()}, "questions of the plan must be from 1"),
    ],
)
def test_terms_that_contradict_each_other_are_named(terms: dict[str, Any], match: str) -> None:
    with pytest.raises(PolicyError, match=match):
        replace(PLAIN, **terms)


def test_a_plan_holds_no_more_than_a_message_does() -> None:
    """Otherwise every site would refuse the offer as malformed, and nobody would know why."""
    blocks = tuple(Block(f"b{place}", 1, 4.0, 4) for place in range(MAX_BLOCKS))
    travelled(planned(*blocks))
    with pytest.raises(PolicyError, match=f"blocks must be from 1 to {MAX_BLOCKS}"):
        planned(*blocks, Block("more", 1, 4.0, 4))
    plan = tuple(replace(PLAIN.plan[0], kind=f"q{place}") for place in range(MAX_QUESTIONS))
    travelled(replace(PLAIN, plan=plan))
    with pytest.raises(PolicyError, match=f"questions of the plan must be from 1 to {MAX_QUESTIONS}"):
        replace(PLAIN, plan=(*plan, PLAIN.plan[0]))


def test_two_questions_of_one_kind_are_refused() -> None:
    question = PLAIN.plan[0]
    with pytest.raises(PolicyError, match="one kind"):
        replace(PLAIN, plan=(question, question))


def in_groups(first: int, last: int, kind: str) -> Question:
    return Question(kind, tuple(Block(f"b{n}", 1, 1.0, 1, f"g{n:02}") for n in range(first, last)))


@pytest.mark.parametrize("split", [0, 8])
def test_lane_groups_are_counted_over_the_whole_plan(split: int) -> None:
    """A site advertises all of them at once, and a message holds no more than that."""

    def policy(groups: int) -> Policy:
        plan = [
            in_groups(*span, f"q{span[0]}") for span in ((0, split), (split, groups)) if span[1] > span[0]
        ]
        return plan_policy(study="test", sites=5, plan=plan, across_rounds="accept")

    assert len({g for question in policy(MAX_GROUPS).plan for g in question.groups}) == MAX_GROUPS
    with pytest.raises(PolicyError, match=f"has {MAX_GROUPS + 1} lane groups, at most {MAX_GROUPS}"):
        policy(MAX_GROUPS + 1)


def test_a_group_of_several_questions_counts_once() -> None:
    plan = [in_groups(0, 10, "one"), in_groups(0, 10, "two")]
    plan_policy(study="test", sites=5, plan=plan, across_rounds="accept")


def test_the_fewest_bits_hold_the_largest_sum_and_its_sign() -> None:
    for clip, weight, sites in ((1.0, 1, 3), (4.0, 7, 5), (127.0, 1000, 31)):
        question = Question("sum", (Block("v", 1, clip, 3),), max_weight=weight)
        bits = required_bits([question], sites)
        peak = sites * weight * int(clip * 8)
        assert 2 ** (bits - 2) <= peak < 2 ** (bits - 1)
