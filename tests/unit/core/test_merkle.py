# SPDX-License-Identifier: Apache-2.0

"""Hashing in the core: SHA-256 as hashlib has it, and trees as the reference has them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from reference import merkle as reference
from sordino import _core
from sordino.errors import InvalidArgument
from sordino.protocol.commitment import share_opening
from sordino.protocol.merkle import depth, root_and_paths, roots, roots_from

PLACE = b"s" * 32, 7, "lyon"
FORM: dict[str, Any] = {"node": b"n", "root": b"r", "padding": bytes(32)}


def shares_of(holders: int, secrets: int) -> np.ndarray:
    return np.random.default_rng(secrets).integers(0, 256, (holders, secrets, 32), np.uint8)


def expected(shares: np.ndarray, holder: str, wanted: Sequence[int] = ()) -> Any:
    return reference.root_and_paths(reference.leaves(*PLACE, holder, shares.tobytes()), wanted)


@pytest.mark.usefixtures("backend")
def test_sha256_is_that_of_hashlib_at_every_length_around_three_blocks() -> None:
    message = os.urandom(200)
    for length in range(len(message)):
        assert _core.sha256(message[:length]) == hashlib.sha256(message[:length]).digest()
    long = os.urandom(100_003)
    assert _core.sha256(memoryview(long)[1:]) == hashlib.sha256(long[1:]).digest()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("message", "answer"),
    [  # FIPS 180-2, appendix B
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_sha256_gives_the_standards_own_answers(message: bytes, answer: str) -> None:
    assert _core.sha256(message).hex() == answer


def test_portable_code_hashes_where_portable_code_masks(backend: str) -> None:
    assert (_core.sha256_backend() == "portable") >= (backend == "portable")


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("secrets", [1, 2, 3, 4, 5, 8, 9, 31, 33, 100, 255, 256, 257, 300])
def test_roots_and_paths_are_the_reference_s(secrets: int) -> None:
    # Indices need one byte more from 256 on; names move the ends of blocks.
    holders = ["a", "bergen", "c" * 30, "d" * 64][: 4 if secrets < 200 else 2]
    shares = shares_of(len(holders), secrets)
    openings = [share_opening(*PLACE, holder) for holder in holders]
    wanted = sorted({0, secrets // 2, secrets - 1})
    answers = [expected(row, holder, wanted) for row, holder in zip(shares, holders, strict=True)]
    assert roots(shares, openings) == [root for root, _ in answers]
    for row, opening, (root, paths) in zip(shares, openings, answers, strict=True):
        assert root_and_paths(row.tobytes(), opening, wanted) == (root, paths)
        chosen = [row[index].tobytes() for index in wanted]
        assert roots_from(chosen, opening, wanted, paths, secrets) == [root] * len(wanted)


@pytest.mark.parametrize("length", range(60, 132, 3))
def test_openings_may_end_anywhere_in_a_block(length: int) -> None:
    opening = bytes(range(length))
    leaf = hashlib.sha256(opening + reference.encoded(0) + reference.encoded(b"x" * 32)).digest()
    assert _core.merkle_roots(b"x" * 32, [opening], **FORM) == [
        hashlib.sha256(b"r" + reference.encoded(leaf)).digest()
    ]


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    shares = shares_of(61, 100)
    openings = [share_opening(*PLACE, f"site{holder}") for holder in range(61)]
    assert roots(shares, openings, threads=threads) == [
        expected(row, f"site{holder}")[0] for holder, row in enumerate(shares)
    ]


def test_a_share_at_another_place_or_by_another_path_leads_elsewhere() -> None:
    shares = shares_of(1, 5)[0]
    opening = share_opening(*PLACE, "oslo")
    root, (path,) = root_and_paths(shares.tobytes(), opening, [3])
    share = shares[3].tobytes()

    def climbed(share: bytes, index: int, path: tuple[bytes, ...]) -> bytes:
        (found,) = roots_from([share], opening, [index], [path], 5)
        return found

    assert climbed(share, 3, path) == root
    assert climbed(shares[2].tobytes(), 3, path) != root
    for other in (0, 1, 2, 4, 5, 7, 11):
        assert climbed(share, other, path) != root
    for height in range(depth(5)):
        assert climbed(share, 3, (*path[:height], bytes(32), *path[height + 1 :])) != root


def test_no_holders_have_no_roots() -> None:
    assert _core.merkle_roots(b"", [], **FORM) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("shares", {"shares": bytes(31)}),
        ("shares", {"shares": b""}),
        ("shares", {"shares": bytes(96)}),
        ("shares", {"shares": "text"}),
        ("shares", {"shares": np.zeros((2, 2, 64), np.uint8)[:, :, ::2]}),
        ("openings", {"openings": 3}),
        ("openings", {"openings": [b"", "text"]}),
        ("node", {"node": None}),
        ("root", {"root": 1}),
        ("padding", {"padding": bytes(31)}),
        ("threads", {"threads": 0}),
        ("threads", {"threads": -1}),
        ("threads", {"threads": 1.0}),
    ],
)
def test_bad_arguments_of_roots_are_named(name: str, change: dict[str, Any]) -> None:
    good = {"shares": bytes(64), "openings": [b"one", b"two"], **FORM}
    assert len(_core.merkle_roots(**good)) == 2
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.merkle_roots(**good | change)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("wanted", {"wanted": [2]}),
        ("wanted", {"wanted": [-1]}),
        ("wanted", {"wanted": 1}),
        ("shares", {"shares": b""}),
        ("shares", {"shares": bytes(33)}),
        ("opening", {"opening": None}),
    ],
)
def test_bad_arguments_of_paths_are_named(name: str, change: dict[str, Any]) -> None:
    good = {"shares": bytes(64), "opening": b"one", "wanted": [1, 1], **FORM}
    assert len(_core.merkle_paths(**good)[1]) == 2
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.merkle_paths(**good | change)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indices", {"indices": None}),
        ("shares", {"shares": bytes(65)}),
        ("shares", {"indices": [1]}),
        ("paths", {"paths": bytes(32)}),
        ("depth", {"depth": 65}),
        ("depth", {"depth": -1}),
    ],
)
def test_bad_arguments_of_a_climb_are_named(name: str, change: dict[str, Any]) -> None:
    good = {
        "shares": bytes(64),
        "opening": b"one",
        "indices": [0, 1],
        "paths": bytes(128),
        "depth": 2,
        **FORM,
    }
    assert len(_core.merkle_climb(**good)) == 2
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.merkle_climb(**good | change)
