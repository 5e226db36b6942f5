# SPDX-License-Identifier: Apache-2.0

"""A vector that becomes its masked payload tile by tile: the bytes of encode, add_masks and pack."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adversarial.toolkit import Study, make_policy, question, ready
from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.lanes import encode_contribution
from sordino.aggregation.vector import FixedPointVector
from sordino.errors import InvalidArgument, ValueOutOfRange
from sordino.protocol.lanes import Payload, Vector, empty_lanes
from sordino.protocol.policy import EVERYONE, Block, Question

ADD, SUBTRACT = bytearray(b"a" * 96), bytearray(b"s" * 64)
FUSED = 2**12
WIDTHS = tuple(range(3, 65))
LENGTHS = (1, 7, 8, 9, FUSED - 1, FUSED, FUSED + 1, FUSED + 9, 2 * FUSED - 7, 3 * FUSED + 13)
REALS: list[Any] = [np.float32, np.float64]


def values_of(length: int, real: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(length).uniform(-1, 1, length).astype(real)


def one_block(length: int) -> Question:
    return Question("sum", (Block("vector", length, 1.0, 0),), max_weight=1)


def in_steps(
    question: Question, values: Mapping[str, np.ndarray], weights: Mapping[str, int], bits: int
) -> bytes:
    lanes = empty_lanes(question.lanes, bits)
    for block in question.blocks:
        if block.name in values:
            _core.encode(
                values[block.name],
                lanes[question.spans[block.name]],
                clip=block.clip,
                scale=block.scale,
                weight=weights[block.group],
                saturate=question.saturate,
            )
    for group, weight in weights.items():
        lanes[question.weight_lanes[group]] = weight
    _core.add_masks(lanes, ADD, SUBTRACT)
    return _core.pack(lanes, bits=bits)


def written(
    question: Question,
    contribution: Contribution,
    bits: int,
    groups: Collection[str] = (EVERYONE,),
    **how: Any,
) -> bytes:
    payload = FixedPointVector(question, contribution, groups=groups).write(ADD, SUBTRACT, bits=bits, **how)
    assert payload.digest() == hashlib.sha256(payload.data).digest()
    return payload.data


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_payload_is_that_of_the_steps_at_every_width(bits: int) -> None:
    for length in LENGTHS:
        values = {"vector": values_of(length)}
        asked = one_block(length)
        assert written(asked, Contribution(values), bits) == in_steps(asked, values, {EVERYONE: 1}, bits)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("bits", [19, 32, 45])
def test_the_payload_is_that_of_the_steps_for_several_blocks_and_groups(real: Any, bits: int) -> None:
    lengths = {"a": 3, "b": FUSED + 9, "c": 5, "d": FUSED + 100, "e": FUSED + 6, "f": 2 * FUSED, "g": 1}
    groups = dict.fromkeys("abcdefg", EVERYONE) | {"c": "imaging", "d": "imaging", "f": "genes"}
    blocks = tuple(
        Block(name, length, 1.0, place, group=groups[name])
        for place, (name, length) in enumerate(lengths.items())
    )
    asked = Question("sum", blocks, max_weight=9, saturate=True)
    for mine in ((EVERYONE,), (EVERYONE, "imaging"), (EVERYONE, "genes"), (EVERYONE, "imaging", "genes")):
        values = {name: 1.5 * values_of(lengths[name], real) for name in lengths if groups[name] in mine}
        weights = {group: 2 + place for place, group in enumerate(mine)}
        expected = in_steps(asked, values, weights, bits)
        for threads in (1, 3):
            assert written(asked, Contribution(values, weights), bits, mine, threads=threads) == expected


@pytest.mark.parametrize("length", [2**20 - 3, 2**20 + 1, 2**21 + 2**12 + 5])
@pytest.mark.parametrize("mine", [(EVERYONE,), (EVERYONE, "other")])
def test_long_blocks_are_written_in_pieces_and_absent_ones_as_zeros(
    length: int, mine: tuple[str, ...]
) -> None:
    asked = Question(
        "sum", (Block("one", 5, 1.0, 8), Block("two", length, 1.0, 8, group="other")), max_weight=1
    )
    values = {"one": values_of(5)} | ({"two": values_of(length)} if "other" in mine else {})
    expected = in_steps(asked, values, dict.fromkeys(mine, 1), 21)
    assert written(asked, Contribution(values), 21, mine) == expected


def test_views_and_mapped_files_are_read_as_they_are(tmp_path: Path) -> None:
    values = values_of(2 * FUSED)
    (tmp_path / "values").write_bytes(values.tobytes())
    mapped = np.memmap(tmp_path / "values", np.float32, "r")
    asked = one_block(len(values))
    expected = in_steps(asked, {"vector": values}, {EVERYONE: 1}, 20)
    for given in (mapped, np.repeat(values, 2)[::2]):
        assert written(asked, Contribution({"vector": given}), 20) == expected


def test_a_range_of_lanes_is_that_part_of_all_of_them() -> None:
    asked = Question("sum", (Block("a", 5, 1.0, 4), Block("b", 9, 1.0, 4)), max_weight=3)
    contribution = Contribution({"a": values_of(5), "b": values_of(9)}, 3)
    lanes = encode_contribution(asked, contribution, bits=16)
    for first in range(16):
        for last in range(first, 16):
            part = FixedPointVector(asked, contribution).encode(16, first, last)
            assert part.tolist() == lanes[first:last].tolist()


@pytest.mark.parametrize("place", [0, 4, 5, FUSED, FUSED + 8, FUSED + 9, FUSED + 11])
@pytest.mark.parametrize(
    ("bad", "saturate", "reason"),
    [(np.nan, True, "is NaN"), (np.inf, True, "is infinite"), (1.5, False, "is outside the clip")],
)
def test_a_refused_value_is_named_by_its_place_in_the_block(
    place: int, bad: float, saturate: bool, reason: str
) -> None:
    length = FUSED + 12
    asked = Question(
        "sum", (Block("a", 3, 1.0, 4), Block("b", length, 1.0, 4)), max_weight=1, saturate=saturate
    )
    values = {"a": values_of(3), "b": values_of(length)}
    values["b"][place] = bad
    contribution = Contribution(values)
    with pytest.raises(ValueOutOfRange, match=f"^block 'b': values: element {place} {reason}") as steps:
        encode_contribution(asked, contribution, bits=20)
    with pytest.raises(ValueOutOfRange) as fused:
        written(asked, contribution, 20)
    assert str(fused.value) == str(steps.value)


def test_shapes_names_and_weights_are_judged_before_anything_is_written() -> None:
    asked = one_block(8)
    for values, weight, error in (
        ({"vector": np.zeros(9, np.float32)}, 1, InvalidArgument),
        ({"vector": np.zeros(8, np.int32)}, 1, InvalidArgument),
        ({}, 1, InvalidArgument),
        ({"vector": np.zeros(8, np.float32), "more": np.zeros(1, np.float32)}, 1, InvalidArgument),
        ({"vector": np.zeros(8, np.float32)}, 2, ValueOutOfRange),
    ):
        with pytest.raises(error):
            FixedPointVector(asked, Contribution(values, weight))


def test_no_more_is_held_than_the_payload_and_a_piece() -> None:
    length, bits = 2**22, 24
    vector = FixedPointVector(one_block(length), Contribution({"vector": values_of(length)}))
    tracemalloc.start()
    try:
        payload = vector.write(ADD, SUBTRACT, bits=bits).data
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(payload) <= peak < 1.01 * len(payload)


def test_without_a_thread_for_the_digest_it_is_made_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    values = {"vector": values_of(2**20)}
    asked = one_block(2**20)
    assert written(asked, Contribution(values), 24, threads=2) == in_steps(asked, values, {EVERYONE: 1}, 24)


# At a site ----------------------------------------------------------------------------------------------


class Short(Vector):
    """A vector of another question."""

    def write(self, *_: object, **__: object) -> Payload:
        return Payload(bytes(5))


def seeded(name: str) -> Callable[[int], bytes]:
    return np.random.default_rng(list(name.encode())).bytes


@pytest.mark.parametrize("length", [6, FUSED + 5])
def test_a_site_sends_the_same_payload_for_a_vector_as_for_its_lanes(length: int) -> None:
    asked = question(length)
    payloads = set()
    for encoded in (True, False):
        study = Study(make_policy(plan=[asked]), entropy=seeded).to("upload")
        request = study.requests()["site01"]
        contribution = Contribution({"vector": 1000 * values_of(length)})
        given = (
            encode_contribution(asked, contribution, bits=study.policy.bits)
            if encoded
            else FixedPointVector(asked, contribution)
        )
        payloads.add(study.sites["site01"].upload(request.data, b"", given).payload)
    assert len(payloads) == 1


def test_a_vector_that_fails_or_is_too_short_changes_nothing_and_the_round_goes_on() -> None:
    study = ready().to("upload")
    request = study.requests()["site01"]
    length = study.policy.question("sum").lanes - 1
    bad = FixedPointVector(
        study.policy.question("sum"), Contribution({"vector": np.full(length, 1e6, np.float32)})
    )
    for vector, error in ((bad, ValueOutOfRange), (Short(), InvalidArgument)):
        with study.nothing_changes(), pytest.raises(error):
            study.sites["site01"].upload(request.data, b"", vector)
    assert study.round().survivors == study.names
