# SPDX-License-Identifier: Apache-2.0

"""How messages of the protocol travel in NVFlare's Shareables."""

from __future__ import annotations

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable

from sordino.protocol.coordinator import Request
from sordino.protocol.journal import Reply

TASK = "sordino"
"""The one task that clients are given; what it asks is in the message."""

_DATA, _MORE = "sordino", "sordino-payload"


def seal(data: bytes, more: bytes) -> Shareable:
    """A message, and what travels beside it: a question's body, or the masked lanes."""
    shareable = Shareable()
    shareable[_DATA], shareable[_MORE] = data, more
    return shareable


def seal_request(request: Request) -> Shareable:
    """A request to a site."""
    return seal(request.data, request.body)


def unseal(shareable: Shareable) -> tuple[bytes, bytes] | None:
    """What `seal` sealed; None if this is something else."""
    data, more = shareable.get(_DATA), shareable.get(_MORE)
    return (data, more) if isinstance(data, bytes) and isinstance(more, bytes) else None


def open_reply(shareable: Shareable) -> Reply | None:
    """A site's answer; None if this is none."""
    found = unseal(shareable)
    return Reply(*found) if found is not None and shareable.get_return_code() == ReturnCode.OK else None
