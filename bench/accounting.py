# SPDX-License-Identifier: Apache-2.0

"""How fast is accounting? One epsilon, a calibration and an epsilon after every round, beside dp-accounting.

Beside ours, in the same run and in turn, dp-accounting's RdpAccountant with its default orders, and its own
calibration. Time is the thread's processor time; a figure is the median of the runs, a ratio the median of
the ratios of neighbouring runs. Ours starts with nothing cached each time. An epsilon larger than the peer's
at the same noise, or more noise at the same guarantee, ends the bench with an error.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import thread_time

import dp_accounting
from dp_accounting import rdp
from harness import Figures, in_turn, main, ratio

from sordino.privacy import rdp as curves
from sordino.privacy import sampled
from sordino.privacy.accountant import Accountant
from sordino.privacy.calibration import noise_multiplier
from sordino.privacy.events import SampledGaussian

DELTA = 1e-5
CASES = {
    "q0.01_sigma1.1_T10000": (1.1, 0.01, 10_000),
    "q0.001_sigma0.8_T5000": (0.8, 0.001, 5000),
    "q0.1_sigma4_T1000": (4.0, 0.1, 1000),
    "q1e-5_sigma0.5_T100000": (0.5, 1e-5, 100_000),
}
TOLERANCE = 1e-6  # of the peer's calibrated noise; ours is held to 1e-9


def forget() -> None:
    sampled._points.cache_clear()
    curves.curve.cache_clear()


def peers_event(sigma: float, q: float, steps: int) -> dp_accounting.DpEvent:
    one = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma))
    return dp_accounting.SelfComposedDpEvent(one, steps)


def our_epsilon(sigma: float, q: float, steps: int) -> float:
    forget()
    return Accountant([SampledGaussian(sigma, q, steps)]).epsilon(DELTA).epsilon


def peers_epsilon(sigma: float, q: float, steps: int) -> float:
    return rdp.RdpAccountant().compose(peers_event(sigma, q, steps)).get_epsilon(DELTA)


def our_noise(epsilon: float, q: float, steps: int) -> float:
    forget()
    return noise_multiplier(epsilon, DELTA, sampling_rate=q, steps=steps)


def peers_noise(epsilon: float, q: float, steps: int) -> float:
    return dp_accounting.calibrate_dp_mechanism(
        rdp.RdpAccountant,
        lambda sigma: peers_event(sigma, q, steps),
        epsilon,
        DELTA,
        dp_accounting.LowerEndpointAndGuess(0.1, 2.0),
        tol=TOLERANCE,
    )


def timed(ours: Callable[[], float], peers: Callable[[], float], repeats: int) -> Figures:
    """What the two found, and medians over `repeats` turns."""
    seconds = in_turn({"ours": ours, "dp_accounting": peers}, repeats)
    return {
        "ours": ours(),
        "dp_accounting": peers(),
        "ours_ms": 1e3 * statistics.median(seconds["ours"]),
        "dp_accounting_ms": 1e3 * statistics.median(seconds["dp_accounting"]),
        "ratio": ratio(seconds["dp_accounting"], seconds["ours"]),
    }


def measure_case(sigma: float, q: float, steps: int, repeats: int) -> Figures:
    epsilon = timed(lambda: our_epsilon(sigma, q, steps), lambda: peers_epsilon(sigma, q, steps), repeats)
    target = epsilon["dp_accounting"]
    noise = timed(
        lambda: our_noise(target, q, steps), lambda: peers_noise(target, q, steps), max(1, repeats // 4)
    )
    if epsilon["ours"] > target or noise["ours"] > noise["dp_accounting"] * (1 + TOLERANCE):
        raise SystemExit(f"ours is the looser at {sigma=} {q=} {steps=}: {epsilon} {noise}")
    return {"epsilon": epsilon, "calibration": noise}


def history() -> Figures:
    """An epsilon after each of 10^4 rounds, against as many single ones from scratch."""
    sigma, q, rounds = 1.1, 0.01, 10_000
    forget()
    start = thread_time()
    values = Accountant([SampledGaussian(sigma, q)] * rounds).history(DELTA)
    seconds = thread_time() - start
    worst = max(
        abs(values[at - 1] / our_epsilon(sigma, q, at) - 1)
        for at in (1, 3, 10, 30, 100, 300, 1000, 3000, rounds)
    )
    return {"rounds": rounds, "ms": 1e3 * seconds, "worst_relative_difference": worst}


def measure(repeats: int) -> Figures:
    cases = {name: measure_case(*case, repeats) for name, case in CASES.items()}
    return {
        "delta": DELTA,
        "cases": cases,
        "ratio_epsilon": min(case["epsilon"]["ratio"] for case in cases.values()),
        "ratio_calibration": min(case["calibration"]["ratio"] for case in cases.values()),
        "history": history(),
    }


def tell(found: Figures) -> None:
    print(f"{'':24}{'':12}{'ours':>12}{'peer':>12}{'ours ms':>10}{'peer ms':>10}{'ratio':>8}")
    for name, case in found["cases"].items():
        for what, row in case.items():
            print(
                f"{name:24}{what:12}{row['ours']:12.6f}{row['dp_accounting']:12.6f}"
                f"{row['ours_ms']:10.2f}{row['dp_accounting_ms']:10.1f}{row['ratio']:8.1f}"
            )
    past = found["history"]
    print(
        f"an epsilon after each of {past['rounds']:,} rounds: {past['ms']:.0f} ms, within "
        f"{past['worst_relative_difference']:.1e} of those from scratch"
    )


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(20, "turns for an epsilon; a quarter for calibrations"))
