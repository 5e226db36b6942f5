# SPDX-License-Identifier: Apache-2.0

"""Secure sums inside a Flower app: `mods=[secure_mod]` at the sites, `SecureStrategy` around the strategy.

docs/flower.md shows both lines, and says what is pinned and what the SuperLink sees. Names load when they are
first used: a site's process lives for one message, and needs nothing of the server's side.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import flwr  # noqa: F401
except ImportError:
    raise ImportError("Flower is not installed: pip install 'sordino[flower]'") from None

if TYPE_CHECKING:
    from sordino.adapters.flower.mod import SecureMod, certified, secure_mod
    from sordino.adapters.flower.records import made_with
    from sordino.adapters.flower.strategy import SecureStrategy
    from sordino.adapters.named import plan_question

_HOMES = {
    "SecureMod": "flower.mod",
    "SecureStrategy": "flower.strategy",
    "certified": "flower.mod",
    "made_with": "flower.records",
    "plan_question": "named",
    "secure_mod": "flower.mod",
}

__all__ = ["SecureMod", "SecureStrategy", "certified", "made_with", "plan_question", "secure_mod"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sordino.adapters.flower' has no attribute {name!r}")
    return getattr(import_module(f"sordino.adapters.{_HOMES[name]}"), name)
