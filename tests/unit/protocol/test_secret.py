# SPDX-License-Identifier: Apache-2.0

"""Secret bytes: compared, wiped, never printed, never pickled, never hashed."""

from __future__ import annotations

import copy
import pickle

import pytest

from sordino.errors import InvalidArgument
from sordino.protocol.secret import Secret, concatenate, wipe

DATA = bytes(range(32))


def test_a_secret_prints_its_length_alone() -> None:
    for size in (32, 96):
        secret = Secret(bytes([0xAB]) * size)
        assert {repr(secret), str(secret), f"{secret}"} == {f"Secret({size} bytes)"}


def test_a_secret_is_a_copy_and_reveals_one() -> None:
    source = bytearray(DATA)
    secret = Secret(source)
    source[0] = 0xFF
    assert secret.reveal() == DATA


def test_wiping_overwrites_the_bytes_themselves() -> None:
    secret, other = Secret(DATA), Secret(DATA)
    held = secret._bytes
    secret.wipe()
    assert bytes(held) == bytes(32)
    assert other.reveal() == DATA
    wipe(other, None)
    assert other.reveal() == bytes(32)


def test_secrets_are_equal_by_their_bytes_and_to_nothing_else() -> None:
    assert Secret(DATA) == Secret(DATA)
    assert Secret(DATA) != Secret(bytes(32))
    assert Secret(DATA) != Secret(DATA + b"\0")
    assert Secret(DATA) != DATA


def test_a_secret_is_neither_pickled_copied_nor_hashed() -> None:
    secret = Secret(DATA)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret, protocol)
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            duplicate(secret)
    with pytest.raises(TypeError, match="unhashable"):
        hash(secret)
    with pytest.raises(AttributeError):
        secret.note = "none"  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_short_secret_is_refused(size: int) -> None:
    with pytest.raises(InvalidArgument, match="at least 32 bytes"):
        Secret(bytes(size))


def test_secrets_are_joined_in_order() -> None:
    assert concatenate([Secret(DATA), Secret(bytes(32))]) == DATA + bytes(32)
    assert concatenate([]) == b""
