# SPDX-License-Identifier: Apache-2.0

"""What would have to change where noise drowns the signal, one thing at a time and in numbers.

Noise that is `excess` times too long has to become so many times shorter, or the signal longer. Each figure
leaves all else as it is; ends of ranges are the caller's to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

from msgspec.structs import replace

from sordino.privacy.accountant import Accountant
from sordino.privacy.calibration import remaining_steps
from sordino.privacy.events import DiscreteGaussianSum
from sordino.protocol.policy import Policy

_GRID = 2.0**28


@dataclass(frozen=True)
class Remedies:
    """Any one of these is enough.

    excess      how many times too long the noise is
    patients    as many are needed in all; None for the unit "site" where sites may not have so many
    sites       as many are needed, each with as many patients as now; None where a site's noise is its own
    rounds      so many sums of training, in all repeats, cost what is planned if each has so little noise; 0
                if not even one
    parameters  so many values in the block that is trained
    epsilon     all that is planned costs this with so little noise
    delta       or this delta, at the planned epsilon; None if none was given
    max_weight  for the unit "site": the public bound on a site's patients, of which the noise is a multiple;
                None where sites have more than that
    """

    excess: float
    patients: int | None
    sites: int | None
    rounds: int
    parameters: int
    epsilon: float
    delta: float | None
    max_weight: int | None


def remedies(
    policy: Policy,
    times: Mapping[str, int],
    training: str,
    *,
    excess: float,
    patients: float,
    epsilon: float | None,
    delta: float,
) -> Remedies:
    """For the question `training`, whose noise is `excess` (above 1) times too long.

    patients          about how many there are
    epsilon, delta    the target; without an epsilon it is what the plan costs
    """
    planned, shorter = _events(policy, times, 1.0), _events(policy, times, 1.0 / excess)
    target = epsilon or Accountant(planned.values()).epsilon(delta).epsilon
    one = replace(shorter[training], count=shorter[training].count // times[training])
    others = [event for kind, event in planned.items() if kind != training]
    question = policy.question(training)
    unit = question.noise.unit if question.noise is not None else None
    more, lower = ceil(patients * excess), int(question.max_weight / excess)
    return Remedies(
        excess=excess,
        patients=None if unit == "site" and more > policy.sites * question.max_weight else more,
        sites=None if unit == "patient-local" else ceil(policy.sites * excess),
        rounds=remaining_steps(target, delta, one, released=others),
        parameters=int(question.blocks[0].length / excess**2),
        epsilon=Accountant(shorter.values()).epsilon(delta).epsilon,
        delta=None if epsilon is None else Accountant(shorter.values()).delta(epsilon).delta,
        max_weight=lower if unit == "site" and lower * policy.sites >= patients else None,
    )


def _events(policy: Policy, times: Mapping[str, int], scale: float) -> dict[str, DiscreteGaussianSum]:
    """What each kind releases in all its sums, its noise scaled and on a grid too fine to matter."""
    events = {}
    for question in policy.plan:
        noise = question.noise
        if noise is None:
            continue
        local = noise.unit == "patient-local"
        multiplier = noise.local_sigma if local else noise.sigma / sqrt(noise.sensitivity)
        events[question.kind] = DiscreteGaussianSum(
            sensitivity=_GRID,
            dimension=question.lanes,
            variances=((multiplier * scale * _GRID) ** 2,),
            survivors=1,
            colluders=0,
            sampling_rate=noise.sampling_rate,
            count=times[question.kind] * (noise.local_steps if local else 1),
        )
    return events
