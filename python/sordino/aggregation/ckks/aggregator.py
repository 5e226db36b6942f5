# SPDX-License-Identifier: Apache-2.0

"""Sums under CKKS in one process: the coordinator adds what it cannot open, and a site opens the sum."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sordino.aggregation.base import Traffic
from sordino.aggregation.ckks.ciphertext import Total, tenseal
from sordino.aggregation.ckks.member import Member, Upload
from sordino.aggregation.ckks.parameters import Parameters
from sordino.aggregation.simulated import SimulatedAggregator
from sordino.protocol.encoding import digest
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.lanes import Lanes
from sordino.protocol.policy import Policy, Question


class CkksAggregator(SimulatedAggregator):
    """The same sums as `masked`, bit for bit, under a secret key that every site holds and no coordinator.

    One site that works with the coordinator opens everything that anybody ever sent, since all hold the one
    key; a site opens what the coordinator says is a sum. In exchange, dropouts cost nothing: whatever
    arrived is added. docs/threat-model.md compares it with masks.

    Needs the extra `ckks`. Its parameters follow from the policy (`choose_parameters`). The rest is as in
    `SimulatedAggregator`.
    """

    adds = "CKKS"

    def __init__(
        self,
        policy: Policy,
        sites: Sequence[str],
        *,
        groups: Mapping[str, Collection[str]] | None = None,
        schemas: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(policy, sites, groups=groups, schemas=schemas)
        identities = {name: Identity.generate(name) for name in self.sites}
        self._roster = Roster({name: identity.public_key for name, identity in identities.items()})
        self._members = {
            name: Member(identity, self._roster, policy) for name, identity in identities.items()
        }
        advertisements = [member.advertise() for member in self._members.values()]
        maker, *others = self._members.values()
        delivery = maker.make_key(advertisements)
        for member in others:
            member.take_key(advertisements, delivery)
        # All that the coordinator ever holds: parameters, no key.
        self._adding: Any = tenseal().context_from(maker.public_context())

    @property
    def parameters(self) -> Parameters:
        """What everybody encrypts with."""
        return self._members[self.sites[0]].parameters

    def close(self) -> None:
        """Have every site forget the secret key."""
        for member in self._members.values():
            member.forget()

    def _sum(
        self, question: Question, body: bytes, given: Iterable[tuple[str, Lanes]], openers: Sequence[str]
    ) -> tuple[Lanes, Mapping[str, Traffic]]:
        asked = digest("ckks question", question.kind, body)
        total, traffic = Total(self._adding, question.lanes * self.parameters.limbs), {}
        for name, lanes in given:
            started = time.perf_counter()
            upload = self._members[name].upload(self._round, asked, lanes)
            seconds = time.perf_counter() - started
            self._check(upload, asked)
            total.add(upload.ciphertext)
            sent = len(upload.ciphertext) + len(upload.signature)
            traffic[name] = Traffic(sent=sent, received=len(body), seconds=seconds)
        # Any survivor can open it; the first that is still there is asked.
        opener, data = openers[0], total.serialise()
        started = time.perf_counter()
        opened = self._members[opener].open(self._round, tuple(traffic), data)
        own = traffic[opener]
        traffic[opener] = Traffic(
            sent=own.sent + opened.nbytes,
            received=own.received + len(data),
            seconds=own.seconds + time.perf_counter() - started,
        )
        return opened, traffic

    def _check(self, upload: Upload, asked: bytes) -> None:
        session = self._members[self.sites[0]].session
        fields = session, self._round, asked, digest("ckks ciphertext", upload.ciphertext)
        self._roster.verify(upload.site, upload.signature, "ckks upload", *fields)
