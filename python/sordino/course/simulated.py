# SPDX-License-Identifier: Apache-2.0

"""Sums over rows that are all in this process, dealt to simulated sites: what the estimators stand on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sordino.aggregation.base import Aggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.errors import InvalidArgument
from sordino.protocol.policy import Policy

LEAST_SITES = 3
"""A sum over fewer shows one of them the other's value."""

Summing: TypeAlias = Literal["masked", "plain"] | Callable[[Policy, Sequence[str]], Aggregator]
"""How an estimator's sums are made: masked, in the clear for comparison, or by what this makes."""


def sites_of_rows(sites: ArrayLike | None, rows: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The distinct labels, sorted, and for each row the place of its label, shape (rows,).

    Without labels the rows are dealt in turn to three sites. Raises `InvalidArgument` for labels that do not
    fit the rows, and for fewer than three sites.
    """
    if sites is None:
        labels = np.array([f"simulated-{number}" for number in range(1, LEAST_SITES + 1)])[:rows]
        members = np.arange(rows, dtype=np.intp) % LEAST_SITES
    else:
        given = np.asarray(sites)
        if given.shape != (rows,):
            raise InvalidArgument(
                f"sites must hold a label for each of the {rows} rows, got shape {given.shape}"
            )
        labels, members = np.unique(given, return_inverse=True)
    if len(labels) < LEAST_SITES:
        raise InvalidArgument(f"a secure sum needs rows at three sites or more, got {len(labels)}")
    return labels, members


def site_names(number: int) -> tuple[str, ...]:
    """Names for so many sites, in the order of their labels, which may be anything."""
    return tuple(f"site-{place:04d}" for place in range(number))


def summing(
    how: Summing,
    policy: Policy,
    sites: Sequence[str],
    *,
    groups: Mapping[str, Collection[str]] | None = None,
    **kept: Any,
) -> Aggregator:
    """The aggregator of a simulation; raises `InvalidArgument` for a name that is none.

    groups   of each site, its lane groups
    kept     what masked sums have besides: `directory`, `guard`
    """
    if how == "plain":
        with warnings.catch_warnings():
            # Whoever asks for the comparison by name has been told.
            warnings.simplefilter("ignore", PlainSumWarning)
            return PlainAggregator(policy, sites, groups=groups)
    if how == "masked":
        from sordino.aggregation.masked import MaskedAggregator

        return MaskedAggregator(policy, sites, groups=groups, **kept)
    if not callable(how):
        raise InvalidArgument(
            "aggregator must be 'masked', 'plain', or a callable of policy and sites that makes an "
            f"Aggregator, got {how!r}"
        )
    return how(policy, sites)
