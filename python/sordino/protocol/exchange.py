# SPDX-License-Identifier: Apache-2.0

"""Driving a coordinator through its phases, with the way to reach a site left to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

from sordino.errors import PeerError
from sordino.protocol.coordinator import Coordinator, Request, Result
from sordino.protocol.journal import Reply

Ask: TypeAlias = Callable[[Request], Reply | None]
"""Sends a request to its site and gives the answer, or None if the site has vanished."""

Each: TypeAlias = Callable[[Ask, Sequence[Request]], Iterable[Reply | None]]
"""Asks for all requests of a phase, in turn as `map` does or side by side; the answers come in order."""

_ATTEMPTS = {"receipt": 3}
"""Boxes that fail are sent once more, and then without those that failed; nothing else is asked twice."""


def run_phase(coordinator: Coordinator, ask: Ask, each: Each = map) -> str:
    """Ask every site what this phase needs and proceed with whoever answered well; gives the new phase.

    A wrong answer is kept among the coordinator's faults, and its sender counts as vanished. Raises
    `RoundAborted` where too few remain.
    """
    for _ in range(_ATTEMPTS.get(coordinator.phase, 1)):
        requests = coordinator.requests()
        for request, reply in zip(requests, each(ask, requests), strict=True):
            if reply is not None:
                with suppress(PeerError):
                    coordinator.receive(request.site, reply.data, reply.payload)
    return coordinator.proceed()


def set_up(coordinator: Coordinator, ask: Ask, each: Each = map) -> None:
    """Run the three exchanges of the session's set-up."""
    while coordinator.phase in ("advertise", "seal", "receipt"):
        run_phase(coordinator, ask, each)


def finish_round(coordinator: Coordinator, ask: Ask, each: Each = map) -> Result:
    """Run an opened round to its sum; raises `RoundAborted` if it cannot have one."""
    while coordinator.phase != "done":
        run_phase(coordinator, ask, each)
    return coordinator.result
