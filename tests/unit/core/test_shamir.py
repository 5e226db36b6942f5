# SPDX-License-Identifier: Apache-2.0

"""Shamir's sharing over GF(2^16): any t shares give the secrets, fewer give nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import shamir
from sordino import _core
from sordino.errors import InvalidArgument

SEED = b"coefficients" * 2 + b"12345678"


def secrets_of(count: int) -> bytes:
    return np.random.default_rng(count).bytes(32 * count)


def test_the_reference_field_is_a_field() -> None:
    # x generates the whole group: the order of the group is 65535 = 3 * 5 * 17 * 257, and no factor will do.
    assert shamir.power(2, 65535) == 1
    assert all(shamir.power(2, 65535 // prime) != 1 for prime in (3, 5, 17, 257))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 33])
def test_split_equals_the_reference(count: int) -> None:
    points = [1, 2, 3, 300, 65535]
    for threshold in (1, 2, 5):
        shares = _core.shamir_split(secrets_of(count), points, threshold=threshold, seed=SEED)
        assert shares.shape == (5, count, 32)
        assert shares.dtype == np.uint8
        expected = shamir.split(secrets_of(count), points, threshold=threshold, seed=SEED)
        assert [row.tobytes() for row in shares] == expected


@pytest.mark.parametrize("threshold", [6, 7, 95, 96, 97, 193])  # around groups and batches of coefficients
@pytest.mark.parametrize("count", [3, 4, 5])  # around a strip of limbs
def test_split_equals_the_reference_at_every_edge_of_a_group(threshold: int, count: int) -> None:
    points = [*range(1, threshold), 40000, 65535]
    shares = _core.shamir_split(secrets_of(count), points, threshold=threshold, seed=SEED)
    some = [0, threshold // 2, threshold]
    expected = shamir.split(secrets_of(count), [points[i] for i in some], threshold=threshold, seed=SEED)
    assert [shares[i].tobytes() for i in some] == expected
    assert _core.shamir_combine(points[1:], shares[1:]) == secrets_of(count)


def test_every_subset_of_threshold_shares_gives_the_secrets() -> None:
    secrets = secrets_of(3)
    points = [1, 2, 5, 6, 40000, 65535]
    shares = _core.shamir_split(secrets, points, threshold=3, seed=SEED)
    for chosen in combinations(range(6), 3):
        rebuilt = _core.shamir_combine([points[i] for i in chosen], shares[list(chosen)])
        assert isinstance(rebuilt, bytearray)
        assert rebuilt == secrets
    assert _core.shamir_combine(points, shares) == secrets
    assert _core.shamir_combine(points[:2], shares[:2]) != secrets


@settings(max_examples=50, deadline=None)
@given(
    points=st.lists(st.integers(1, 65535), min_size=1, max_size=12, unique=True),
    secrets=st.binary(min_size=32, max_size=32),
    seed=st.binary(min_size=32, max_size=32),
    data=st.data(),
)
def test_split_and_combine(points: list[int], secrets: bytes, seed: bytes, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, len(points)))
    shares = _core.shamir_split(secrets, points, threshold=threshold, seed=seed)
    order = data.draw(st.permutations(range(len(points))))[:threshold]
    chosen = [points[i] for i in order]
    assert _core.shamir_combine(chosen, shares[order]) == secrets
    assert shamir.combine(chosen, [shares[i].tobytes() for i in order]) == secrets


def test_many_sites() -> None:
    secrets = secrets_of(20)
    points = list(range(1, 1001))
    shares = _core.shamir_split(secrets, points, threshold=600, seed=SEED)
    assert _core.shamir_combine(points[400:], shares[400:]) == secrets


def test_shares_below_the_threshold_look_uniform() -> None:
    seeds = [bytes([k]) * 32 for k in range(40)]
    shares = np.stack(
        [_core.shamir_split(bytes(32 * 64), [7, 8], threshold=2, seed=seed)[0] for seed in seeds]
    )
    counts = np.bincount(shares.ravel(), minlength=256)
    expected = shares.size / 256
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert 150 < chi_squared < 380  # 255 degrees of freedom; fixed seeds, so this never flickers


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"secrets": b"x" * 31}, "secrets"),
        ({"secrets": "x" * 32}, "secrets"),
        ({"points": []}, "points"),
        ({"points": [1, 2, 1]}, "points"),
        ({"points": [0, 1, 2]}, "points"),
        ({"points": [1, 2, 65536]}, "points"),
        ({"points": [-1, 1, 2]}, "points"),
        ({"points": [1, 2, 3.0]}, "points"),
        ({"points": 3}, "points"),
        ({"points": {1, 2, 3}}, "points"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": 4}, "threshold"),
        ({"threshold": -1}, "threshold"),
        ({"seed": b"x" * 31}, "seed"),
    ],
)
def test_split_refuses(changed: dict[str, Any], name: str) -> None:
    arguments: dict[str, Any] = {
        "secrets": bytes(32),
        "points": [1, 2, 3],
        "threshold": 2,
        "seed": SEED,
    } | changed
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.shamir_split(
            arguments["secrets"],
            arguments["points"],
            threshold=arguments["threshold"],
            seed=arguments["seed"],
        )


@pytest.mark.parametrize(
    ("points", "shares", "name"),
    [
        ([1, 2], np.zeros((3, 1, 32), np.uint8), "shares"),
        ([1, 2], np.zeros((2, 1, 31), np.uint8), "shares"),
        ([1, 2], np.zeros((2, 32), np.uint8), "shares"),
        ([1, 2], np.zeros((2, 1, 32), np.uint16), "shares"),
        ([1, 2], np.zeros((2, 2, 32), np.uint8)[:, ::2], "shares"),
        ([1, 2], bytes(64), "shares"),
        ([1, 1], np.zeros((2, 1, 32), np.uint8), "points"),
        ([0, 1], np.zeros((2, 1, 32), np.uint8), "points"),
        ([], np.zeros((0, 1, 32), np.uint8), "points"),
    ],
)
def test_combine_refuses(points: list[int], shares: Any, name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.shamir_combine(points, shares)
