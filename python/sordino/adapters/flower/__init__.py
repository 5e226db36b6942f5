"""Secure sums inside a Flower app: `mods=[secure_mod]` at the sites, `SecureStrategy` around the strategy.

docs/flower.md shows both lines, and says what is pinned and what the SuperLink sees.
"""

try:
    import flwr  # noqa: F401
except ImportError:
    raise ImportError("Flower is not installed: pip install 'sordino[flower]'") from None

from sordino.adapters.flower.mod import SecureMod, certified, secure_mod
from sordino.adapters.flower.plan import plan_question
from sordino.adapters.flower.records import made_with
from sordino.adapters.flower.strategy import SecureStrategy

__all__ = ["SecureMod", "SecureStrategy", "certified", "made_with", "plan_question", "secure_mod"]
