# SPDX-License-Identifier: Apache-2.0

"""Neighbouring data sets can be told apart by the released sum no better than the accountant says.

The masks cancel exactly (other tests hold that), so the sum is made here without them: the encoding of the
one site that the patient belongs to, and the noise of the honest survivors. From many runs follows a lower
bound on epsilon, at 1 - CHANCE for all statistics together; it stays below the accountant's. Each leak that
is planted on purpose passes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from math import log

import numpy as np
import pytest
from scipy.stats import beta

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.private_lanes import encode_private
from sordino.privacy import Accountant
from sordino.privacy.mechanisms import counted_out, noise_plan, plan_with_noise, release_of
from sordino.protocol.policy import Block, Policy, Question

RUNS = 100_000 if os.environ.get("SORDINO_LONG") else 20_000
CHANCE = 1e-3
DELTA = 1e-5
SITES, DROPPED = 7, 1
QUESTION = Question("sum", (Block("gradient", 2, 1.0, 6), Block("metric", 1, 0.5, 6)), max_weight=1500)


def make_policy(unit: str = "patient", multiplier: float = 2.0) -> Policy:
    policy = plan_with_noise([QUESTION], unit, {"sum": multiplier}, study="audit", sites=SITES)
    assert policy.tolerated(SITES) >= DROPPED
    return policy


POLICY = make_policy()


def released(
    policy: Policy,
    draw: Callable[[], Contribution],
    *,
    share: float = 1.0,
    noisy: slice = slice(None),
    fixed: bool = False,
) -> np.ndarray:
    """RUNS sums, shape (RUNS, lanes). `share`, `noisy` and `fixed` plant leaks."""
    question, bits = policy.plan[0], policy.bits
    noise = question.noise
    assert noise is not None
    lanes = question.lanes
    sums = np.empty((RUNS, lanes), np.uint32)
    contribution = draw() if fixed else None
    for run in range(RUNS):
        sums[run] = encode_private(question, contribution or draw(), bits=bits, rounding_seed=os.urandom(32))
    plan = noise_plan(policy, noise.sigma, SITES)
    parts = [plan.base, *plan.components[:DROPPED]]
    honest = SITES - DROPPED - counted_out(policy.colluders)
    added = np.zeros(RUNS * lanes, np.uint32)
    sigmas = [max(sigma * share, 0.5) for sigma in parts * honest]
    _core.add_noise(added, os.urandom(32 * len(sigmas)), sigmas)
    sums[:, noisy] += added.reshape(RUNS, lanes)[:, noisy]
    return _core.signed(sums.ravel(), bits=bits).reshape(RUNS, lanes).astype(np.float64)


def statistics(one: np.ndarray, other: np.ndarray) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Looks at a sum: along the difference of the means, each lane, each lane's lowest bit, and all."""
    direction = one.mean(axis=0) - other.mean(axis=0)
    yield lambda sums: sums @ direction
    yield lambda sums: np.abs(sums).max(axis=1)
    for lane in range(one.shape[1]):
        yield lambda sums, lane=lane: sums[:, lane]
        yield lambda sums, lane=lane: sums[:, lane] % 2


def epsilon_at_least(one: np.ndarray, other: np.ndarray) -> float:
    """The largest epsilon that these runs rule out anything below of, at DELTA.

    Half of the runs choose the statistic's threshold, the other half bound both probabilities (Clopper &
    Pearson), so that choosing costs no confidence.
    """
    half = RUNS // 2
    looks = list(statistics(one[:half], other[:half]))
    tail = CHANCE / (8 * len(looks))
    best = 0.0
    for look in looks:
        for yes, no in ((one, other), (other, one)):
            for sign in (1.0, -1.0):
                learn_yes, learn_no = sign * look(yes[:half]), sign * look(no[:half])
                thresholds = np.unique(np.quantile(learn_no, [0.5, 0.9, 0.99, 0.999, 1 - 2 / half]))
                hits = [(np.sum(learn_yes > at) - 2) / (np.sum(learn_no > at) + 4) for at in thresholds]
                at = thresholds[int(np.argmax(hits))]
                true = int(np.sum(sign * look(yes[half:]) > at))
                false = int(np.sum(sign * look(no[half:]) > at))
                low = beta.ppf(tail, true, half - true + 1) if true else 0.0
                high = beta.ppf(1 - tail, false + 1, half - false)
                if low > DELTA:
                    best = max(best, log((low - DELTA) / high))
    return best


def accounted(policy: Policy) -> float:
    return Accountant([release_of(policy, policy.plan[0], SITES)]).epsilon(DELTA).epsilon


def patients(gradient: np.ndarray, metric: np.ndarray) -> Contribution:
    return Contribution({"gradient": gradient, "metric": metric})


def of_rows(*rows: tuple[float, float, float], others: int = 0) -> Callable[[], Contribution]:
    """A site whose patients have these rows, and `others` more with one and the same row."""
    table = np.array([*rows, *[(0.3, -0.2, 0.1)] * others]).reshape(-1, 3)
    return lambda: patients(table[:, :2].copy(), table[:, 2:].copy())


NAN = float("nan")
HALF = 0.5 / 2**6
NEIGHBOURS = {
    "one patient or none": (of_rows((5.0, 0.0, 9.0)), of_rows()),
    "at rounding boundaries": (
        of_rows((HALF, 21 * HALF, HALF), (HALF, HALF, HALF)),
        of_rows((HALF, HALF, HALF)),
    ),
    "a thousand patients": (of_rows((-0.6, 0.8, 0.5), others=999), of_rows(others=999)),
    "only the count differs": (of_rows((0.0, 0.0, 0.0)), of_rows()),
    "only the metric and the count differ": (of_rows((0.0, 0.0, 4.0)), of_rows()),
    "a record that is not a number": (of_rows((NAN, 1.0, NAN), others=3), of_rows(others=3)),
    "an infinite record": (of_rows((float("inf"), -1.0, 0.2), others=3), of_rows(others=3)),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_are_told_apart_no_better_than_the_accountant_says(name: str) -> None:
    with_patient, without = NEIGHBOURS[name]
    found = epsilon_at_least(released(POLICY, with_patient), released(POLICY, without))
    assert found < accounted(POLICY)


def test_an_empty_poisson_batch_is_no_better_told_apart() -> None:
    """One patient who is in a round with probability one half, or nobody."""

    def sampled() -> Contribution:
        here = _core.poisson_sample(1, os.urandom(32), q=0.5)
        table = np.array([[5.0, 0.0, 9.0]])[here == 1]
        return patients(table[:, :2].copy(), table[:, 2:].copy())

    one, other = released(POLICY, sampled), released(POLICY, of_rows())
    assert epsilon_at_least(one, other) < accounted(POLICY)


def test_a_site_or_its_absence_is_told_apart_no_better_than_the_accountant_says() -> None:
    policy = make_policy("site")

    def site() -> Contribution:
        return Contribution({"gradient": np.array([3.0, 4.0]), "metric": np.array([-7.0])}, weight=1500)

    def absent() -> Contribution:
        return Contribution({"gradient": np.zeros(2), "metric": np.zeros(1)}, weight=0)

    assert epsilon_at_least(released(policy, site), released(policy, absent)) < accounted(policy)


LEAKS = {
    "the count lane has no noise": {"noisy": slice(0, 3)},
    "the metric lane has no noise": {"noisy": np.array([0, 1, 3])},
    "the noise has a third of its deviation": {"share": 1 / 3},
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_found(leak: str) -> None:
    with_patient, without = NEIGHBOURS["one patient or none"]
    found = epsilon_at_least(
        released(POLICY, with_patient, **LEAKS[leak]), released(POLICY, without, **LEAKS[leak])
    )
    assert found > accounted(POLICY)


def test_a_patient_who_is_not_clipped_is_found() -> None:
    policy = POLICY
    question = policy.plan[0]
    loose = Question("sum", (Block("gradient", 2, 5.0, 6), Block("metric", 1, 5.0, 6)), max_weight=1500)
    wide = plan_with_noise([loose], "patient", {"sum": 2.0}, study="audit", sites=SITES)
    noise = wide.plan[0].noise
    assert noise is not None
    # The clip is five times what the noise was planned for.
    mistaken = type(wide.plan[0])(
        "sum",
        wide.plan[0].blocks,
        max_weight=1500,
        saturate=True,
        weight_scale=question.weight_scale,
        noise=question.noise,
    )
    leaky = type(policy)(
        **{name: getattr(wide, name) for name in wide.__struct_fields__ if name != "plan"}, plan=(mistaken,)
    )
    with_patient, without = NEIGHBOURS["one patient or none"]
    found = epsilon_at_least(released(leaky, with_patient), released(leaky, without))
    assert found > accounted(POLICY)
