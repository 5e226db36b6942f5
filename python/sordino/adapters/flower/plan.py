"""Questions for a policy, from the arrays and metrics of a Flower app."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import ArrayRecord

from sordino.adapters.flower.records import REST
from sordino.course.resolution import fraction_bits
from sordino.protocol.policy import Block, Question


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

    def block(name: str, length: int, bound: float) -> Block:
        bits = fraction_bits(name, clip=bound, sites=sites, max_weight=max_weight, wanted=wanted_bits)
        return Block(name, length, bound, bits)

    sizes = {name: array.numpy().size for name, array in (arrays or {}).items()}
    blocks = [block(name, sizes.pop(name), bound) for name, bound in clips.items()]
    if sizes:
        blocks.append(block(REST, sum(sizes.values()), clip))
    blocks += [block(name, 1, bound) for name, bound in metrics.items()]
    return Question(kind=kind, blocks=tuple(blocks), max_weight=max_weight)
