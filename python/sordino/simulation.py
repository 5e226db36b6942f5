# SPDX-License-Identifier: Apache-2.0

"""`secure_sum`: the whole protocol in one process, for a first look and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sordino.aggregation.base import STEPS, Contribution, Contributor, Step, Traffic
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import InvalidArgument
from sordino.protocol.policy import Block, Policy, Question, plan_policy

_KIND, _BLOCK = "sum", "vector"
_SET_UP = ("advertise", "seal", "receipt")


@dataclass(frozen=True)
class SecureSum:
    """What everybody gets from a secure sum; also an array, by `numpy.asarray`.

    total       sum over the survivors of weight * value, float64 of the shape of one vector
    weight      sum over the survivors of the weights
    integers    the same sum on the integer grid (value * 2**fraction_bits), int64, exact
    survivors   whose vectors are in the sum
    dropped     whose vectors are not: name -> the first message that they did not send
    vanished    survivors whose secrets the others rebuilt
    traffic     bytes and seconds by site
    policy      the terms it was made under
    """

    total: NDArray[np.float64]
    weight: int
    integers: NDArray[np.int64]
    survivors: tuple[str, ...]
    dropped: Mapping[str, str]
    vanished: tuple[str, ...]
    traffic: Mapping[str, Traffic]
    policy: Policy

    @property
    def mean(self) -> NDArray[np.float64]:
        """The weighted mean over the survivors."""
        return self.total / self.weight

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.total, dtype=dtype, copy=True if copy is None else copy)


def secure_sum(
    vectors: Mapping[str, ArrayLike] | Sequence[ArrayLike],
    *,
    weights: Mapping[str, int] | None = None,
    policy: Policy | None = None,
    lose: Mapping[str, Step] | None = None,
    clip: float | None = None,
    fraction_bits: int = 24,
) -> SecureSum:
    """Sum the sites' vectors so that nobody, the coordinator included, sees any of them.

    vectors         one array of numbers a site, all of one shape; a sequence names them site0, site1, ...
    weights         integer weight of each site (default 1); never sent in the clear either
    policy          the terms; by default `default_policy(...)` for these vectors. A given policy must plan a
                    question "sum" with one block "vector"
    lose            sites that vanish: name -> the first message they do not send, one of "advertise",
                    "seal", "receipt" (set-up), "upload", "confirm", "unmask", "recover"
    clip            values are refused beyond it; by default a power of two above the largest magnitude here,
                    which in a real study would be public and agreed beforehand
    fraction_bits   the resolution is 2**-fraction_bits

    Raises `RoundAborted` if too few survive, `InvalidArgument` and `ValueOutOfRange` for unusable vectors.
    """
    arrays = _arrays(vectors)
    weights = weights or dict.fromkeys(arrays, 1)
    if set(weights) != set(arrays):
        raise InvalidArgument(f"weights must name the sites {sorted(arrays)}, got {sorted(weights)}")
    shape = next(iter(arrays.values())).shape
    if policy is None:
        policy = default_policy(arrays, weights=weights, clip=clip, fraction_bits=fraction_bits)
    lose = lose or {}
    if unknown := sorted(set(lose) - set(arrays)):
        raise InvalidArgument(f"lose names sites that have no vector: {unknown}")
    if wrong := sorted(set(lose.values()) - set(STEPS)):
        raise InvalidArgument(f"lose knows the steps {list(STEPS)}, got {wrong}")

    def contributor(name: str) -> Contributor:
        return lambda _: Contribution({_BLOCK: arrays[name].ravel()}, weights[name])

    in_set_up = {name: step for name, step in lose.items() if step in _SET_UP}
    with MaskedAggregator(policy, sorted(arrays), lose=in_set_up) as aggregator:
        outcome = aggregator.aggregate(
            _KIND, b"", {name: contributor(name) for name in arrays if name not in in_set_up}, lose=lose
        )
    return SecureSum(
        total=outcome.sums[_BLOCK].reshape(shape),
        weight=int(outcome.weights["all"]),
        integers=outcome.integers[policy.question(_KIND).spans[_BLOCK]].reshape(shape),
        survivors=outcome.survivors,
        dropped={**in_set_up, **outcome.dropped},
        vanished=outcome.vanished,
        traffic=outcome.traffic,
        policy=policy,
    )


def default_policy(
    vectors: Mapping[str, ArrayLike] | Sequence[ArrayLike],
    *,
    weights: Mapping[str, int] | None = None,
    clip: float | None = None,
    fraction_bits: int = 24,
    **terms: Any,
) -> Policy:
    """The policy that `secure_sum` takes if none is given: one round, frozen; `terms` as in `plan_policy`."""
    arrays = _arrays(vectors)
    first = next(iter(arrays.values()))
    if clip is None:
        largest = max((float(np.max(np.abs(array))) for array in arrays.values() if array.size), default=0.0)
        clip = 2.0 ** np.ceil(np.log2(largest)) if 0.0 < largest < 2.0**62 else 1.0
    question = Question(
        kind=_KIND,
        blocks=(Block(_BLOCK, first.size, clip, fraction_bits),),
        max_weight=max((weights or {"": 1}).values()),
    )
    terms.setdefault("across_rounds", "freeze")
    return plan_policy(study="secure-sum", sites=len(arrays), plan=[question], **terms)


def _arrays(
    vectors: Mapping[str, ArrayLike] | Sequence[ArrayLike],
) -> dict[str, NDArray[np.floating[Any]]]:
    if not isinstance(vectors, Mapping):
        width = len(str(len(vectors) - 1))
        vectors = {f"site{index:0{width}}": vector for index, vector in enumerate(vectors)}
    if not vectors:
        raise InvalidArgument("vectors must hold at least three sites, got none")
    arrays: dict[str, NDArray[np.floating[Any]]] = {}
    for name, vector in vectors.items():
        array = np.asarray(vector)
        if array.dtype.kind in "iu":
            if array.size and np.max(np.abs(array.astype(object))) > 2**53:
                raise InvalidArgument(f"the integers of site {name!r} go beyond 2**53")
            array = array.astype(np.float64)
        if array.dtype not in (np.float32, np.float64):
            raise InvalidArgument(f"the vector of site {name!r} must hold real numbers, got {array.dtype}")
        arrays[name] = array
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1:
        raise InvalidArgument(f"all vectors must have one shape, got {sorted(shapes)}")
    if 0 in next(iter(shapes)):
        raise InvalidArgument("the vectors are empty")
    return arrays
