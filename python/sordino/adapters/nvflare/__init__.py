# SPDX-License-Identifier: Apache-2.0

"""Secure sums inside an NVFlare job: `SecureFedAvgRecipe` in place of NVFlare's `FedAvgRecipe`.

docs/nvflare.md shows a job, and says what a site pins and what the server sees. Names load when they are
first used: a client needs nothing of the server's side.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import nvflare  # noqa: F401
except ImportError:
    raise ImportError("NVFlare is not installed: pip install 'sordino[nvflare]'") from None

if TYPE_CHECKING:
    from sordino.adapters.named import plan_question
    from sordino.adapters.nvflare.controller import SecureFedAvg
    from sordino.adapters.nvflare.executor import SecureExecutor, made_with
    from sordino.adapters.nvflare.recipe import SecureFedAvgRecipe

_HOMES = {
    "SecureExecutor": "nvflare.executor",
    "SecureFedAvg": "nvflare.controller",
    "SecureFedAvgRecipe": "nvflare.recipe",
    "made_with": "nvflare.executor",
    "plan_question": "named",
}

__all__ = ["SecureExecutor", "SecureFedAvg", "SecureFedAvgRecipe", "made_with", "plan_question"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sordino.adapters.nvflare' has no attribute {name!r}")
    return getattr(import_module(f"sordino.adapters.{_HOMES[name]}"), name)
