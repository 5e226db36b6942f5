# SPDX-License-Identifier: Apache-2.0

"""What the numbers of the accounting may be. Each check names the value and the allowed range."""

from __future__ import annotations

from math import isfinite
from operator import index

from sordino.errors import PrivacyParameter

NOISE = (1e-2, 1e9)
"""Noise multipliers. Below, no guarantee is worth its name; above, the divergence is lost to rounding."""

RATE = (1e-12, 1.0)
"""Sampling rates. The proof of a closed form in `sampled` rests on the lower end."""

ORDERS = (1 + 1e-9, 1e5)
"""Renyi orders that are searched; from 1e5 on the gain is below ln(1/delta) / 1e5."""

MAX_COUNT = 10**12
MAX_DIMENSION = 2**40
MAX_PARTIES = 10**6
MAX_PARTS = 10**4


def real(name: str, value: object, low: float, high: float) -> float:
    """Return `value` as a float in [low, high], or raise `PrivacyParameter`."""
    number = _number(name, value)
    if not low <= number <= high:
        raise PrivacyParameter(f"{name} must be from {low:g} to {high:g}, got {value!r}")
    return number


def positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0, or raise `PrivacyParameter`."""
    number = _number(name, value)
    if not (number > 0 and isfinite(number)):
        raise PrivacyParameter(f"{name} must be finite and above 0, got {value!r}")
    return number


def probability(name: str, value: object) -> float:
    """Return `value` as a float in [0, 1), or raise `PrivacyParameter`."""
    number = _number(name, value)
    if not 0 <= number < 1:
        raise PrivacyParameter(f"{name} must be at least 0 and below 1, got {value!r}")
    return number + 0.0


def whole(name: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int in [low, high], or raise `PrivacyParameter`."""
    try:
        number = index(value)  # type: ignore[arg-type]  # what is not an int raises
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise PrivacyParameter(f"{name} must be a whole number from {low} to {high}, got {value!r}")
    return number


def check_delta(value: object) -> float:
    """Return a delta, 0 < delta < 1, or raise `PrivacyParameter`."""
    number = _number("delta", value)
    if not 0 < number < 1:
        raise PrivacyParameter(f"delta must be above 0 and below 1, got {value!r}")
    return number


def check_epsilon(value: object) -> float:
    """Return an epsilon to be met, finite and above 0, or raise `PrivacyParameter`."""
    return positive("epsilon", value)


def check_order(value: object) -> float:
    """Return a Renyi order, above 1 and at most 1e5, or raise `PrivacyParameter`."""
    number = _number("order", value)
    if not ORDERS[0] <= number <= ORDERS[1]:
        raise PrivacyParameter(f"order must be above 1 and at most {ORDERS[1]:g}, got {value!r}")
    return number


def check_noise(value: object) -> float:
    """Return a noise multiplier, or raise `PrivacyParameter`."""
    return real("noise_multiplier", value, *NOISE)


def check_rate(value: object) -> float:
    """Return a sampling rate, above 0 and at most 1, or raise `PrivacyParameter`."""
    return real("sampling_rate", value, *RATE)


def check_count(value: object, name: str = "count") -> int:
    """Return a number of rounds, 1 or more, or raise `PrivacyParameter`."""
    return whole(name, value, 1, MAX_COUNT)


def _number(name: str, value: object) -> float:
    if isinstance(value, (bool, str, bytes)):
        raise PrivacyParameter(f"{name} must be a number, got {value!r}")
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        raise PrivacyParameter(f"{name} must be a number, got {value!r}") from None
