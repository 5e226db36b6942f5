# SPDX-License-Identifier: Apache-2.0

"""What a study costs in privacy: events that say what was released, an accountant, budgets, calibration.

Public names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sordino.privacy.accountant import Accountant, Guarantee
    from sordino.privacy.budget import PrivacyBudget, Spent
    from sordino.privacy.calibration import noise_multiplier, remaining_steps, sampling_rate
    from sordino.privacy.events import (
        AdaptiveClipGaussian,
        DiscreteGaussianSum,
        FixedSizeSampledGaussian,
        Gaussian,
        PureDP,
        Release,
        SampledGaussian,
        ZeroConcentrated,
    )
    from sordino.privacy.gaussian import joint_noise_multiplier, update_noise_multiplier

_HOMES = {
    "Accountant": "accountant",
    "AdaptiveClipGaussian": "events",
    "DiscreteGaussianSum": "events",
    "FixedSizeSampledGaussian": "events",
    "Gaussian": "events",
    "Guarantee": "accountant",
    "PrivacyBudget": "budget",
    "PureDP": "events",
    "Release": "events",
    "SampledGaussian": "events",
    "Spent": "budget",
    "ZeroConcentrated": "events",
    "joint_noise_multiplier": "gaussian",
    "noise_multiplier": "calibration",
    "remaining_steps": "calibration",
    "sampling_rate": "calibration",
    "update_noise_multiplier": "gaussian",
}

__all__ = [
    "Accountant",
    "AdaptiveClipGaussian",
    "DiscreteGaussianSum",
    "FixedSizeSampledGaussian",
    "Gaussian",
    "Guarantee",
    "PrivacyBudget",
    "PureDP",
    "Release",
    "SampledGaussian",
    "Spent",
    "ZeroConcentrated",
    "joint_noise_multiplier",
    "noise_multiplier",
    "remaining_steps",
    "sampling_rate",
    "update_noise_multiplier",
]

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sordino.privacy' has no attribute {name!r}")
        return getattr(import_module(f"sordino.privacy.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
