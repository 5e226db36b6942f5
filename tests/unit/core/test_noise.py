# SPDX-License-Identifier: Apache-2.0

"""Noise on lanes: the numbers of the slow reference, whatever the backend, the pieces and the threads."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from reference import discrete_gaussian, exact_bernoulli
from sordino import _core
from sordino.errors import InvalidArgument

WIDTHS = [np.uint32, np.uint64]
TABLES = [0.5, 1.0, 1.7, 3.3, 8.0, 13.37, 16.0]
REJECTING = [math.nextafter(16.0, 17.0), 20.0, 32.0, 100.0, 1e3, 65536.0, 1e5, 1e9, 2.0**39.3, 2.0**40]


def seed_of(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


def keystream(seed: bytes, length: int, *, stream: int = 0, offset: int = 0) -> bytes:
    """Stand in for the reference's own AES, which is as right (test_keystream.py) and far slower."""
    out = bytearray(length)
    _core.keystream(seed, out, stream=stream, offset=offset)
    return bytes(out)


def noise(
    count: int, sigma: float, label: str = "seed", dtype: Any = np.uint64, **options: Any
) -> np.ndarray:
    lanes = np.zeros(count, dtype)
    _core.add_noise(lanes, seed_of(label), [sigma], **options)
    return lanes


@cache
def reference(sigma: float) -> list[int]:
    return discrete_gaussian.samples(sigma, 800, seed=seed_of("seed"), offset=700, keystream=keystream)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("sigma", TABLES + REJECTING)
def test_samples_are_those_of_the_reference(sigma: float) -> None:
    assert noise(800, sigma, offset=700).view(np.int64).tolist() == reference(sigma)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("sigma", [0.5, 3.0, 16.0, 17.0, 1e5, 2.0**40])
def test_every_backend_gives_the_numbers_of_the_portable_one(sigma: float) -> None:
    ours = noise(200_000, sigma)
    _core.select_backend("portable")
    np.testing.assert_array_equal(ours, noise(200_000, sigma))


@pytest.mark.parametrize("sigma", [4.0, 400.0])
@pytest.mark.parametrize("dtype", WIDTHS)
def test_pieces_and_threads_change_nothing(sigma: float, dtype: Any) -> None:
    whole = noise(50_000, sigma, dtype=dtype, offset=12_345, threads=1)
    for threads in (2, 3, 16):
        np.testing.assert_array_equal(
            noise(50_000, sigma, dtype=dtype, offset=12_345, threads=threads), whole
        )
    for cuts in ([1], [1023, 1024, 1025], [7, 4096, 4097, 9000, 49_999]):
        edges = [0, *cuts, 50_000]
        pieces = [
            noise(stop - start, sigma, dtype=dtype, offset=12_345 + start) for start, stop in pairwise(edges)
        ]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_components_add_up_and_subtracting_is_the_inverse(dtype: Any) -> None:
    start = np.arange(10_000, dtype=dtype) * dtype(0x9E3779B1)
    sigmas = [2.0, 77.0, 1e6]
    seeds = [seed_of(f"component {k}") for k in range(3)]
    together = start.copy()
    _core.add_noise(together, b"".join(seeds), sigmas, offset=5)
    one_by_one = start.copy()
    for seed, sigma in zip(seeds, sigmas, strict=True):
        _core.add_noise(one_by_one, seed, [sigma], offset=5)
    np.testing.assert_array_equal(together, one_by_one)
    assert (together != start).mean() > 0.99
    _core.subtract_noise(together, b"".join(seeds[1:]), sigmas[1:], offset=5)
    np.testing.assert_array_equal(together - start, noise(10_000, 2.0, "component 0", dtype, offset=5))
    _core.subtract_noise(together, seeds[0], sigmas[:1], offset=5)
    np.testing.assert_array_equal(together, start)


def test_no_component_and_no_lane_are_nothing() -> None:
    lanes = np.ones(3, np.uint32)
    _core.add_noise(lanes, b"", [])
    assert lanes.tolist() == [1, 1, 1]
    _core.add_noise(lanes[:0], seed_of("seed"), [1.0], offset=2**64 - 1)


def test_the_last_lanes_of_all_have_noise() -> None:
    last = noise(1500, 50.0, offset=2**64 - 1501)
    np.testing.assert_array_equal(last[1000:], noise(500, 50.0, offset=2**64 - 501))
    assert np.unique(last).size > 50


def test_seeds_and_groups_have_different_noise() -> None:
    first = noise(4096, 1e6).reshape(4, 1024)
    assert np.unique(first).size > 4000
    assert not (noise(4096, 1e6, "another").reshape(4, 1024) == first).any()


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 2.0, 2.999, 3.0, 10.0, 1e3, 2.0**40])
def test_the_variance_is_that_of_the_law(sigma: float) -> None:
    if sigma <= 3:
        masses = discrete_gaussian.masses(Fraction(sigma) ** 2)
        expected = float(2 * sum(y * y * m for y, m in enumerate(masses)) / (2 * sum(masses) - 1))
    else:
        expected = sigma**2
    assert _core.gaussian_variance(sigma) == pytest.approx(expected, rel=4e-16)


def test_the_accountant_can_neglect_the_distance() -> None:
    lanes, rounds, sites, components = 1e9, 1e4, 1e3, 1e2
    assert lanes * rounds * sites * components * 2.0**_core.NOISE_DISTANCE_LOG2 < 1e-50


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("numerator", "denominator"), [(1, 1), (5, 2), (3, 7), (1000, 3), (2**32, 2**32 - 1)]
)
def test_laplace_is_that_of_the_reference(numerator: int, denominator: int) -> None:
    drawn = _core.discrete_laplace(
        200, seed_of("laplace"), numerator=numerator, denominator=denominator, offset=50, threads=2
    )
    expected = [
        exact_bernoulli.laplace(
            numerator, denominator, exact_bernoulli.words(seed_of("laplace"), 50 + i, keystream)
        )
        for i in range(200)
    ]
    assert drawn.tolist() == expected


@pytest.mark.parametrize(
    ("numerator", "denominator"), [(0, 1), (1, 3), (2, 6), (1, 1), (7, 2), (2**32, 2**32)]
)
def test_bernoulli_exp_is_that_of_the_reference(numerator: int, denominator: int) -> None:
    drawn = _core.bernoulli_exp(
        300, seed_of("exp"), numerator=numerator, denominator=denominator, offset=2**64 - 301
    )
    expected = []
    for i in range(300):
        source = exact_bernoulli.words(seed_of("exp"), 2**64 - 301 + i, keystream)
        x = Fraction(numerator, denominator)
        expected.append(int(exact_bernoulli.bernoulli_exp(x, source, denominator)))
    assert drawn.tolist() == expected


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("q", [1e-300, 2.0**-80, 1e-3, 0.1, 0.5, 0.75, math.nextafter(1.0, 0.0)])
def test_poisson_is_that_of_the_reference(q: float) -> None:
    drawn = _core.poisson_sample(3000, seed_of("poisson"), q=q, threads=3)
    assert drawn.tolist() == exact_bernoulli.poisson(q, 3000, seed=seed_of("poisson"), keystream=keystream)
    np.testing.assert_array_equal(
        _core.poisson_sample(1000, seed_of("poisson"), q=q, offset=1500), drawn[1500:2500]
    )


def test_poisson_with_certainty_takes_everyone() -> None:
    assert _core.poisson_sample(1000, seed_of("poisson"), q=1.0).all()


def test_poisson_compares_all_128_bits() -> None:
    (value,) = np.frombuffer(
        keystream(seed_of("poisson"), 16), np.dtype([("low", "<u8"), ("high", "<u8")])
    ).tolist()
    u = value[0] + (value[1] << 64)
    # The nearest doubles on both sides of U / 2^128.
    below = above = u / 2**128
    while int(Fraction(below) * 2**128) > u:
        below = math.nextafter(below, 0.0)
    while int(Fraction(above) * 2**128) <= u:
        above = math.nextafter(above, 1.0)
    assert _core.poisson_sample(1, seed_of("poisson"), q=below).tolist() == [0]
    assert _core.poisson_sample(1, seed_of("poisson"), q=above).tolist() == [1]


@pytest.mark.parametrize("function", [_core.add_noise, _core.subtract_noise])
@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"seeds": b"x" * 31}, "seeds"),
        ({"seeds": "text"}, "seeds"),
        ({"seeds": b"x" * 64}, "sigmas"),
        ({"seeds": b""}, "sigmas"),
        ({"sigmas": []}, "sigmas"),
        ({"sigmas": [2.0, 2.0]}, "sigmas"),
        ({"sigmas": 2.0}, "sigmas"),
        ({"sigmas": ["2"]}, "sigmas"),
        ({"sigmas": [math.nan]}, "sigmas"),
        ({"sigmas": [math.inf]}, "sigmas"),
        ({"sigmas": [math.nextafter(0.5, 0.0)]}, "sigmas"),
        ({"sigmas": [math.nextafter(2.0**40, math.inf)]}, "sigmas"),
        ({"sigmas": [-1.0]}, "sigmas"),
        ({"sigmas": [0.0]}, "sigmas"),
        ({"threads": 0}, "threads"),
        ({"threads": -1}, "threads"),
        ({"offset": 2**64 - 9}, "offset"),
        ({"offset": -1}, "offset"),
        ({"offset": 0.5}, "offset"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    function: Any, changed: dict[str, Any], name: str
) -> None:
    lanes = np.zeros(10, np.uint32)
    arguments: dict[str, Any] = {"seeds": b"s" * 32, "sigmas": [2.0], "offset": 0, "threads": 1} | changed
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        function(lanes, arguments.pop("seeds"), arguments.pop("sigmas"), **arguments)
    assert not lanes.any()


def test_seeds_must_not_lie_in_the_lanes() -> None:
    lanes = np.zeros(16, np.uint32)
    with pytest.raises(InvalidArgument, match="^seeds: must not share memory"):
        _core.add_noise(lanes, lanes.view(np.uint8)[:32], [2.0])


@pytest.mark.parametrize(
    ("function", "options", "name"),
    [
        (_core.discrete_laplace, {"numerator": 0, "denominator": 1}, "numerator"),
        (_core.discrete_laplace, {"numerator": 1, "denominator": 0}, "denominator"),
        (_core.discrete_laplace, {"numerator": 2**32 + 1, "denominator": 1}, "numerator"),
        (_core.discrete_laplace, {"numerator": 1.5, "denominator": 1}, "numerator"),
        (_core.bernoulli_exp, {"numerator": 1, "denominator": 0}, "denominator"),
        (_core.bernoulli_exp, {"numerator": -1, "denominator": 1}, "numerator"),
        (_core.poisson_sample, {"q": 0.0}, "q"),
        (_core.poisson_sample, {"q": math.nan}, "q"),
        (_core.poisson_sample, {"q": math.nextafter(1.0, 2.0)}, "q"),
        (_core.poisson_sample, {"q": "half"}, "q"),
        (_core.poisson_sample, {"q": 0.5, "offset": 2**64 - 1}, "offset"),
        (_core.poisson_sample, {"q": 0.5, "threads": 0}, "threads"),
    ],
)
def test_bad_arguments_of_the_other_samplers_are_named(
    function: Any, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        function(4, seed_of("seed"), **options)


@pytest.mark.parametrize("function", [_core.discrete_laplace, _core.bernoulli_exp, _core.poisson_sample])
def test_bad_seeds_and_counts_are_named(function: Any) -> None:
    options = {"q": 0.5} if function is _core.poisson_sample else {"numerator": 1, "denominator": 2}
    with pytest.raises(InvalidArgument, match="^seed: must have 32 bytes"):
        function(4, b"short", **options)
    for count in (-1, 2**63, 0.5):
        with pytest.raises(InvalidArgument, match="^count: "):
            function(count, seed_of("seed"), **options)


@pytest.mark.parametrize("sigma", [math.nan, 0.4, 2.0**41])
def test_the_variance_refuses_the_same_sigmas(sigma: float) -> None:
    with pytest.raises(InvalidArgument, match="^sigma: "):
        _core.gaussian_variance(sigma)
