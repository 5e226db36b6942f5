# SPDX-License-Identifier: Apache-2.0

"""The canonical encoding: known answers, and no two meanings share bytes."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from sordino.protocol.encoding import digest, encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def meaning(value: Any) -> Any:
    """What an encoding must tell apart: the value and its type; -0.0 counts as 0.0."""
    if isinstance(value, tuple):
        return ("tuple", *map(meaning, value))
    if isinstance(value, float):
        return ("float", struct.pack(">d", value + 0.0))
    return (type(value).__name__, value)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES, VALUES)
def test_two_values_share_an_encoding_only_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (encode("t", one) == encode("t", other)) == (meaning(one) == meaning(other))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3), st.text(max_size=3), st.text(max_size=3))
def test_tag_and_fields_are_bound_together(
    one: list[Any], other: list[Any], tag: str, other_tag: str
) -> None:
    same = tag == other_tag and meaning(tuple(one)) == meaning(tuple(other))
    assert (encode(tag, *one) == encode(other_tag, *other)) == same


@settings(max_examples=80, deadline=None, derandomize=True)
@given(VALUES, VALUES)
def test_no_encoding_is_the_beginning_of_another(one: Any, other: Any) -> None:
    if meaning(one) != meaning(other):
        assert not encode("t", one).startswith(encode("t", other))


def piece(tag: bytes, data: bytes) -> bytes:
    return tag + len(data).to_bytes(8, "big") + data


def test_known_answers() -> None:
    head = b"sordino\x01" + piece(b"S", b"tag")
    count = (7).to_bytes(8, "big")
    body = b"N" + b"T" + b"F" + piece(b"I", b"") + piece(b"I", b"\x01\x00")
    body += piece(b"D", struct.pack(">d", 1.5)) + b"L" + (2).to_bytes(8, "big")
    body += piece(b"S", "é".encode()) + piece(b"B", b"\0")
    fields = (None, True, False, 0, 256, 1.5, ("é", b"\0"))
    assert encode("tag", *fields) == head + b"L" + count + body
    assert digest("tag", *fields) == hashlib.sha256(encode("tag", *fields)).digest()
    # Recorded once, so that a change of the encoding does not pass unseen: it would end every session.
    assert digest("tag", *fields).hex() == "5468cd63573ccd56a8d003a2eb9d1c5ae34e4b6630408eb945305bf6733b3a48"


class Point(Struct):
    x: int
    y: int


class Vector(Struct):
    x: int
    y: int


def test_structs_are_told_apart_by_name_and_by_each_field() -> None:
    assert encode("t", Point(1, 2)) == encode("t", Point(1, 2))
    assert (
        len({encode("t", value) for value in (Point(1, 2), Vector(1, 2), Point(2, 1), ("Point", (1, 2)))})
        >= 3
    )


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), -float("inf")])
def test_what_has_no_one_encoding_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="canonical encoding"):
        encode("t", value)


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, 1j, object(), bytearray(b"x"), memoryview(b"x")])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="canonical encoding"):
        encode("t", (1, value))
