# SPDX-License-Identifier: Apache-2.0

"""The samples have the law that they should, and a thousandth of bias would be seen.

Seeds are fixed, so nothing here is flaky. `make statistics` sets SORDINO_SAMPLES to 10^8; without it a few
million samples a sigma are drawn.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from sordino import _core
from statistical.goodness import Integers, p_values

SAMPLES = int(os.environ.get("SORDINO_SAMPLES", "3000000"))
CHUNK = 1_000_000
SIGMAS = [0.5, 1.0, 4.0, 8.0, 16.0, 16.5, 100.0, 1000.0, 65536.0, 1e5, 1e9, 2.0**40]

# Some 30 statistics for each of the 12 sigmas: less than one chance in 2,000 that a right sampler fails.
UNLIKELY = 1e-6


def seed_of(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


def chunks(sigma: float, count: int, label: str = "statistics") -> Iterator[Integers]:
    for offset in range(0, count, CHUNK):
        lanes = np.zeros(min(CHUNK, count - offset), np.uint64)
        _core.add_noise(lanes, seed_of(f"{label} {sigma}"), [sigma], offset=offset)
        yield lanes.view(np.int64)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_samples_have_the_law(sigma: float) -> None:
    found = p_values(chunks(sigma, SAMPLES), sigma)
    assert len(found) >= 32
    assert {name: p for name, p in found.items() if p < UNLIKELY} == {}


def zeros(x: Integers) -> Integers:
    """One sample in 1,000 is zero, whatever it should be."""
    x[::1000] = 0
    return x


def positive(x: Integers) -> Integers:
    """One in 1,000 has no sign."""
    x[::1000] = np.abs(x[::1000])
    return x


def repeated(x: Integers) -> Integers:
    """One in 1,000 is its neighbour again."""
    x[1::1000] = x[::1000]
    return x


def truncated(x: Integers) -> Integers:
    """What lies beyond 3.75 sigma, one in 5,000, is drawn in."""
    return np.clip(x, -15, 15)


def odd(x: Integers) -> Integers:
    """One in 1,000 loses its lowest bit."""
    x[::1000] &= ~1
    return x


BIASES: list[tuple[Callable[[Integers], Integers], float, int, str]] = [
    (truncated, 4.0, 3_000_000, "tail 4 sigma"),
    (zeros, 4.0, 20_000_000, "chi-square"),
    (positive, 4.0, 60_000_000, "sign"),
    (repeated, 1000.0, 60_000_000, "autocorrelation 1"),
    (odd, 1000.0, 100_000_000, "residues"),
]


# The short form tries those that show within 20 million samples.
@pytest.mark.parametrize(
    ("bias", "sigma", "count", "seen_by"),
    [case for case in BIASES if case[2] <= max(SAMPLES, 20_000_000)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_bias_of_a_thousandth_is_seen(
    bias: Callable[[Integers], Integers], sigma: float, count: int, seen_by: str
) -> None:
    found = p_values((bias(x) for x in chunks(sigma, count)), sigma)
    assert found[seen_by] < UNLIKELY


@pytest.mark.parametrize("sigma", [8.0, 1000.0])
def test_a_sigma_that_is_a_thousandth_off_is_seen(sigma: float) -> None:
    found = p_values(chunks(1.001 * sigma, 20_000_000), sigma)
    assert found["variance"] < UNLIKELY


def test_two_seeds_and_two_sigmas_of_a_seed_are_not_correlated() -> None:
    count = 4_000_000
    first, second = (np.concatenate(list(chunks(50.0, count, label))) for label in ("one", "two"))
    z = float(first.astype(float) @ second) / 50.0**2 / math.sqrt(count)
    assert abs(z) < 5


@pytest.mark.parametrize(("numerator", "denominator"), [(1, 2), (1, 1), (7, 2), (20, 1)])
def test_laplace_has_its_law(numerator: int, denominator: int) -> None:
    count = 200_000
    x = _core.discrete_laplace(
        count, seed_of("laplace law"), numerator=numerator, denominator=denominator, threads=1
    )
    scale = numerator / denominator
    reach = math.ceil(12 * scale)
    weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) / scale)
    expected = count * weights / weights.sum()
    observed = np.bincount(np.clip(x + reach, 0, 2 * reach), minlength=2 * reach + 1)
    kept = expected >= 20
    a, b = np.append(observed[kept], observed[~kept].sum()), np.append(expected[kept], expected[~kept].sum())
    assert stats.chi2.sf((((a - b) ** 2) / b).sum(), len(b) - 1) > UNLIKELY
    z = float(x[1:] @ x[:-1]) / (x.var() * math.sqrt(count))
    assert abs(z) < 5


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 1000), (1, 2), (1, 1), (5, 2), (8, 1)])
def test_bernoulli_exp_has_its_law(numerator: int, denominator: int) -> None:
    count = 300_000
    x = _core.bernoulli_exp(count, seed_of("exp law"), numerator=numerator, denominator=denominator)
    chance = math.exp(-numerator / denominator)
    assert stats.binomtest(int(x.sum()), count, chance).pvalue > UNLIKELY


@pytest.mark.parametrize("q", [1e-6, 0.001, 0.1, 0.5, 0.999])
def test_poisson_sampling_has_its_law(q: float) -> None:
    count = 5_000_000
    x = _core.poisson_sample(count, seed_of("poisson law"), q=q)
    assert stats.binomtest(int(x.sum()), count, q).pvalue > UNLIKELY
    pairs = int((x[1:] & x[:-1]).sum())
    assert stats.poisson.sf(pairs - 1, q * q * count) > UNLIKELY / 2
    if q >= 0.1:
        z = (pairs - q * q * count) / math.sqrt(count * q * q * (1 - q * q) + 2 * count * q**3 * (1 - q))
        assert abs(z) < 5
