# SPDX-License-Identifier: Apache-2.0

"""How well do integers fit the discrete Gaussian? One pass over chunks, then a p-value for each question."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from reference import discrete_gaussian

Integers = NDArray[np.int64]

LAGS = (1, 2, 3, 7, 8, 32, 64, 1024)  # neighbours; vectors, batches and groups of the sampler
RESIDUES = 64


def _probabilities(sigma: float, reach: int) -> NDArray[np.float64]:
    """Give P(x) for x = -reach ... reach, from the reference's long decimals where the law is narrow."""
    if sigma <= 16:
        masses = [float(mass) for mass in discrete_gaussian.masses(Fraction(sigma) ** 2)][: reach + 1]
        half = np.array(masses + [0.0] * (reach + 1 - len(masses)))
    else:
        half = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    both = np.concatenate([half[:0:-1], half])
    return both / both.sum()


@dataclass
class Law:
    """N_Z(0, sigma^2), in cells of 2^shift integers, some 500 to a sigma at most."""

    sigma: float
    shift: int = field(init=False)
    reach: int = field(init=False)  # cells on each side
    cells: NDArray[np.float64] = field(init=False)
    moments: dict[int, float] = field(init=False)  # of x / sigma

    def __post_init__(self) -> None:
        self.shift = max(0, math.ceil(math.log2(self.sigma / 500)))
        self.reach = math.ceil(8.5 * self.sigma / 2**self.shift) + 1
        if self.shift == 0:
            self.cells = _probabilities(self.sigma, self.reach)
            z = np.arange(-self.reach, self.reach + 1) / self.sigma
            self.moments = {k: float((z**k) @ self.cells) for k in (2, 4, 6, 8)}
        else:  # Euler and Maclaurin: the midpoint rule is off by about 1 / (24 sigma^2) < 10^-6 of itself
            edges = (np.arange(-self.reach, self.reach + 2) * 2.0**self.shift - 0.5) / self.sigma
            self.cells = np.diff(special.ndtr(edges))
            self.moments = {2: 1.0, 4: 3.0, 6: 15.0, 8: 105.0}


def _two_sided(z: float) -> float:
    return float(2 * special.ndtr(-abs(z)))


def _chi_square(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """Join cells from the left until each expects 20, and compare."""
    observed, wanted = [0.0], [0.0]
    for count, expectation in zip(counts.tolist(), expected.tolist(), strict=True):
        if wanted[-1] >= 20:
            observed.append(0.0)
            wanted.append(0.0)
        observed[-1] += count
        wanted[-1] += expectation
    if wanted[-1] < 20 and len(wanted) > 1:
        observed[-2] += observed.pop()
        wanted[-2] += wanted.pop()
    a, b = np.array(observed), np.array(wanted)
    return float(stats.chi2.sf((((a - b) ** 2) / b).sum(), len(b) - 1))


def p_values(chunks: Iterable[Integers], sigma: float) -> dict[str, float]:
    """Give the probability of each statistic, or of one further off, if the chunks have the law."""
    law = Law(sigma)
    counts = np.zeros(2 * law.reach + 1, np.int64)
    residues = np.zeros(RESIDUES, np.int64)
    powers = np.zeros(4)
    products = {lag: np.zeros(2) for lag in LAGS}
    signs = np.zeros(2, np.int64)
    tails = {(side, k): 0 for side in (-1, 1) for k in range(1, 6)}
    total = 0
    m = law.moments
    for x in chunks:
        total += len(x)
        counts += np.bincount(np.clip((x >> law.shift) + law.reach, 0, 2 * law.reach), minlength=len(counts))
        residues += np.bincount(x % RESIDUES, minlength=RESIDUES)
        z = x / sigma
        squares = z * z
        powers += [z.sum(), squares.sum(), z @ squares, squares @ squares]
        signs += [np.count_nonzero(x > 0), np.count_nonzero(x < 0)]
        for side, k in tails:
            tails[side, k] += np.count_nonzero(side * x >= math.ceil(k * sigma))
        centred = squares - m[2]
        for lag, sums in products.items():
            sums += [z[:-lag] @ z[lag:], centred[:-lag] @ centred[lag:]]

    mean, square, cube, fourth = powers / total
    root = math.sqrt(total)
    result = {
        "chi-square": _chi_square(counts, total * law.cells),
        "mean": _two_sided(mean * root / math.sqrt(m[2])),
        "variance": _two_sided((square - m[2]) * root / math.sqrt(m[4] - m[2] ** 2)),
        "third moment": _two_sided(cube * root / math.sqrt(m[6])),
        "fourth moment": _two_sided((fourth - m[4]) * root / math.sqrt(m[8] - m[4] ** 2)),
        "sign": _two_sided(float(signs[0] - signs[1]) / math.sqrt(float(signs.sum()))),
    }
    if sigma > 100:  # residues of a narrower law are not uniform
        result["residues"] = _chi_square(residues, np.full(RESIDUES, total / RESIDUES))
    for (side, k), count in tails.items():
        chance = _tail(law, math.ceil(k * sigma))
        below, above = stats.binom.cdf(count, total, chance), stats.binom.sf(count - 1, total, chance)
        result[f"tail {side * k} sigma"] = float(min(1.0, 2 * min(below, above)))
    for lag, (linear, squared) in products.items():
        result[f"autocorrelation {lag}"] = _two_sided(linear / m[2] / root)
        result[f"autocorrelation of squares {lag}"] = _two_sided(squared / (m[4] - m[2] ** 2) / root)
    return result


def _tail(law: Law, least: int) -> float:
    if law.shift == 0:
        return float(law.cells[law.reach + least :].sum())
    return float(special.ndtr(-(least - 0.5) / law.sigma))
