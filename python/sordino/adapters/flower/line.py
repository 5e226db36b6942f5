# SPDX-License-Identifier: Apache-2.0

"""How requests get over a Flower grid, and how long an answer is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import httpx
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from sordino.adapters.flower.envelope import open_reply, seal_request
from sordino.adapters.session import Node
from sordino.errors import RoundAborted
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Request
from sordino.protocol.journal import Reply
from sordino.protocol.policy import Policy

_POLL_SECONDS = 0.1
_PUSHES = 5

_log = logging.getLogger(__name__)


class GridLine:
    """The nodes of a grid; see `sordino.adapters.session.Line`.

    records   what the question that is asked now is about; they travel beside its upload requests
    """

    def __init__(self, grid: Grid, policy: Policy) -> None:
        self._grid = grid
        self._policy = policy
        self.records = RecordDict()

    def nodes(self) -> list[Node]:
        """The nodes that there are now."""
        return list(self._grid.get_node_ids())

    def exchange(self, requests: Sequence[tuple[Node, Request]], seconds: float) -> list[Reply | None]:
        """Send requests and wait for their answers; None for who does not answer in time, or cannot."""
        messages = [self._message(node, request) for node, request in requests]
        places = {number: place for place, number in enumerate(self._push(messages)) if number is not None}
        until = time.monotonic() + seconds
        replies: list[Reply | None] = [None] * len(messages)
        while places:
            for answer in self._pull(list(places)):
                place = places.pop(answer.metadata.reply_to_message_id, None)
                if place is not None and answer.has_content():
                    replies[place] = open_reply(answer.content)
            if not places or time.monotonic() >= until:
                break
            time.sleep(_POLL_SECONDS)
        return replies

    def _message(self, node: Node, request: Request) -> Message:
        """A question is a message of its own kind; to anything else Flower's types mean nothing."""
        asked = wire.read_at_site(request.data, self._policy.sites)
        if isinstance(asked, m.UploadRequest):
            return Message(seal_request(request.data, self.records), node, asked.kind)
        return Message(seal_request(request.data, {}), node, self._policy.plan[0].kind)

    def _push(self, messages: list[Message]) -> list[str | None]:
        """Hand messages to the SuperLink; a site that gets one twice gives the same answer twice."""
        for attempt in range(1, _PUSHES + 1):
            try:
                return list(self._grid.push_messages(messages))
            except (httpx.HTTPError, OSError) as error:
                if attempt == _PUSHES:
                    raise RoundAborted(f"the SuperLink takes no messages: {error}") from None
                _log.warning("messages are sent once more: %s", error)
                time.sleep(_POLL_SECONDS * 2**attempt)
        raise AssertionError

    def _pull(self, numbers: list[str]) -> list[Message]:
        try:
            return list(self._grid.pull_messages(numbers))
        except (httpx.HTTPError, OSError) as error:
            _log.warning("answers are asked for once more: %s", error)
            return []
