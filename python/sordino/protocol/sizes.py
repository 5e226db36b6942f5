# SPDX-License-Identifier: Apache-2.0

"""How many bytes a site sends and receives in one round, known before anything is sent.

The messages are made with zeros for secrets, digests and signatures and put through `wire`, so a field that
is added there is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sordino import _core
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.encoding import DIGEST_BYTES
from sordino.protocol.keys import SIGNATURE_BYTES
from sordino.protocol.policy import Policy, Question
from sordino.protocol.secret import SECRET_BYTES

_DIGEST = bytes(DIGEST_BYTES)
_SECRET = bytes(SECRET_BYTES)
_SIGNATURE = bytes(SIGNATURE_BYTES)


class RoundBytes(NamedTuple):
    """What one site sends and receives in one round in which nobody vanishes after the upload.

    payload       the masked lanes
    share_boxes   shares of its secrets, a sealed box for each neighbour
    messages      the rest: commitments, digests, signatures, what is revealed
    received      requests of the coordinator, without the body of the question
    """

    payload: int
    share_boxes: int
    messages: int
    received: int

    @property
    def sent(self) -> int:
        """All that the site sends."""
        return self.payload + self.share_boxes + self.messages


def round_bytes(
    policy: Policy, question: Question, participants: Sequence[str], *, dropped: int = 0
) -> RoundBytes:
    """The bytes of the site with the longest name, where the last `dropped` participants send nothing.

    On the sparse graph all neighbours count as participants, and as many as can be as dropped.
    """
    names = tuple(sorted(participants))
    site, survivors = max(names, key=len), names[: len(names) - dropped]
    peers = min(policy.neighbours or len(names) - 1, len(names) - 1)
    links = policy.links(len(names))
    box = bytes(wire.share_box_bytes(1 + peers + links))
    summary = m.UploadSummary(
        session=_DIGEST,
        round=policy.rounds,
        site=site,
        question=_DIGEST,
        cohort=_DIGEST,
        payload=_DIGEST,
        self_commitment=_DIGEST,
        pair_commitments=(_DIGEST,) * peers,
        chain_end=_DIGEST if links else None,
        boxes=(m.BoxReference(_DIGEST, _DIGEST),) * peers,
    )
    unmasking = m.Unmasking(
        session=_DIGEST,
        round=policy.rounds,
        site=site,
        self_seed=_SECRET,
        pair_keys=(_SECRET,) * min(dropped, peers),
        link=_SECRET if dropped < links else None,
    )
    statement = m.Statement(
        session=_DIGEST,
        policy=_DIGEST,
        round=policy.rounds,
        question=_DIGEST,
        cohort=_DIGEST,
        survivors=tuple(m.Survivor(name, _DIGEST) for name in survivors),
    )
    sent: list[m.ToCoordinator] = [m.Upload(summary, _SIGNATURE, (box,) * peers), unmasking]
    received: list[m.ToSite] = [m.UploadRequest(_DIGEST, policy.rounds, question.kind, _DIGEST, names)]
    endorsements: tuple[m.Endorsement, ...] = ()
    if policy.consistency:
        sent.append(m.Confirmation(site, _DIGEST, _SIGNATURE))
        received.append(m.ConfirmRequest(statement))
        endorsements = tuple(m.Endorsement(name, _SIGNATURE) for name in survivors[: policy.threshold])
    received.append(m.UnmaskRequest(m.Certificate(statement, endorsements)))
    boxes = peers * len(box)
    return RoundBytes(
        payload=_core.packed_size(question.lanes, policy.bits),
        share_boxes=boxes,
        messages=sum(len(wire.to_bytes(message)) for message in sent) - boxes,
        received=sum(len(wire.to_bytes(message)) for message in received),
    )
