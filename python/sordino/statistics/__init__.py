# SPDX-License-Identifier: Apache-2.0

"""Statistics of features by secure sums; `describe` is the way in."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sordino.statistics.describing import describe
    from sordino.statistics.description import Description
    from sordino.statistics.histogram import Histogram, Quantile
    from sordino.statistics.survey import Survey

_HOMES = {
    "Description": "description",
    "Histogram": "histogram",
    "Quantile": "histogram",
    "Survey": "survey",
    "describe": "describing",
}

__all__ = ["Description", "Histogram", "Quantile", "Survey", "describe"]

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sordino.statistics' has no attribute {name!r}")
        return getattr(import_module(f"sordino.statistics.{_HOMES[name]}"), name)
