# SPDX-License-Identifier: Apache-2.0

"""The two ends of a masked sum: a site's contribution goes in, the coordinator's result comes out."""

from __future__ import annotations

import os
from collections.abc import Collection
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Contribution
from sordino.aggregation.lanes import decode_sums
from sordino.aggregation.private_lanes import encode_private
from sordino.aggregation.vector import FixedPointVector
from sordino.privacy.mechanisms import add_noise, noise_plan, take_off_surplus
from sordino.protocol.coordinator import Request, Result
from sordino.protocol.journal import Reply
from sordino.protocol.keys import draw_secret
from sordino.protocol.policy import Policy
from sordino.protocol.secret import SECRET_BYTES
from sordino.protocol.site import Site, Task


def upload_contribution(
    site: Site,
    policy: Policy,
    request: Request,
    task: Task,
    contribution: Contribution,
    *,
    groups: Collection[str],
) -> Reply:
    """Answer an upload request that `site.begin` has taken, with fresh noise if the question has noise.

    Raises what `FixedPointVector`, `encode_private` and `Site.upload` raise.
    """
    link = draw_secret(os.urandom) if policy.chain else None
    noise = task.question.noise
    if noise is None:
        vector = FixedPointVector(task.question, contribution, groups=groups)
        return site.upload(request.data, request.body, vector, link=link)
    lanes = encode_private(
        task.question,
        contribution,
        bits=policy.bits,
        rounding_seed=os.urandom(SECRET_BYTES),
        groups=groups,
    )
    if noise.sigma:
        plan = noise_plan(policy, noise.sigma, len(task.participants))
        base = os.urandom(SECRET_BYTES)
        add_noise(lanes, plan, base, link.reveal() if link is not None else None)
    return site.upload(request.data, request.body, lanes, link=link)


class Total(NamedTuple):
    """What a round's lanes say; each field is that of `Aggregate`."""

    sums: dict[str, NDArray[np.float64]]
    weights: dict[str, float]
    integers: NDArray[np.int64]
    noise: float


def read_total(policy: Policy, result: Result) -> Total:
    """Read a result, once what is more noise than planned is taken off its lanes, in place."""
    noise, left = result.question.noise, 0.0
    if noise is not None and noise.sigma:
        plan = noise_plan(policy, noise.sigma, len(result.participants))
        take_off_surplus(result.lanes, plan, result.links.values(), len(result.dropped))
        kept = plan.base**2 + sum(part**2 for part in plan.components[: len(result.dropped)])
        left = sqrt(len(result.survivors) * kept)
    return Total(*decode_sums(result.question, result.lanes, bits=policy.bits), noise=left)
