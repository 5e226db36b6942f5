# SPDX-License-Identifier: Apache-2.0

"""Named arrays become lanes, and what does not fit the question is named."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from sordino.adapters.named import (
    Sent,
    check_model,
    contribution_of,
    pack_sent,
    plan_question,
    unpack_sent,
)
from sordino.errors import InvalidArgument, MalformedMessage
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.policy import EVERYONE, Question

MODEL = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "own": np.full(2, 0.5),
    "bias": np.array(1.0, np.float32),
}
CHANGE = {"weights": np.full((2, 3), 0.25, np.float32), "own": np.array([1.0, -1.0]), "bias": np.float32(2)}


def question(unit: str = "") -> Question:
    plain = plan_question(
        "train", MODEL, sites=6, max_weight=10, clip=8.0, clips={"own": 2.0}, metrics={"loss": 4.0}
    )
    if not unit:
        return plain
    return plan_with_noise([plain], unit, {"train": 1.0}, study="s", sites=6, rounds=9).question("train")


def given(**changed: Any) -> dict[str, Any]:
    return {name: MODEL[name] + CHANGE[name] for name in MODEL} | changed


def contribute(arrays: dict[str, Any], *, unit: str = "", **options: Any) -> Any:
    terms: dict[str, Any] = {"metrics": {"loss": 0.5}, "weight": 3, **options}
    metrics, weight = terms.pop("metrics"), terms.pop("weight")
    return contribution_of(question(unit), [EVERYONE], MODEL, arrays, metrics, weight, **terms)


def test_blocks_hold_the_changes_in_the_order_of_names() -> None:
    arrays = given()
    made = contribute(arrays)
    assert made.weight == 3
    assert {name: value.tolist() for name, value in made.values.items()} == {
        "own": [1.0, -1.0],
        "arrays": [2.0, *[0.25] * 6],  # bias, weights
        "loss": [0.5],
    }
    assert made.values["arrays"].dtype == np.float32
    assert arrays == {}
    assert MODEL["bias"] == 1.0


def test_changes_are_taken_as_they_are_where_the_training_says_so() -> None:
    assert contribute(dict(CHANGE), difference=True).values["arrays"].tolist() == [2.0, *[0.25] * 6]


def test_patients_have_a_row_each() -> None:
    rows = {name: np.stack([np.asarray(value)] * 4) for name, value in CHANGE.items()}
    made = contribute(rows, unit="patient", metrics={"loss": [0.1, 0.2, 0.3, 0.4]}, weight=None)
    assert made.weight == 1
    assert made.values["arrays"].tolist() == [[2.0, *[0.25] * 6]] * 4
    assert made.values["loss"].ravel().tolist() == [0.1, 0.2, 0.3, 0.4]
    rows = {name: np.stack([np.asarray(value)] * (2 + len(name))) for name, value in CHANGE.items()}
    with pytest.raises(InvalidArgument, match=r"different numbers of patients: {'bias': 6, 'weights': 9}"):
        contribute(rows, unit="patient", metrics={"loss": [0.1]})


def test_a_metric_may_come_as_an_array() -> None:
    made = contribute(given(loss=np.full(1, 0.25, np.float32)), metrics={})
    assert made.values["loss"].tolist() == [0.25]


@pytest.mark.parametrize(
    ("changed", "options", "reason"),
    [
        ({"bias": None}, {}, "array 'bias' must be float32 or float64, got object"),
        ({"bias": np.zeros(1)}, {}, r"array 'bias' has the shape \(1,\), and \(\) was sent"),
        ({"more": np.zeros(1)}, {}, r"no block for what the training returned: \['more'\]"),
        ({}, {"metrics": {}}, "nothing for the block 'loss'"),
        ({}, {"metrics": {"loss": [1.0, 2.0]}}, "metric 'loss' must have 1 values, got 2"),
        ({}, {"metrics": {"loss": 1.0, "secret": 2.0}}, r"\['secret'\]"),
        ({}, {"weight": 2.5}, "the number of examples must be a whole number, got float"),
        ({}, {"weight": float("nan"), "counted_by": "n"}, "n must be a whole number"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        contribute(given(**changed), **options)


def test_an_array_that_does_not_come_back_is_named() -> None:
    arrays = given()
    del arrays["weights"]
    with pytest.raises(InvalidArgument, match="the training returned no array 'weights'"):
        contribute(arrays)


def test_a_large_model_is_held_once_more_and_no_oftener() -> None:
    sent = {f"layer{place}": np.zeros(2**18, np.float32) for place in range(4)}
    asked = plan_question("train", sent, sites=6, max_weight=10)
    size = sum(array.nbytes for array in sent.values())
    after = {name: array + 1 for name, array in sent.items()}
    tracemalloc.start()
    made = contribution_of(asked, [EVERYONE], sent, after, {}, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.values["arrays"].nbytes == size
    assert peak < 1.1 * size


def test_a_model_must_fill_its_lanes() -> None:
    check_model(question(), MODEL)
    with pytest.raises(
        InvalidArgument, match=r"block 'arrays' has 7 lanes, \['bias', 'more', 'weights'\] have 8"
    ):
        check_model(question(), MODEL | {"more": np.zeros(1)})
    score = plan_question("evaluate", None, sites=6, max_weight=10, metrics={"accuracy": 1.0})
    with pytest.raises(InvalidArgument, match="no block for the arrays"):
        check_model(score, MODEL)


def test_what_is_sent_comes_back_as_it_was_and_nothing_else_does() -> None:
    sent = unpack_sent(pack_sent(Sent(dict(MODEL), 2, 5)))
    assert (sent.round, sent.rounds) == (2, 5)
    for name, array in MODEL.items():
        np.testing.assert_array_equal(sent.arrays[name], array)
        assert sent.arrays[name].dtype == array.dtype
        assert sent.arrays[name].flags.writeable
    with pytest.raises(InvalidArgument, match="array 'count' must be float32 or float64, got int64"):
        pack_sent(Sent({"count": np.zeros(1, np.int64)}, 0, 1))
    for body in (b"", b"\x94\x02\x00\x01\x80", b"\x94\x01\x00\x01\x81\xa1x\x93\xa2|O\x91\x01\xc4\x01x"):
        with pytest.raises(MalformedMessage, match="no packed model"):
            unpack_sent(body)
