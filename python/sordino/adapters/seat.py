# SPDX-License-Identifier: Apache-2.0

"""A site's place in a study, whatever the engine: from a message of the coordinator to the site's answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TypeAlias

from sordino.aggregation.base import Contribution
from sordino.aggregation.ends import upload_contribution
from sordino.errors import RequestRefused, StateError
from sordino.files.settings import SiteSettings
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Request
from sordino.protocol.journal import Reply
from sordino.protocol.policy import EVERYONE
from sordino.protocol.site import Site, Task
from sordino.protocol.state import load_state

Contribute: TypeAlias = Callable[[Task, Collection[str]], Contribution]
"""The site's own work: from what is asked, and the lane groups that it has, to what goes into the sum."""

_log = logging.getLogger(__name__)


class Seat:
    """Answers messages as one site.

    settings  who the site is, whom it knows and what it accepts, out of its own `site.toml`
    saved     the session that `save` kept after the message before this one; empty for none
    schema    the hash of what the site's data looks like, where policies have one
    """

    def __init__(self, settings: SiteSettings, saved: bytes = b"", *, schema: bytes = b"") -> None:
        self._settings = settings
        self._saved = saved
        self._site = Site(
            settings.identity,
            settings.roster,
            settings.floor,
            settings.journal,
            dataset=settings.dataset,
            groups=settings.groups,
            schema=schema,
            guard=settings.guard,
        )

    def save(self) -> bytes:
        """The session, secrets included; what was saved before where there is none."""
        return self._site.save() if self._site.state is not None else self._saved

    def answer(self, data: bytes, body: bytes, contribute: Contribute, *, kind: str = "") -> Reply:
        """The answer to any message; `contribute` is called for a question that was not answered yet.

        kind  what the engine takes the question for, where it has a say in that

        Never raises for what goes wrong with a message, on this side, or in `contribute`: the coordinator is
        told no more than `Site.refusal` says, and the rest is logged here.
        """
        try:
            return self._answer(data, body, contribute, kind)
        except Exception as error:  # noqa: BLE001 - `refusal` tells which may be told
            _log.warning("site %r refuses", self._site.name, exc_info=error)
            return Reply(self._site.refusal(error))

    def _answer(self, data: bytes, body: bytes, contribute: Contribute, kind: str) -> Reply:
        site, sites = self._site, len(self._settings.roster)
        request = wire.read_at_site(data, sites)
        if self._saved and not self._opens_another(request):
            site.load(self._saved)
        if not isinstance(request, m.UploadRequest):
            return Reply(site.handle(data))
        if (stored := site.repeat(data)) is not None:
            return stored
        if kind and request.kind != kind:
            raise RequestRefused(f"question {request.kind!r} came as a message of the type {kind!r}")
        task = site.begin(data, body)
        if site.state is None:
            raise StateError("no session: the site has taken no offer")
        groups = (EVERYONE, *self._settings.groups)
        return upload_contribution(
            site,
            site.state.policy,
            Request(site.name, data, body),
            task,
            contribute(task, groups),
            groups=groups,
        )

    def _opens_another(self, request: m.ToSite) -> bool:
        """Whether this offers another session than the saved one, which then makes room if it is accepted."""
        return isinstance(request, m.Offer) and request.session_id != load_state(self._saved).session_id
