# SPDX-License-Identifier: Apache-2.0

"""`sordino.secure_sum`: exact sums, whoever is lost, and errors that name the argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sordino
from sordino.errors import InvalidArgument, LocalError, PolicyError, RoundAborted, ValueOutOfRange
from sordino.protocol.policy import Block, Question, plan_policy

NAMES = ("alder", "birch", "cedar", "elm", "hazel")


def vectors(shape: tuple[int, ...] = (4,), dtype: Any = np.float64) -> dict[str, NDArray[Any]]:
    """Multiples of 1/8 from -2 to 2, so that sums of them are exact."""
    generator = np.random.default_rng(5)
    return {name: (generator.integers(-16, 17, shape) / 8).astype(dtype) for name in NAMES}


def plain(values: Mapping[str, NDArray[Any]], *lost: str) -> NDArray[Any]:
    return sum(value for name, value in values.items() if name not in lost)


def vector_policy(length: int = 4, sites: int = 5, **terms: Any) -> sordino.Policy:
    question = Question("sum", (Block("vector", length, 2.0, 3),), max_weight=terms.pop("max_weight", 1))
    return plan_policy(study="own", sites=sites, plan=[question], across_rounds="accept", **terms)


# Sums -----------------------------------------------------------------------------------------------------


def test_sum_mean_and_integers_are_exact() -> None:
    values = vectors()
    outcome = sordino.secure_sum(values)
    assert outcome.total.tolist() == plain(values).tolist()
    assert outcome.mean.tolist() == (plain(values) / 5).tolist()
    assert outcome.integers.tolist() == (plain(values) * 2**24).astype(np.int64).tolist()
    assert (outcome.weight, outcome.survivors, dict(outcome.dropped), outcome.vanished) == (5, NAMES, {}, ())
    assert (outcome.total.dtype, outcome.integers.dtype) == (np.float64, np.int64)


def test_weights_multiply_values_and_divide_the_mean() -> None:
    values, weights = vectors(), {name: 3 * place + 1 for place, name in enumerate(NAMES)}
    outcome = sordino.secure_sum(values, weights=weights)
    total = sum(weights[name] * value for name, value in values.items())
    assert outcome.weight == sum(weights.values())
    assert outcome.total.tolist() == total.tolist()
    assert outcome.mean.tolist() == (total / sum(weights.values())).tolist()


def test_the_weights_of_lost_sites_are_not_in_the_mean() -> None:
    values, weights = vectors(), {name: place + 1 for place, name in enumerate(NAMES)}
    outcome = sordino.secure_sum(values, weights=weights, lose={"hazel": "upload"})
    assert outcome.weight == 1 + 2 + 3 + 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int64, np.uint16])
def test_every_real_type_is_summed_as_numbers(dtype: type) -> None:
    values = {name: np.arange(4, dtype=dtype) + place for place, name in enumerate(NAMES)}
    assert {value.dtype for value in values.values()} == {np.dtype(dtype)}
    assert sordino.secure_sum(values).total.tolist() == [10.0, 15.0, 20.0, 25.0]


@pytest.mark.parametrize("shape", [(1,), (3, 2), (2, 1, 3), ()])
def test_the_sum_has_the_vectors_shape(shape: tuple[int, ...]) -> None:
    values = vectors(shape)
    outcome = sordino.secure_sum(values)
    assert outcome.total.shape == outcome.integers.shape == outcome.mean.shape == shape
    assert outcome.total.tolist() == plain(values).tolist()


def test_lists_name_the_sites_by_place() -> None:
    assert sordino.secure_sum([[1, 2], [3, 4], [5, 6]]).survivors == ("site0", "site1", "site2")
    eleven = sordino.secure_sum([[1.0]] * 11)
    assert eleven.survivors[:2] + eleven.survivors[-1:] == ("site00", "site01", "site10")
    rows = sordino.secure_sum(np.ones((3, 2)))
    assert rows.total.tolist() == [3.0, 3.0]


def test_an_outcome_is_an_array() -> None:
    values = vectors()
    outcome = sordino.secure_sum(values)
    array = np.asarray(outcome)
    assert array.tolist() == plain(values).tolist()
    assert np.asarray(outcome, dtype=np.float32).dtype == np.float32
    array[:] = 0
    assert outcome.total.tolist() == plain(values).tolist(), "a copy unless a view is asked for"
    assert (np.add(outcome, 1) == plain(values) + 1).all()


def test_the_clip_covers_the_largest_value_in_a_power_of_two() -> None:
    for largest, clip in ((3.0, 4.0), (4.0, 4.0), (0.3, 0.5), (0.0, 1.0)):
        outcome = sordino.secure_sum([[largest], [0.0], [-largest]])
        assert outcome.policy.plan[0].blocks[0].clip == clip


def test_the_resolution_is_that_of_the_fraction_bits() -> None:
    outcome = sordino.secure_sum([[0.3], [0.3], [0.3]], fraction_bits=2)
    assert (outcome.integers.tolist(), outcome.total.tolist()) == ([3], [0.75])


def test_traffic_is_told_for_every_participant() -> None:
    outcome = sordino.secure_sum(vectors())
    assert set(outcome.traffic) == set(NAMES)
    assert all(traffic.sent > 0 and traffic.received > 0 for traffic in outcome.traffic.values())


# Losing sites ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["advertise", "seal", "receipt", "upload"])
def test_a_site_lost_before_its_upload_is_dropped(step: Any) -> None:
    values = vectors()
    outcome = sordino.secure_sum(values, lose={"cedar": step})
    assert dict(outcome.dropped) == {"cedar": step}
    assert outcome.survivors == ("alder", "birch", "elm", "hazel")
    assert outcome.vanished == ()
    assert outcome.total.tolist() == plain(values, "cedar").tolist()


@pytest.mark.parametrize("step", ["confirm", "unmask"])
def test_a_site_lost_after_its_upload_is_in_the_sum(step: Any) -> None:
    values = vectors()
    outcome = sordino.secure_sum(values, lose={"cedar": step})
    assert (outcome.survivors, dict(outcome.dropped), outcome.vanished) == (NAMES, {}, ("cedar",))
    assert outcome.total.tolist() == plain(values).tolist()


def test_a_site_lost_at_the_last_step_has_given_all() -> None:
    outcome = sordino.secure_sum(vectors(), lose={"cedar": "recover"})
    assert (outcome.survivors, outcome.vanished) == (NAMES, ())


@pytest.mark.parametrize("step", ["advertise", "seal", "receipt", "upload", "confirm", "unmask"])
def test_too_many_lost_sites_leave_no_sum(step: Any) -> None:
    with pytest.raises(RoundAborted):
        sordino.secure_sum(vectors(), lose=dict.fromkeys(("alder", "birch", "elm"), step))


# Arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "vectors must hold at least three sites, got none"),
        ([], "vectors must hold at least three sites, got none"),
        ([[1.0], [2.0]], "sites must be from 3 to"),
        ([[1.0], [2.0], [3.0, 4.0]], "all vectors must have one shape"),
        ([[], [], []], "the vectors are empty"),
        ([["a"], ["b"], ["c"]], "the vector of site 'site0' must hold real numbers, got <U1"),
        ([[1j], [2j], [3j]], "must hold real numbers, got complex128"),
        ([[True], [False], [True]], "must hold real numbers, got bool"),
        ([[None], [None], [None]], "must hold real numbers, got object"),
        ([[1.0], [2.0], [2**53 + 1]], "the integers of site 'site2' go beyond"),
        ({"a": [1.0], "b": [2.0], "c d": [3.0]}, "a name has 1 to 64 letters"),
    ],
)
def test_unusable_vectors_are_told(given: Any, match: str) -> None:
    with pytest.raises((InvalidArgument, PolicyError), match=match):
        sordino.secure_sum(given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_out_of_range(value: float) -> None:
    values = vectors()
    values["elm"][2] = value
    with pytest.raises(ValueOutOfRange, match="block 'vector'"):
        sordino.secure_sum(values)


def test_values_beyond_a_given_clip_are_refused() -> None:
    assert sordino.secure_sum([[2.0], [1.0], [1.0]], clip=2.0).total.tolist() == [4.0]
    with pytest.raises(ValueOutOfRange, match="block 'vector'"):
        sordino.secure_sum([[2.5], [1.0], [1.0]], clip=2.0)


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        ({"alder": 1}, InvalidArgument, "weights must name the sites"),
        (dict.fromkeys((*NAMES, "oak"), 1), InvalidArgument, "weights must name the sites"),
        (dict.fromkeys(NAMES, 1.5), LocalError, "weight must be an integer, got 1.5"),
        (dict.fromkeys(NAMES, "two"), LocalError, "weight must be an integer, got 'two'"),
        ({**dict.fromkeys(NAMES, 3), "elm": 1.5}, LocalError, "weight of group 'all' must be an integer"),
        ({**dict.fromkeys(NAMES, 3), "elm": 0}, ValueOutOfRange, "weight of group 'all' must be from 1 to 3"),
        ({**dict.fromkeys(NAMES, 3), "elm": -3}, ValueOutOfRange, "weight of group 'all' must be from 1"),
    ],
)
def test_unusable_weights_are_told(weights: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        sordino.secure_sum(vectors(), weights=weights)


@pytest.mark.parametrize(
    ("lose", "match"),
    [
        ({"oak": "upload"}, r"lose names sites that have no vector: \['oak'\]"),
        ({"elm": "lunch"}, r"lose knows the steps \['advertise', .*, got \['lunch'\]"),
    ],
)
def test_an_unknown_loss_is_told(lose: Any, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        sordino.secure_sum(vectors(), lose=lose)


@pytest.mark.parametrize(
    ("argument", "value", "match"),
    [
        ("clip", 0.0, "clip must be a positive number"),
        ("clip", -2.0, "clip must be a positive number"),
        ("clip", float("nan"), "clip must be a positive number"),
        ("clip", "two", "clip must be a number"),
        ("fraction_bits", -1, "fraction_bits must be from 0"),
        ("fraction_bits", 61, "fraction_bits must be from 0"),
        ("fraction_bits", 2.5, "fraction_bits must be an integer"),
        ("fraction_bits", "8", "fraction_bits must be an integer"),
    ],
)
def test_an_unusable_number_is_told_by_its_name(argument: str, value: Any, match: str) -> None:
    with pytest.raises(PolicyError, match=match):
        sordino.secure_sum(vectors(), **{argument: value})


def test_sums_that_would_not_fit_the_lanes_are_refused() -> None:
    assert sordino.secure_sum(vectors(), clip=2.0**36).policy.bits == 64
    with pytest.raises(PolicyError, match="bits must be from 2 to 64, got 65"):
        sordino.secure_sum(vectors(), clip=2.0**37)


# Policies -------------------------------------------------------------------------------------------------


def test_a_given_policy_is_the_one_that_counts() -> None:
    policy = vector_policy(max_weight=9, max_dropouts=0)
    outcome = sordino.secure_sum(vectors(), policy=policy, weights=dict.fromkeys(NAMES, 9))
    assert outcome.policy is policy
    assert outcome.integers.tolist() == (9 * 8 * plain(vectors())).tolist()
    with pytest.raises(RoundAborted, match="0 are tolerated"):
        sordino.secure_sum(vectors(), policy=policy, lose={"elm": "upload"})


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        (vector_policy(sites=6), "sites must be 6 distinct names"),
        (vector_policy(length=5), r"block 'vector' must have shape \(5,\)"),
        (
            plan_policy(
                study="s", sites=5, plan=[Question("sum", (Block("x", 4, 2.0, 3),))], across_rounds="accept"
            ),
            "lacks the blocks",
        ),
        (
            plan_policy(
                study="s",
                sites=5,
                plan=[Question("x", (Block("vector", 4, 2.0, 3),))],
                across_rounds="accept",
            ),
            "the plan has no question 'sum'",
        ),
    ],
)
def test_a_policy_of_something_else_is_told(policy: sordino.Policy, match: str) -> None:
    with pytest.raises((InvalidArgument, PolicyError), match=match):
        sordino.secure_sum(vectors(), policy=policy)


def test_the_default_policy_is_the_one_that_is_taken() -> None:
    values, weights = vectors((3, 2)), dict.fromkeys(NAMES, 7)
    policy = sordino.default_policy(values, weights=weights, fraction_bits=10)
    assert policy == sordino.secure_sum(values, weights=weights, fraction_bits=10).policy
    (block,) = policy.plan[0].blocks
    assert (block.name, block.length, block.clip, block.fraction_bits) == ("vector", 6, 2.0, 10)
    assert (policy.sites, policy.rounds, policy.across_rounds) == (5, 1, "freeze")
    assert (policy.plan[0].kind, policy.plan[0].max_weight) == ("sum", 7)


def test_the_default_policy_takes_the_terms_of_a_plan() -> None:
    policy = sordino.default_policy(vectors(), clip=8, across_rounds="accept", rounds=3, colluders=0)
    assert (policy.across_rounds, policy.rounds, policy.colluders) == ("accept", 3, 0)
    assert policy.plan[0].blocks[0].clip == 8.0
    with pytest.raises(TypeError, match="colour"):
        sordino.default_policy(vectors(), colour="red")
    with pytest.raises(PolicyError, match="threshold 3 is too small"):
        sordino.default_policy(vectors(), threshold=3)
