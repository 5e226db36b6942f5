# SPDX-License-Identifier: Apache-2.0

"""Noise inside the secure sum: how much every site draws, from which seeds, and what is taken off again.

After XNoise (Jiang et al., Dordis, 2024) with colluders counted out. Of U participants c' = max(c, 1) may
know their own noise, and up to T may drop out. For a planned variance s of the honest survivors' noise every
site draws a base of variance s / (U - c') and components k = 1..T of s / ((U - c' - k + 1) (U - c' - k));
with them up to k it has s / (U - c' - k). Once D dropouts are certified the components beyond D are revealed
and taken off, so that the U - D - c' honest survivors keep exactly s, for every D.

The seeds of the components hang on a hash chain, of which the protocol reveals the link D + 1 and so all
later ones; the base's seed is neither shared nor committed to, and never leaves the site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil, exp, inf, isqrt, nextafter, sqrt
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from sordino import _core
from sordino.errors import PolicyError
from sordino.privacy.discrete import tau
from sordino.privacy.events import DiscreteGaussianSum, Release
from sordino.protocol.keys import next_link, noise_seed
from sordino.protocol.lanes import Lanes
from sordino.protocol.noise import Noise, Unit
from sordino.protocol.policy import Policy, Question, plan_policy, required_bits

TAIL = 12.0
"""Lanes are planned for noise of so many standard deviations."""

LEAST_SIGMA = 2.0
"""Below this the sum of discrete Gaussians is farther from one than 1e-15 (KLS21, Theorem 1)."""

_LOCAL_GRID = 2.0**20
"""Grid units in the sensitivity of a site's own training."""


class NoisePlan(NamedTuple):
    """Standard deviations, in grid units, of what each site draws in one round: base, components 1..T."""

    base: float
    components: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest of them."""
        return min((self.base, *self.components))


def counted_out(colluders: int) -> int:
    """c': the sites whose noise hides nothing from the reader, at least one, as every site knows its own."""
    return max(colluders, 1)


def noise_plan(policy: Policy, sigma: float, participants: int) -> NoisePlan:
    """What each of so many participants draws, for `sigma` from the honest survivors.

    Each part is rounded up, so that the sum of variances is never below the plan. Where the policy has no
    chain the base alone carries the worst case, D = T. Raises `PolicyError` if nobody would be left.
    """
    honest, tolerated = participants - counted_out(policy.colluders), policy.tolerated(participants)
    if tolerated < 0 or honest - tolerated < 1:
        raise PolicyError(
            f"of {participants} participants {participants - honest} are counted out and {tolerated} may "
            f"drop out: nobody's noise would be left"
        )
    if not policy.chain:
        return NoisePlan(_up(sigma / sqrt(honest - tolerated)), ())
    return NoisePlan(
        _up(sigma / sqrt(honest)),
        tuple(_up(sigma / sqrt((honest - k + 1) * (honest - k))) for k in range(1, tolerated + 1)),
    )


def add_noise(lanes: Lanes, plan: NoisePlan, base_seed: bytes, link: bytes | None) -> None:
    """Add a site's whole noise to its lanes, in place; `link` is the first of the chain, if there is one."""
    parts = [(base_seed, plan.base)]
    if link is not None:
        parts += _components(plan, link, range(1, len(plan.components) + 1))
    _change(_core.add_noise, lanes, parts)


def take_off_surplus(lanes: Lanes, plan: NoisePlan, links: Iterable[bytes], dropped: int) -> None:
    """Subtract the components beyond `dropped` of every site whose link `dropped + 1` is known, in place.

    What is not known stays: more noise than was planned, never less.
    """
    surplus = range(dropped + 1, len(plan.components) + 1)
    for link in links:
        _change(_core.subtract_noise, lanes, _components(plan, link, surplus))


def sensitivity(question: Question, unit: Unit) -> int:
    """The squared L2 norm, in grid units, of what one unit can add to all lanes of the question together.

    A patient adds a clipped and rounded vector to each block, and one count to each weight lane; a site's
    vector, and its count, are multiplied by its weight.
    """
    blocks = sum(block.limit for block in question.blocks)
    one = blocks + len(question.groups) * question.weight_scale**2
    return one * question.max_weight**2 if unit == "site" else one


def total_variance(policy: Policy, sigma: float) -> float:
    """The largest variance that the noise of all participants together has on a lane, before anything is off.

    Of U participants each has s / (U - c' - T) with all its components.
    """
    totals = []
    for participants in range(policy.smallest_cohort, policy.sites + 1):
        plan = noise_plan(policy, sigma, participants)
        totals.append(participants * (plan.base**2 + sum(part**2 for part in plan.components)))
    return max(totals)


def tail_of(policy: Policy, sigma: float) -> int:
    """The magnitude that all noise on one lane stays below, but for `wrap_probability`."""
    return ceil(TAIL * sqrt(total_variance(policy, sigma)))


def wrap_probability(lanes: int) -> float:
    """A bound on the probability that any of so many lanes wraps around in one round.

    A discrete Gaussian has the tails of a Gaussian of its sigma (CKS20, Corollary 17 and its proof, by the
    moment generating function, so sums have them too). Wrapping hides nothing and costs no privacy: the sum
    is wrong by 2**bits on that lane.
    """
    return min(1.0, 2.0 * exp(-0.5 * TAIL**2) * lanes)


def plan_with_noise(
    plan: Sequence[Question],
    unit: Unit,
    multipliers: Mapping[str, float],
    *,
    rates: Mapping[str, float] | None = None,
    local_steps: Mapping[str, int] | None = None,
    **terms: Any,
) -> Policy:
    """A policy over these questions, each with noise of so many times its joint sensitivity.

    multipliers    by kind: standard deviation of the honest survivors' noise over the L2 norm of what one
                   unit can add to all lanes; with "patient-local", of what each site draws by itself
    rates          by kind: probability with which a patient is in a round, 1 where nothing is said
    local_steps    by kind, for "patient-local": steps that a site takes by itself in one round, 1 by default
    terms          as in `plan_policy`, without `plan`, `across_rounds` and `chain`

    Weight lanes are scaled to a quarter of the blocks' sensitivity, so a count costs 3 % of the noise. Raises
    `PolicyError` where a part of the noise cannot be drawn, or the lanes cannot hold it.
    """
    if unit == "patient-local":
        # Whose noise is whose own needs no room for it, and nothing of it is ever taken off.
        return plan_policy(
            plan=[
                replace(
                    question,
                    saturate=True,
                    noise=Noise(
                        unit=unit,
                        sensitivity=1,
                        sampling_rate=(rates or {}).get(question.kind, 1.0),
                        local_steps=(local_steps or {}).get(question.kind, 1),
                        local_sigma=multipliers[question.kind],
                    ),
                )
                for question in plan
            ],
            across_rounds="noise",
            **terms,
        )
    scaled = [
        replace(question, saturate=True, weight_scale=count_scale(question), noise=None) for question in plan
    ]
    # The other terms do not hang on the noise, but the noise hangs on them.
    bare = plan_policy(
        plan=[replace(question, weight_scale=1) for question in scaled], across_rounds="accept", **terms
    )
    chained = replace(bare, chain=bare.tolerated(bare.sites) > 0)
    noisy = []
    for question in scaled:
        squared = sensitivity(question, unit)
        sigma = multipliers[question.kind] * sqrt_up(squared)
        check_parts(chained, question.kind, sigma)
        noise = Noise(
            unit=unit,
            sensitivity=squared,
            sigma=sigma,
            tail=tail_of(chained, sigma),
            sampling_rate=(rates or {}).get(question.kind, 1.0),
        )
        noisy.append(replace(question, noise=noise))
    return replace(
        chained, plan=tuple(noisy), across_rounds="noise", bits=required_bits(noisy, chained.sites)
    )


def check_parts(policy: Policy, kind: str, sigma: float) -> None:
    """Raise `PolicyError` unless every part of the noise, for any cohort, can be drawn and counted."""
    for participants in range(policy.smallest_cohort, policy.sites + 1):
        plan = noise_plan(policy, sigma, participants)
        if plan.least < LEAST_SIGMA:
            raise PolicyError(
                f"question {kind!r}: with {participants} participants a part of the noise has a standard "
                f"deviation of {plan.least:.3g} grid units, at least {LEAST_SIGMA:g} are needed: raise "
                f"fraction_bits"
            )
        if plan.base > _core.GREATEST_SIGMA:
            raise PolicyError(
                f"question {kind!r}: with {participants} participants each draws noise with a standard "
                f"deviation of {plan.base:.3g} grid units, at most 2**40 are possible: lower fraction_bits"
            )


@lru_cache(maxsize=1024)
def release_of(policy: Policy, question: Question, participants: int) -> Release:
    """What a round of so many participants gives out, whoever drops out: for the accountant.

    The variance is the same for every number of dropouts; of those, the one is taken whose parts make the sum
    differ most from a discrete Gaussian.
    """
    noise = question.noise
    if noise is None:
        raise PolicyError(f"question {question.kind!r} has no noise: no epsilon bounds what it gives out")
    if noise.unit == "patient-local":
        # One discrete Gaussian by itself: the grid is the site's own, and as fine as it likes.
        local = DiscreteGaussianSum(
            sensitivity=_LOCAL_GRID,
            dimension=question.lanes,
            variances=((noise.local_sigma * _LOCAL_GRID) ** 2,),
            survivors=1,
            colluders=0,
            sampling_rate=noise.sampling_rate,
            count=noise.local_steps,
        )
        return Release((local,), noise.unit, distance=_distance(question.lanes * noise.local_steps))
    plan, tolerated = noise_plan(policy, noise.sigma, participants), policy.tolerated(participants)
    out = counted_out(policy.colluders)
    parts = {
        dropped: tuple(sigma**2 for sigma in (plan.base, *plan.components[:dropped]))
        for dropped in (range(tolerated + 1) if policy.chain else [tolerated])
    }

    def distance_of(dropped: int) -> float:
        return tau(np.repeat(np.array(parts[dropped]), participants - dropped - out))

    worst = max(parts, key=distance_of)
    event = DiscreteGaussianSum(
        sensitivity=sqrt_up(noise.sensitivity),
        dimension=question.lanes,
        variances=parts[worst],
        survivors=participants - worst,
        colluders=out,
        sampling_rate=noise.sampling_rate,
    )
    drawn = question.lanes * participants * (1 + len(plan.components))
    return Release((event,), noise.unit, _distance(drawn), wrap_probability(question.lanes))


def sqrt_up(squared: int) -> float:
    """The root of an integer, rounded up."""
    return _up(sqrt(squared))


def _distance(samples: int) -> float:
    """How far so many samples together may be from what they should be, in total variation."""
    return float(samples) * 2.0**_core.NOISE_DISTANCE_LOG2


def count_scale(question: Question, share: float = 0.25) -> int:
    """Grid units of one patient on a weight lane, so that it is about `share` of the blocks' sensitivity."""
    blocks = sum(block.limit for block in question.blocks)
    return max(1, min(int(share * isqrt(blocks)), 2**40))  # as much as a policy allows


def _components(plan: NoisePlan, link: bytes, numbers: range) -> list[tuple[bytes, float]]:
    """Seed and sigma of the components with these numbers, of which `link` is the first one's."""
    parts = []
    for number in numbers:
        parts.append((noise_seed(link), plan.components[number - 1]))
        link = next_link(link)
    return parts


def _change(kernel: Callable[..., None], lanes: Lanes, parts: Sequence[tuple[bytes, float]]) -> None:
    seeds = bytearray().join(seed for seed, _ in parts)
    kernel(lanes, seeds, [sigma for _, sigma in parts])
    _core.wipe(seeds)


def _up(value: float) -> float:
    """A little above, by more than the rounding of a quotient and a root."""
    return nextafter(nextafter(value, inf), inf)
