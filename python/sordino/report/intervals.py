# SPDX-License-Identifier: Apache-2.0

"""How far a figure from few patients can be trusted: intervals from the figure and the counts alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

Z = 1.959964
"""Of a 95 % interval."""


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if trials <= 0.0:
        return 0.0, 1.0
    part, z = min(max(successes / trials, 0.0), 1.0), Z
    middle = part + z * z / (2.0 * trials)
    half = z * sqrt(part * (1.0 - part) / trials + z * z / (4.0 * trials * trials))
    scale = 1.0 + z * z / trials
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def of_area(area: float, positives: float, negatives: float, noise: float = 0.0) -> tuple[float, float]:
    """95 % interval of an AUC (Hanley and McNeil 1982, equation 1), of its patients and its noise.

    noise  standard deviation that noised counts give the AUC
    """
    if positives <= 0.0 or negatives <= 0.0:
        return 0.0, 1.0
    one, other = area / (2.0 - area), 2.0 * area * area / (1.0 + area)
    variance = (
        area * (1.0 - area)
        + (positives - 1.0) * (one - area * area)
        + (negatives - 1.0) * (other - area * area)
    ) / (positives * negatives)
    # At 0 or 1 the formula has no width at all; then that of a proportion of the smaller class.
    low, high = wilson(area * min(positives, negatives), min(positives, negatives))
    if variance + noise * noise > 0.0:
        half = Z * sqrt(max(variance, 0.0) + noise * noise)
        low, high = (max(area - half, 0.0), min(area + half, 1.0)) if 0.0 < area < 1.0 else (low, high)
    return low, high


def of_test(test: Mapping[str, Any], headline: str) -> tuple[float, float] | None:
    """95 % interval of the headline of a test, None where counts alone do not give one."""
    value = test.get(headline)
    if value is None:
        return None
    if headline == "auc":
        positives = float(test["positives"])
        noise = float(test.get("auc_noise_deviation") or 0.0)
        return of_area(float(value), positives, float(test["patients"]) - positives, noise)
    if headline == "c_index" and test.get("c_index_deviation") is not None:
        half = Z * float(test["c_index_deviation"])
        return max(float(value) - half, 0.0), min(float(value) + half, 1.0)
    return None
