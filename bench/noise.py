# SPDX-License-Identifier: Apache-2.0

"""How fast is noise added? Discrete Gaussian samples on uint64 lanes, one thread, for small and large sigma.

Beside ours, in the same run: OpenDP's discrete Gaussian on a vector of integers, exact as ours (Canonne,
Kamath & Steinke 2020), where opendp is installed; and NumPy's normal floats, which are neither exact nor
keyed by a cipher: what noise costs where privacy does not matter. Ours includes the plan of sigma, the
keystream and the addition; OpenDP's includes the way of a NumPy array in and out.

Time is the thread's processor time, so that other programs on the machine count little. A figure is the
median of the runs, in 10^6 samples a second; a ratio is the median of the ratios of neighbouring runs, in an
order that is drawn anew each turn. OpenDP has fewer lanes a run, since it is slow; figures are by the sample.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import numpy as np
from harness import Figures, in_turn, main, ratio

from sordino import _core

try:
    import opendp.prelude as opendp
except ImportError:
    opendp = None

SIGMAS = (0.5, 1.0, 4.0, 8.0, 16.0, 1e2, 1e3, 1e5, 1e9)
LANES = 2**20
OPENDP_LANES = 2_000

Run = tuple[int, Callable[[], object]]  # samples, and what draws so many


def contestants(sigma: float) -> dict[str, Run]:
    lanes = np.zeros(LANES, np.uint64)
    floats = np.zeros(LANES)
    seed = os.urandom(32)
    generator = np.random.default_rng()
    found: dict[str, Run] = {
        "ours": (LANES, lambda: _core.add_noise(lanes, seed, [sigma], threads=1)),
        "numpy": (LANES, lambda: generator.standard_normal(out=floats)),
    }
    if opendp is not None:
        opendp.enable_features("contrib")
        space = opendp.vector_domain(opendp.atom_domain(T="i64")), opendp.l2_distance(T="f64")
        mechanism = opendp.m.make_gaussian(*space, scale=sigma)
        zeros = np.zeros(OPENDP_LANES, np.int64)
        found["opendp"] = (OPENDP_LANES, lambda: mechanism(zeros))
    return found


def check(sigma: float, runs: dict[str, Run]) -> None:
    """Refuse to measure what does not have the deviation that it should."""
    lanes = np.zeros(LANES, np.uint64)
    _core.add_noise(lanes, os.urandom(32), [sigma], threads=1)
    drawn = {"ours": lanes.view(np.int64)}
    if "opendp" in runs:
        drawn["opendp"] = np.array(runs["opendp"][1]())
    for name, samples in drawn.items():
        ratio = np.mean(samples.astype(float) ** 2) / _core.gaussian_variance(sigma)
        if abs(ratio - 1) > 10 / np.sqrt(len(samples)):
            raise SystemExit(f"{name} has {ratio} times the variance at sigma {sigma}")


def measure_sigma(sigma: float, repeats: int) -> Figures:
    runs = contestants(sigma)
    check(sigma, runs)
    taken = in_turn({name: run for name, (_, run) in runs.items()}, repeats, shuffled=True)
    seconds = {name: [one / runs[name][0] for one in taken[name]] for name in runs}  # a sample

    def rate(name: str) -> float | None:
        return 1e-6 / statistics.median(seconds[name]) if name in seconds else None

    return {
        "ours_msample_s": rate("ours"),
        "opendp_msample_s": rate("opendp"),
        "numpy_normal_msample_s": rate("numpy"),
        "ratio_opendp": ratio(seconds.get("opendp"), seconds["ours"]),
        "ratio_numpy_normal": ratio(seconds["numpy"], seconds["ours"]),
    }


def measure(repeats: int) -> Figures:
    return {
        "lanes": LANES,
        "repeats": repeats,
        "sigma": {f"{sigma:g}": measure_sigma(sigma, repeats) for sigma in SIGMAS},
    }


def tell(found: Figures) -> None:
    print(f"{_core.backend()}, {LANES:,} lanes, one thread, medians; 10^6 samples a second")
    print(f"{'sigma':>8} {'ours':>10} {'opendp':>10} {'numpy':>10} {'/ opendp':>10} {'/ numpy':>10}")
    for sigma, values in found["sigma"].items():
        cells = (f"{'absent' if value is None else f'{value:.4g}':>10}" for value in values.values())
        print(f"{sigma:>8}", *cells)


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(15, "turns for each sigma"))
