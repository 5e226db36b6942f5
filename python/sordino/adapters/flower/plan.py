# SPDX-License-Identifier: Apache-2.0

"""Questions for a policy, from the arrays and metrics of a Flower app."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import ArrayRecord

from sordino.adapters import named
from sordino.adapters.flower.records import values_of
from sordino.protocol.policy import Question


def plan_question(
    kind: str,
    arrays: ArrayRecord | None,
    *,
    sites: int,
    max_weight: int,
    clip: float = 1.0,
    clips: Mapping[str, float] = {},
    metrics: Mapping[str, float] = {},
    wanted_bits: int = 24,
) -> Question:
    """The question behind messages of the type `kind` ("train", "evaluate").

    arrays       what is sent and comes back changed; None where only metrics come back
    max_weight   the largest number of examples of one site
    clip         bound on the change of any value, in the one block of all arrays without a clip of their own;
                 once the policy has noise, on the L2 norm of that block
    clips        arrays with a block of their own, and its clip
    metrics      by metric: the bound on its values
    wanted_bits  resolution 2**-wanted_bits, if the lanes allow
    """
    return named.plan_question(
        kind,
        {name: values_of(array) for name, array in (arrays or {}).items()},
        sites=sites,
        max_weight=max_weight,
        clip=clip,
        clips=clips,
        metrics=metrics,
        wanted_bits=wanted_bits,
    )
