# SPDX-License-Identifier: Apache-2.0

"""The one table of a site's steps: what it takes at each, what it answers, and where it is then.

The site's code, the tests and the diagram in docs/protocol.md all read this table.
"""

from __future__ import annotations

from typing import NamedTuple

from sordino.errors import RequestRefused
from sordino.protocol import messages as m


class Transition(NamedTuple):
    """At `step`, `request` is answered with `reply` and leads to `then`."""

    step: str
    request: type[m.Message]
    reply: type[m.Message]
    then: str


_OPEN = ("uploaded", "confirmed", "unmasked")

TABLE: tuple[Transition, ...] = (
    Transition("new", m.Offer, m.Advertisement, "advertised"),
    Transition("advertised", m.Advertisements, m.SealedPairs, "sealed"),
    Transition("sealed", m.Boxes, m.Receipt, "ready"),
    *(Transition(step, m.UploadRequest, m.Upload, "uploaded") for step in ("ready", *_OPEN)),
    Transition("uploaded", m.ConfirmRequest, m.Confirmation, "confirmed"),
    *(Transition(step, m.UnmaskRequest, m.Unmasking, "unmasked") for step in ("uploaded", "confirmed")),
    *(Transition(step, m.RecoverRequest, m.Recovery, step) for step in _OPEN),
    *(Transition(step, m.Close, m.Closed, "ready") for step in ("ready", *_OPEN)),
)

STEPS: tuple[str, ...] = ("new", "advertised", "sealed", "ready", *_OPEN, "closed")
"""A `Close` with `final` leads to "closed", at which nothing is taken any more."""

_BY_KEY = {(transition.step, transition.request): transition for transition in TABLE}


def transition(step: str, request: m.Message) -> Transition:
    """The table's line for this request at this step; `RequestRefused` if there is none."""
    found = _BY_KEY.get((step, type(request)))
    if found is None:
        raise RequestRefused(f"a site at step {step!r} takes no {type(request).__name__}")
    return found


def sequence_diagram() -> str:
    """The messages in order, in Mermaid's notation, as docs/protocol.md shows them."""
    lines = ["sequenceDiagram", "    participant C as coordinator", "    participant S as each site"]
    seen: set[type[m.Message]] = set()
    for line in TABLE:
        if line.request not in seen:
            seen.add(line.request)
            lines.append(f"    C->>S: {line.request.__name__}")
            lines.append(f"    S-->>C: {line.reply.__name__}")
    return "\n".join(lines)


def step_diagram() -> str:
    """A site's steps, in Mermaid's notation, as docs/protocol.md shows them."""
    lines = ["stateDiagram-v2", "    [*] --> new"]
    lines += [f"    {line.step} --> {line.then}: {line.request.__name__}" for line in TABLE]
    lines += [f"    {step} --> closed: Close(final)" for step in STEPS if (step, m.Close) in _BY_KEY]
    return "\n".join(lines)
