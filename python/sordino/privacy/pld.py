# SPDX-License-Identifier: Apache-2.0

"""Privacy loss distributions by dp-accounting, the extra `pld`: often the smallest bound, and slow.

Its estimates are pessimistic: rounding goes up. They apply where every event is Gaussian, sampled or not, or
pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sordino.errors import PrivacyError
from sordino.privacy.events import Event, Gaussian, PureDP, SampledGaussian


def pld_epsilon(counts: Mapping[Event, int], delta: float) -> float | None:
    """Epsilon at `delta` of events, each so often; None where PLD does not apply to one of them.

    Raises `PrivacyError` where dp-accounting is not installed.
    """
    composed = _composed(tuple(counts.items()))
    return None if composed is None else float(composed.get_epsilon_for_delta(delta))


def pld_delta(counts: Mapping[Event, int], epsilon: float) -> float | None:
    """Delta at `epsilon`, as `pld_epsilon`."""
    composed = _composed(tuple(counts.items()))
    return None if composed is None else float(composed.get_delta_for_epsilon(epsilon))


@lru_cache(maxsize=16)
def _composed(counts: tuple[tuple[Event, int], ...]) -> Any:
    try:
        from dp_accounting import pld
    except ImportError:
        raise PrivacyError(
            "privacy loss distributions need dp-accounting: pip install 'sordino[pld]'"
        ) from None
    distributions = pld.privacy_loss_distribution
    total = None
    for event, count in counts:
        match event:
            case Gaussian():
                one = distributions.from_gaussian_mechanism(event.noise_multiplier)
            case SampledGaussian():
                one = distributions.from_gaussian_mechanism(
                    event.noise_multiplier, sampling_prob=event.sampling_rate
                )
            case PureDP():
                one = distributions.from_privacy_parameters(
                    pld.common.DifferentialPrivacyParameters(event.epsilon, 0)
                )
            case _:
                return None
        part = one.self_compose(count)
        total = part if total is None else total.compose(part)
    return total
