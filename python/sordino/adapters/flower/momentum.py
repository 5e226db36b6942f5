# SPDX-License-Identifier: Apache-2.0

"""What a strategy of Flower holds from round to round beside the model, and how it gets it back."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flwr.serverapp import strategy as flower

from sordino.adapters.checkpoint import Held

_MOMENTA = {
    flower.FedAvgM: ("momentum_vector",),
    flower.FedAdagrad: ("m_t", "v_t"),
    flower.FedAdam: ("m_t", "v_t"),
    flower.FedYogi: ("m_t", "v_t"),
}

_FROM_MODEL = "current_arrays"
"""Where they have the model that a round began with, which they take anew from the one that is sent."""

_CONSTANTS = (bool, int, float, str, bytes, type(None))

_log = logging.getLogger(__name__)


class Momentum:
    """The momentum of `strategy`, which has just been made or is about to go on."""

    def __init__(self, strategy: flower.Strategy) -> None:
        self._strategy = strategy
        self._names = next((names for kind, names in _MOMENTA.items() if isinstance(strategy, kind)), ())
        self._before = dict(vars(strategy))
        self._told: set[str] = set()

    def restore(self, held: Mapping[str, Held]) -> None:
        """Set what `held` gave; momentum starts anew, with a warning, where that was another strategy's."""
        if set(held) == set(self._names):
            for name in self._names:
                setattr(self._strategy, name, held[name])
        else:
            _log.warning(
                "%s starts anew: its momentum is %s, and %s was kept",
                type(self._strategy).__name__,
                list(self._names),
                sorted(held),
            )

    def held(self) -> dict[str, Held]:
        """What is to be kept, by attribute. Warns, once, of what else a subclass holds and may change."""
        more = {name for name, value in vars(self._strategy).items() if self._may_change(name, value)}
        if new := sorted(more - self._told):
            self._told |= more
            _log.warning(
                "%s holds %s, which is not kept: after a restart that starts anew",
                type(self._strategy).__name__,
                new,
            )
        return {name: getattr(self._strategy, name) for name in self._names}

    def _may_change(self, name: str, value: object) -> bool:
        """Whether an attribute was set anew, or is of a kind that changes where it is."""
        if name in (*self._names, _FROM_MODEL):
            return False
        if name not in self._before or value is not self._before[name]:
            return True
        return not isinstance(value, _CONSTANTS) and not callable(value)
