# SPDX-License-Identifier: Apache-2.0

"""The site's side: a mod that lets nothing out of a ClientApp but messages of the protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from flwr.app import ConfigRecord, Context, Error, Message

from sordino.adapters.flower.envelope import ENVELOPE, body_of, open_request, seal_reply
from sordino.adapters.flower.records import WEIGHT, contribution_of
from sordino.adapters.seat import Seat
from sordino.aggregation.base import Contribution
from sordino.errors import ConfigError, RequestRefused, StateError
from sordino.files.settings import SiteSettings, read_site
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.journal import Reply
from sordino.protocol.site import Task

SITE_KEY = "sordino-site"
"""The key of the node's own configuration that holds the path of its site.toml."""

_FAILED = 6  # MOD_FAILED_PRECONDITION among Flower's codes of errors
_CERTIFIED = "certified-"

_log = logging.getLogger(__name__)

Next = Callable[[Message, Context], Message]


class SecureMod:
    """A mod that answers requests of the protocol, and asks the app only for what goes into a masked sum.

    weighted_by    the metric that holds the app's number of examples
    schema         gives the hash of what the node's data looks like, where policies have one

    Who the site is, whom it knows and what it accepts comes from the `site.toml` that the node's own
    configuration names under "sordino-site"; what it has done is in the journal there, and the session is in
    `context.state`. Whatever goes wrong here or in the app, the server is told no more than `Site.refusal`
    says: the rest is in the node's log.
    """

    def __init__(
        self, *, weighted_by: str = WEIGHT, schema: Callable[[Context], bytes] = lambda _: b""
    ) -> None:
        self._weighted_by = weighted_by
        self._schema = schema

    def __call__(self, message: Message, context: Context, call_next: Next) -> Message:
        """Answer a message of the server; one that is none of the protocol's never reaches the app."""
        try:
            content = seal_reply(self._answer(message, context, call_next))
        except Exception:  # noqa: BLE001 - of which Flower would send the text
            _log.exception("a message was not answered")
            return Message(Error(_FAILED, "this site cannot take part"), reply_to=message)
        return Message(content, reply_to=message)

    def _answer(self, message: Message, context: Context, call_next: Next) -> Reply:
        data, records = open_request(message.content)
        if data is None:
            raise RequestRefused("a question that is not for a secure sum is not answered here")
        settings, record = _settings(context), _record(context)
        saved, asked = record.get("session"), ""

        def contribute(task: Task, groups: Collection[str]) -> Contribution:
            nonlocal asked
            message.content = records
            answer = call_next(message, context)
            if answer.has_error():
                raise StateError(f"the app failed: {answer.error.reason}")
            asked = task.question.kind
            return contribution_of(
                task.question, groups, records, answer.content, weighted_by=self._weighted_by
            )

        seat = Seat(settings, saved if isinstance(saved, bytes) else b"", schema=self._schema(context))
        reply = seat.answer(data, body_of(records), contribute, kind=message.metadata.message_type)
        record["session"] = seat.save()
        answered = wire.read_at_coordinator(reply.data, len(settings.roster))
        if isinstance(answered, m.Upload) and asked:
            record["kind"] = asked
            record[_CERTIFIED + asked] = False
        elif isinstance(answered, m.Unmasking):
            record[_CERTIFIED + str(record.get("kind"))] = True
        return reply


secure_mod = SecureMod()
"""The mod with its defaults: `ClientApp(mods=[secure_mod])`."""


def certified(context: Context, kind: str = "train") -> bool:
    """Whether what this site sent last to a question of this kind is in a sum that enough sites signed.

    For state that an app keeps in step with the server, as SCAFFOLD's control variates: commit it when this
    is so at the next question. A site that vanished after its upload is not told, and says False.
    """
    return bool(_record(context).get(_CERTIFIED + kind, False))


def _settings(context: Context) -> SiteSettings:
    path = context.node_config.get(SITE_KEY)
    if not isinstance(path, str):
        raise ConfigError(
            f"the node's configuration lacks {SITE_KEY!r}: start the SuperNode with "
            f"--node-config '{SITE_KEY}=\"/path/to/site.toml\"'"
        )
    return read_site(Path(path))


def _record(context: Context) -> ConfigRecord:
    """The mod's own part of the node's state."""
    if ENVELOPE not in context.state:
        context.state[ENVELOPE] = ConfigRecord()
    return context.state[ENVELOPE]
