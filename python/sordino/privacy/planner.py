# SPDX-License-Identifier: Apache-2.0

"""What a study comes to before anything runs: epsilon, noise against signal, bytes, time, who may be missing.

From a policy, how often each of its questions is asked, and what is known of patients and machines, to one
frozen value. It draws nothing and measures nothing; the figures are those of the accountant, of the messages'
own encoding, and of the noise that sites really draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, TypeAlias

from msgspec.structs import replace

from sordino.errors import PrivacyParameter
from sordino.privacy.accountant import Guarantee
from sordino.privacy.cost import cost, worst_release
from sordino.privacy.events import Release
from sordino.privacy.mechanisms import counted_out, noise_plan
from sordino.privacy.ranges import check_delta
from sordino.privacy.remedies import Remedies, remedies
from sordino.protocol.noise import Unit
from sordino.protocol.policy import Policy, Question
from sordino.protocol.sizes import RoundBytes, round_bytes

HOPELESS = 1.0
"""Noise on a mean that is longer than the clip: no step can go where the patients point."""

WORTH = 0.02
"""Components, each a further draw for every lane and a further share for every neighbour, are worth it where
the noise without them would be larger by more than this part."""

Choice: TypeAlias = Literal["with components", "without components"]


@dataclass(frozen=True)
class Rates:
    """How fast one core of a site's machine is.

    masks      lanes a second, for one seed
    noise      lanes a second, for one discrete Gaussian
    packing    lanes a second, for all else that is done with lanes: rounding, packing, hashing
    overhead   seconds of a round that do not hang on the lanes: keys, shares, boxes, signatures
    """

    masks: float
    noise: float
    packing: float
    overhead: float


@dataclass(frozen=True)
class Precision:
    """Signal and noise on each lane of one block, in the block's own units.

    clip            with noise the L2 norm of what one unit gives, without it the bound of one value
    resolution      one grid unit
    noise           standard deviation on a lane of the sum if nobody drops out, as `Aggregate.noise`
    noise_on_mean   the same after division by the patients of a sum; None where those are not known
    """

    block: str
    lanes: int
    clip: float
    resolution: float
    noise: float
    noise_on_mean: float | None


@dataclass(frozen=True)
class Asked:
    """One kind of question.

    times              how often it is planned for, spare rounds included
    sigma              standard deviation in grid units of the noise that the accountant counts
    noise_multiplier   the same over what one unit adds at most; for "patient-local" of a site's own steps
    epsilon_once       of one sum by itself; None without noise, which nothing bounds
    epsilon_all        of all its sums together
    count_noise        standard deviation of the noise on the number of patients
    noise_to_clip      as `noise_to_clip` says; None where the patients are not known too
    wrap_probability   bound on the chance that wrapping spoils any of its sums
    site_seconds       work of a site for one sum, its own training not counted; None without rates
    """

    kind: str
    times: int
    lanes: int
    sigma: float
    noise_multiplier: float
    sampling_rate: float
    local_steps: int
    epsilon_once: float | None
    epsilon_all: float | None
    precision: tuple[Precision, ...]
    count_noise: float
    noise_to_clip: float | None
    wrap_probability: float
    bytes: RoundBytes
    site_seconds: float | None
    coordinator_seconds: float | None


@dataclass(frozen=True)
class Components:
    """Noise that is exact for every number of dropouts, against a base alone that is planned for the worst.

    noise, noise_alone    standard deviation of the sum's noise if nobody drops out, over that of a trusted
                          curator: with components, and without
    draws                 discrete Gaussians that a site draws for a lane with components; 1 without
    share_bytes           what components add to the bytes that a site sends
    """

    planned: bool
    noise: float
    noise_alone: float
    draws: int
    share_bytes: int
    cheaper: Choice


@dataclass(frozen=True)
class Plan:
    """Everything that a policy and its questions come to.

    guarantee    what all sums together cost a unit; None without noise, which nothing bounds
    epsilons     (kind, sums of that kind made, epsilon so far) along the course
    training     the question whose noise has to leave something of the signal, if one was named
    remedies     what would have to change for the noise of training to be no longer than its clip; None if it
                 is not, or where there is nothing to compare
    """

    policy: Policy
    unit: Unit | None
    guarantee: Guarantee | None
    epsilons: tuple[tuple[str, int, float], ...]
    questions: tuple[Asked, ...]
    components: Components | None
    tolerated: int
    training: Asked | None
    remedies: Remedies | None

    @property
    def hopeless(self) -> bool:
        """Whether noise drowns the training."""
        return self.remedies is not None

    @property
    def sent(self) -> int:
        """Bytes that a site sends in all rounds."""
        return sum(asked.times * asked.bytes.sent for asked in self.questions)

    @property
    def site_seconds(self) -> float | None:
        """A site's work in all rounds, its own training not counted."""
        return _added([(asked.times, asked.site_seconds) for asked in self.questions])

    @property
    def coordinator_seconds(self) -> float | None:
        """The coordinator's work in all rounds: taking off masks and surplus noise."""
        return _added([(asked.times, asked.coordinator_seconds) for asked in self.questions])


def plan_study(
    policy: Policy,
    times: Mapping[str, int],
    names: Sequence[str],
    *,
    delta: float = 1e-5,
    epsilon: float | None = None,
    training: str | None = None,
    patients: Mapping[str, float] | None = None,
    rates: Rates | None = None,
) -> Plan:
    """What a policy and its questions come to.

    times            by kind: how often it is asked
    names            of the sites
    delta, epsilon   at which costs are given, and the target that `Plan.remedies` keeps to
    training         the kind of question whose noise has to leave something of the signal
    patients         by kind: about how many there are, of whom `sampling_rate` are in one sum
    rates            for the times

    Raises `PrivacyParameter` where kinds or names are not those of the policy, or delta is out of range, and
    `PrivacyError` where the cost is so high that the accountant has no answer.
    """
    kinds = [question.kind for question in policy.plan]
    if sorted(times) != sorted(kinds) or min(times.values()) < 1:
        raise PrivacyParameter(
            f"times must say how often each of {sorted(kinds)} is asked, got {dict(times)}"
        )
    if len(set(names)) != policy.sites:
        raise PrivacyParameter(f"names must be {policy.sites} distinct ones, got {list(names)}")
    check_delta(delta)
    noisy = policy.across_rounds == "noise"
    releases = {one.kind: worst_release(policy, one) for one in policy.plan} if noisy else {}
    questions = tuple(
        _asked(
            policy,
            question,
            times[question.kind],
            names,
            releases.get(question.kind),
            delta,
            (patients or {}).get(question.kind),
            rates,
        )
        for question in policy.plan
    )
    asked = next((one for one in questions if one.kind == training), None)
    drowned = asked is not None and (asked.noise_to_clip or 0.0) > HOPELESS
    return Plan(
        policy=policy,
        unit=next((one.noise.unit for one in policy.plan if one.noise is not None), None),
        guarantee=cost(_counted(releases, times), delta) if noisy else None,
        epsilons=_course(releases, times, delta),
        questions=questions,
        components=_components(policy, names),
        tolerated=max(policy.tolerated(policy.sites), 0),
        training=asked,
        remedies=remedies(
            policy,
            times,
            asked.kind,
            excess=asked.noise_to_clip / HOPELESS,
            patients=(patients or {})[asked.kind],
            epsilon=epsilon,
            delta=delta,
        )
        if drowned and asked is not None and asked.noise_to_clip is not None
        else None,
    )


def noise_of_sum(policy: Policy, sigma: float, participants: int, dropped: int = 0) -> float:
    """Standard deviation in grid units of the noise on each lane of a sum once surplus is off."""
    if not sigma:
        return 0.0
    plan = noise_plan(policy, sigma, participants)
    kept = plan.base**2 + sum(part**2 for part in plan.components[:dropped])
    return sqrt((participants - dropped) * kept)


def noise_to_clip(policy: Policy, question: Question, patients: float) -> float | None:
    """How long the noise on the mean of a sum's first block is, in clips, over so many patients in the sum.

    Above 1 no step can go where the patients point. For "patient-local" it is about one step of one site with
    its part of the patients. None without noise.
    """
    block, noise = question.blocks[0], question.noise
    if noise is None:
        return None
    if noise.unit == "patient-local":  # by the site's own grid the clip is 1
        return noise.local_sigma * sqrt(block.length) / max(patients / policy.sites, 1.0)
    deviation = noise_of_sum(policy, noise.sigma, policy.sites) / block.scale
    return deviation * sqrt(block.length) / block.clip / max(patients, 1.0)


def _asked(
    policy: Policy,
    question: Question,
    times: int,
    names: Sequence[str],
    release: Release | None,
    delta: float,
    patients: float | None,
    rates: Rates | None,
) -> Asked:
    noise = question.noise
    sigma, rate = (noise.sigma, noise.sampling_rate) if noise else (0.0, 1.0)
    local = noise is not None and noise.unit == "patient-local"
    multiplier = 0.0
    if noise is not None:
        multiplier = noise.local_sigma if local else sigma / sqrt(noise.sensitivity)
    deviation = noise_of_sum(policy, sigma, policy.sites)
    expected = None if patients is None else max(patients * rate, 1.0)
    site_seconds, coordinator_seconds = _seconds(policy, question, rates)
    return Asked(
        kind=question.kind,
        times=times,
        lanes=question.lanes,
        sigma=sigma,
        noise_multiplier=multiplier,
        sampling_rate=rate,
        local_steps=noise.local_steps if noise else 0,
        epsilon_once=None if release is None else cost({release: 1}, delta).epsilon,
        epsilon_all=None if release is None else cost({release: times}, delta).epsilon,
        precision=tuple(
            Precision(
                block=block.name,
                lanes=block.length,
                clip=block.clip,
                resolution=1.0 / block.scale,
                noise=deviation / block.scale,
                noise_on_mean=None if expected is None else deviation / block.scale / expected,
            )
            for block in question.blocks
        ),
        count_noise=deviation / question.weight_scale,
        noise_to_clip=None if expected is None else noise_to_clip(policy, question, expected),
        wrap_probability=min(1.0, times * release.wrap_probability) if release else 0.0,
        bytes=round_bytes(policy, question, names),
        site_seconds=site_seconds,
        coordinator_seconds=coordinator_seconds,
    )


def _seconds(policy: Policy, question: Question, rates: Rates | None) -> tuple[float | None, float | None]:
    """Of a site and of the coordinator, for one sum in which nobody drops out."""
    if rates is None:
        return None, None
    sigma = question.noise.sigma if question.noise else 0.0
    parts = len(noise_plan(policy, sigma, policy.sites).components) if sigma else 0
    masks, noise = question.lanes / rates.masks, question.lanes / rates.noise
    seeds = 1 + (policy.neighbours or policy.sites - 1)
    site = rates.overhead + seeds * masks + (1 + parts if sigma else 0) * noise
    site += question.lanes / rates.packing
    return site, policy.sites * (masks + parts * noise)


def _components(policy: Policy, names: Sequence[str]) -> Components | None:
    """Judged at the policy's own question with noise; the ratios are the same for each."""
    question = next((one for one in policy.plan if one.noise is not None and one.noise.sigma), None)
    if question is None or question.noise is None:
        return None
    chained, alone = replace(policy, chain=True), replace(policy, chain=False)
    tolerated, out = max(policy.tolerated(policy.sites), 0), counted_out(policy.colluders)
    exact = sqrt(policy.sites / (policy.sites - out))
    worst = sqrt(policy.sites / (policy.sites - out - tolerated))
    return Components(
        planned=policy.chain,
        noise=exact,
        noise_alone=worst,
        draws=1 + tolerated,
        share_bytes=round_bytes(chained, question, names).sent - round_bytes(alone, question, names).sent,
        cheaper="with components" if worst > (1.0 + WORTH) * exact else "without components",
    )


def _counted(releases: Mapping[str, Release], times: Mapping[str, int]) -> Counter[Release]:
    counted: Counter[Release] = Counter()
    for kind, release in releases.items():
        counted[release] += times[kind]  # two kinds may release the same
    return counted


def _course(
    releases: Mapping[str, Release], times: Mapping[str, int], delta: float
) -> tuple[tuple[str, int, float], ...]:
    """Epsilon at the quarters of each kind's sums, kinds in the order of the plan."""
    found, before = [], dict.fromkeys(releases, 0)
    for kind in releases:
        for made in sorted({-(-times[kind] * quarter // 4) for quarter in range(1, 5)}):
            before[kind] = made
            spent = _counted({one: releases[one] for one in releases if before[one]}, before)
            found.append((kind, made, cost(spent, delta).epsilon))
    return tuple(found)


def _added(parts: Sequence[tuple[int, float | None]]) -> float | None:
    total = 0.0
    for times, seconds in parts:
        if seconds is None:
            return None
        total += times * seconds
    return total
