# SPDX-License-Identifier: Apache-2.0

"""The weighted mean of named arrays over sites, by one secure sum: of any model that is arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil, log2
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sordino.aggregation.base import Contribution
from sordino.course.resolution import fraction_bits
from sordino.course.simulated import LEAST_SITES, Summing, site_names, summing
from sordino.errors import InvalidArgument, ValueOutOfRange
from sordino.protocol.policy import Block, Question, plan_policy

_KIND = "average"
_WANTED_BITS = 40
"""An array is rounded at 2**-40 of its clip if the lanes allow: finer than float32 is at its clip."""
_LEAST_CLIP = 2.0**-20
_MOST = 2.0**53
"""Integers beyond are no float64, and floats beyond mean that something went wrong."""


def average_arrays(
    arrays: Mapping[str, Mapping[str, ArrayLike]],
    *,
    weights: Mapping[str, int] | None = None,
    clip: float | None = None,
    aggregator: Summing = "masked",
) -> dict[str, NDArray[Any]]:
    """The mean over the sites of arrays that have the same names, shapes and dtypes at each.

    arrays      site -> name -> array; sites and names may come in any order, and are as in the first site
                when they go
    weights     whole numbers from 1 on, patients say; 1 for each site by default. They go into the sum only
    clip        bound on the magnitudes of floats; by default, for each array, a power of two above the
                largest here, which in a real study would be agreed on beforehand
    aggregator  "masked", "plain", or a callable, as in `FederatedEstimator`

    Dtype and shape stay. Means of floats are rounded to 2**-40 of the clip (less finely where weights are
    huge) and then to their dtype, those of integers, which are summed exactly, to the nearest, ties to even;
    of booleans it is what more than half of the weight has.

    Raises `InvalidArgument` for sites whose arrays do not match, naming site and array, and for dtypes that
    are no numbers, and `ValueOutOfRange`, naming them too, for NaN, infinity and what is beyond the clip.
    """
    weights = dict.fromkeys(arrays, 1) if weights is None else dict(weights)
    _check(arrays, weights, clip)
    given = {site: {name: np.asarray(array) for name, array in own.items()} for site, own in arrays.items()}
    like = next(iter(given.values()))
    _check_alike(given, like)
    clips = {name: _clip(name, given, clip) for name in like}
    means = {name: array.copy() for name, array in like.items()}
    if not any(array.size for array in like.values()):
        return means

    heaviest = max(weights.values())
    blocks, members = _blocks(like, clips, len(given), heaviest)
    question = Question(kind=_KIND, blocks=blocks, max_weight=heaviest)
    policy = plan_policy(study=_KIND, sites=len(given), plan=[question], across_rounds="freeze")

    def contribution(site: str, _: bytes) -> Contribution:
        values = {
            block: np.concatenate([given[site][name].ravel().astype(np.float64) for name in names])
            for block, names in members.items()
        }
        return Contribution(values, weights[site])

    called = dict(zip(site_names(len(given)), given, strict=True))
    with summing(aggregator, policy, tuple(called)) as adder:
        total = adder.aggregate(
            _KIND, b"", {name: partial(contribution, site) for name, site in called.items()}
        )
    for block, names in members.items():
        ends = np.cumsum([like[name].size for name in names])[:-1]
        for name, mean in zip(names, np.split(total.mean(block), ends), strict=True):
            means[name] = _as(mean, like[name])
    return means


def _check(
    arrays: Mapping[str, Mapping[str, ArrayLike]], weights: Mapping[str, Any], clip: float | None
) -> None:
    if len(arrays) < LEAST_SITES:
        raise InvalidArgument(f"a secure sum needs three sites or more, got {len(arrays)}")
    if set(weights) != set(arrays):
        raise InvalidArgument(f"weights must name the sites {sorted(arrays)}, got {sorted(weights)}")
    for site, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, Integral) or weight < 1:
            raise InvalidArgument(f"the weight of {site!r} must be a whole number from 1 on, got {weight!r}")
    if clip is not None and not 0.0 < clip < float("inf"):
        raise InvalidArgument(f"clip must be a number above 0, got {clip}")


def _check_alike(given: Mapping[str, Mapping[str, NDArray[Any]]], like: Mapping[str, NDArray[Any]]) -> None:
    first = next(iter(given))
    for site, own in given.items():
        for one, other, more in [(site, first, set(own) - set(like)), (first, site, set(like) - set(own))]:
            if more:
                raise InvalidArgument(f"site {one!r} has arrays that {other!r} has not: {sorted(more)}")
        for name, array in own.items():
            what, wanted = (array.dtype, array.shape), (like[name].dtype, like[name].shape)
            if what != wanted:
                raise InvalidArgument(
                    f"array {name!r} is {what[0]} {what[1]} at site {site!r}, but {wanted[0]} {wanted[1]} at "
                    f"{first!r}"
                )
            if array.dtype.kind not in "bfiu" or array.dtype.itemsize > 8:
                raise InvalidArgument(
                    f"array {name!r} holds no real numbers of 64 bits or less: {array.dtype}"
                )


def _clip(name: str, given: Mapping[str, Mapping[str, NDArray[Any]]], clip: float | None) -> float:
    """The bound on an array's magnitudes, to which every site's is held."""
    largest, floating = 0.0, next(iter(given.values()))[name].dtype.kind == "f"
    most = clip if floating and clip is not None else _MOST
    for site, own in given.items():
        if not own[name].size:
            continue
        # Not abs: the most negative integer has none in its dtype.
        here = max(float(own[name].max()), -float(own[name].min()))
        if not here <= most:
            what = f"{here:g}, beyond {most:g}" if np.isfinite(here) else "a value that is not finite"
            raise ValueOutOfRange(f"array {name!r} of site {site!r} holds {what}")
        largest = max(largest, here)
    if floating and clip is not None:
        return clip
    return float(2.0 ** ceil(log2(max(largest, _LEAST_CLIP if floating else 1.0))))


def _blocks(
    like: Mapping[str, NDArray[Any]], clips: Mapping[str, float], sites: int, heaviest: int
) -> tuple[tuple[Block, ...], dict[str, list[str]]]:
    """A block for all arrays of one clip and one resolution, and the names of its arrays in order."""
    members: dict[tuple[float, int], list[str]] = {}
    for name, array in like.items():
        if array.size:
            wanted = max(0, _WANTED_BITS - ceil(log2(clips[name]))) if array.dtype.kind == "f" else 0
            bits = fraction_bits(
                f"array {name!r}", clip=clips[name], sites=sites, max_weight=heaviest, wanted=wanted
            )
            members.setdefault((clips[name], bits), []).append(name)
    blocks = tuple(
        Block(f"arrays-{number}", sum(like[name].size for name in names), clip, bits)
        for number, ((clip, bits), names) in enumerate(members.items())
    )
    return blocks, {block.name: names for block, names in zip(blocks, members.values(), strict=True)}


def _as(mean: NDArray[np.float64], like: NDArray[Any]) -> NDArray[Any]:
    """The mean in the dtype and the shape of the sites' arrays."""
    if like.dtype.kind == "b":
        mean = np.where(mean > 0.5, 1.0, 0.0)
    elif like.dtype.kind in "iu":
        mean = np.rint(mean)
    return mean.astype(like.dtype).reshape(like.shape)
