# SPDX-License-Identifier: Apache-2.0

"""How fast this machine masks and draws noise, by a measurement of a fraction of a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.privacy.mechanisms import noise_plan
from sordino.privacy.planner import Rates
from sordino.protocol.lanes import empty_lanes
from sordino.protocol.policy import Block, Policy, Question, plan_policy
from sordino.protocol.secret import SECRET_BYTES

_LANES = 2**17
_SEEDS = 8
_SITES = 8
"""A round with more sites is not made, but reckoned from one with so many."""


def measured_rates(policy: Policy) -> Rates:
    """Rates of one core, in this process's own time, so that other programs hardly count.

    A real round over one lane tells what hangs on the sites alone, one over many what hangs on the lanes
    besides masks and noise. Each of n sites shares about n secrets among n others, so with more sites than
    were tried the former grows as n^2.
    """
    lanes = empty_lanes(_LANES, policy.bits)
    seeds = bytearray(os.urandom(_SEEDS * SECRET_BYTES))
    mask = _least(lambda: _core.add_masks(lanes, seeds, bytearray(), threads=1)) / _SEEDS / _LANES
    sigma = max((one.noise.sigma for one in policy.plan if one.noise is not None), default=0.0)
    part = noise_plan(policy, sigma, policy.sites).base if sigma else 16.0
    draw = _least(lambda: _core.add_noise(lanes, seeds[:SECRET_BYTES], [part], threads=1)) / _LANES
    sites = min(policy.sites, _SITES)
    short, long = (_round(sites, count, chain=policy.chain) for count in (1, _LANES))
    # Each site masks with all sites' seeds, its own included, and the coordinator takes one off for each.
    other = (long - short) / _LANES - (sites + 1) * mask
    return Rates(
        masks=1.0 / mask,
        noise=1.0 / draw,
        packing=1.0 / max(other, 1e-12),
        overhead=short * (((policy.neighbours or policy.sites - 1) + 1) / sites) ** 2,
    )


def _least(work: Callable[[], object]) -> float:
    """The least seconds of a few goes, after one that warms the caches."""
    work()
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return max(min(taken), 1e-9)


def _round(sites: int, count: int, *, chain: bool) -> float:
    """Seconds for each site of a real round over so many lanes, the coordinator's included."""
    question = Question("measure", (Block("values", count, 1.0, 16),))
    policy = plan_policy(
        study="measure", sites=sites, plan=[question], across_rounds="accept", rounds=8, chain=chain
    )
    names = [f"site-{number}" for number in range(sites)]
    values = np.zeros(count)
    given = dict.fromkeys(names, lambda _: Contribution({"values": values}))
    with MaskedAggregator(policy, names) as aggregator:
        return _least(lambda: aggregator.aggregate("measure", b"", given)) / sites
