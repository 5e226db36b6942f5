# SPDX-License-Identifier: Apache-2.0

"""One round at the coordinator: what it has gathered, whether it holds together, and the sum that it gives.

Nothing here moves a round forward: `coordinator` does. These are the checks and the arithmetic.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from sordino import _core
from sordino.errors import MalformedMessage, PeerError, ShareError
from sordino.protocol import merkle, wire
from sordino.protocol import messages as m
from sordino.protocol.commitment import chain_end, commit_mask_key, commit_self_seed, share_opening
from sordino.protocol.harary import Graph
from sordino.protocol.keys import Roster, RoundContext
from sordino.protocol.lanes import Lanes, empty_lanes
from sordino.protocol.policy import Policy
from sordino.protocol.revealing import revealed_secrets
from sordino.protocol.secret import SECRET_BYTES
from sordino.protocol.transcript import body_digest


class Opening(Struct, frozen=True):
    """What one survivor reveals, or what was rebuilt in its place."""

    self_seed: bytes
    pair_keys: tuple[bytes, ...]
    link: bytes | None

    def __repr__(self) -> str:
        return f"Opening({2 + len(self.pair_keys)} secrets at most)"


class OpenTally(Struct):
    """The open round.

    graph           who masks with whom
    refusals        what sites said instead of an upload
    signed_before   by site: the statement of this round that it signed for a coordinator that has forgotten
    shares          by vanished site and responder: the proved shares, in the order of `revealed_secrets`
    answered        (responder, vanished site) pairs that need not be asked again
    """

    context: RoundContext
    kind: str
    body: bytes
    participants: tuple[str, ...]
    graph: Graph
    uploads: dict[str, m.Upload] = {}
    payloads: dict[str, bytes] = {}
    statement: m.Statement | None = None
    endorsements: dict[str, bytes] = {}
    signed_before: dict[str, tuple[m.Statement, bytes]] = {}
    openings: dict[str, Opening] = {}
    vanished: tuple[str, ...] = ()
    shares: dict[str, dict[str, tuple[bytes, ...]]] = {}
    answered: set[tuple[str, str]] = set()
    refusals: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"OpenTally(round={self.context.round}, kind={self.kind!r}, participants={self.participants})"

    def peers_of(self, site: str) -> tuple[str, ...]:
        """The site's neighbours among the participants, in order."""
        return self.graph.among(site, self.participants)

    def dropped_peers_of(self, site: str) -> list[str]:
        """The site's neighbours among the dropouts, in order: it reveals its mask keys with these."""
        survivors = frozenset(self.survivors())
        return [peer for peer in self.peers_of(site) if peer not in survivors]

    def survivors(self) -> tuple[str, ...]:
        """U3, once the round has a statement."""
        return self.statement.names if self.statement is not None else ()

    def refused(self) -> str:
        """What was said instead of uploads, by whom: the end of a sentence, "" if nothing was."""
        reasons: dict[str, list[str]] = {}
        for site, reason in sorted(self.refusals.items()):
            reasons.setdefault(reason, []).append(site)
        return "".join(f"; {', '.join(sites)} refused: {reason}" for reason, sites in reasons.items())

    def dropped(self) -> list[str]:
        """U without U3."""
        survivors = frozenset(self.survivors())
        return [name for name in self.participants if name not in survivors]


def check_upload(
    tally: OpenTally, site: str, message: m.Upload, payload: bytes, roster: Roster, policy: Policy
) -> None:
    """Raise a `PeerError` that names the site unless this is its whole, signed upload to the open round."""
    summary, context = message.summary, tally.context
    place = (summary.session, summary.round, summary.question, summary.cohort)
    if place != (context.session, context.round, context.question, context.cohort):
        raise PeerError(f"the upload of site {site!r} is for another round", peers=(site,))
    if site not in tally.participants:
        raise PeerError(f"site {site!r} is no participant of the round", peers=(site,))
    peers, links = len(tally.peers_of(site)), policy.links(len(tally.participants))
    lengths = (len(summary.pair_commitments), len(summary.boxes), len(message.boxes))
    if lengths != (peers, peers, peers) or (summary.chain_end is not None) != (links > 0):
        raise MalformedMessage(f"the upload of site {site!r} is incomplete", peers=(site,))
    roster.verify(site, message.signature, "upload", summary.digest)
    box_bytes = wire.share_box_bytes(1 + peers + links)
    for box, reference in zip(message.boxes, summary.boxes, strict=True):
        if len(box) != box_bytes or body_digest(box) != reference.box:
            raise MalformedMessage(f"a share box of site {site!r} is not the signed one", peers=(site,))
    if body_digest(payload) != summary.payload:
        raise MalformedMessage(f"the payload of site {site!r} is not the signed one", peers=(site,))
    bits = policy.question(tally.kind).lanes * policy.bits
    if len(payload) != (bits + 7) // 8:
        raise MalformedMessage(f"the payload of site {site!r} has {len(payload)} bytes", peers=(site,))
    if bits % 8 and payload[-1] >> (bits % 8):
        raise MalformedMessage(f"the payload of site {site!r} has bits after its last lane", peers=(site,))


def differing_pairs(tally: OpenTally) -> list[tuple[str, str]]:
    """The pairs of uploads that commit to different masks with each other."""
    committed = {
        name: dict(zip(tally.peers_of(name), upload.summary.pair_commitments, strict=True))
        for name, upload in tally.uploads.items()
    }
    return [
        (one, other)
        for one, other in tally.graph.pairs(committed)
        if committed[one][other] != committed[other][one]
    ]


def check_opening(tally: OpenTally, site: str, opening: Opening, policy: Policy) -> None:
    """Raise `ShareError` unless what a site revealed, or was rebuilt for it, is what it committed to."""
    summary, peers, dropped = tally.uploads[site].summary, tally.peers_of(site), tally.dropped_peers_of(site)
    place = (tally.context.session, tally.context.round)
    committed = dict(zip(peers, summary.pair_commitments, strict=True))
    links, dropouts = policy.links(len(tally.participants)), len(tally.dropped())
    good = (
        commit_self_seed(*place, site, opening.self_seed) == summary.self_commitment
        and len(opening.pair_keys) == len(dropped)
        and all(
            commit_mask_key(*place, site, peer, key) == committed[peer]
            for peer, key in zip(dropped, opening.pair_keys, strict=True)
        )
        and (opening.link is not None) == (dropouts < links)
        and (opening.link is None or chain_end(opening.link, links - dropouts) == summary.chain_end)
    )
    if not good:
        raise ShareError(f"site {site!r} opened something else than it committed to", peers=(site,))


def check_shares(tally: OpenTally, responder: str, message: m.Recovery, policy: Policy) -> None:
    """Raise `ShareError`, naming both, unless every share leads to the root that its dealer signed."""
    dealer, context = message.vanished, tally.context
    peers, links = tally.peers_of(dealer), policy.links(len(tally.participants))
    wanted = revealed_secrets(peers, tally.survivors(), len(tally.dropped()), links)
    count = 1 + len(peers) + links
    root = tally.uploads[dealer].summary.boxes[peers.index(responder)].root
    proved = len(message.shares) == len(wanted) and all(
        len(share.path) == merkle.depth(count) for share in message.shares
    )
    if proved:
        opening = share_opening(context.session, context.round, dealer, responder)
        shares, paths = [share.share for share in message.shares], [share.path for share in message.shares]
        proved = all(found == root for found in merkle.roots_from(shares, opening, wanted, paths, count))
    if not proved:
        raise ShareError(
            f"shares of {dealer!r} from site {responder!r} do not lead to the signed root; which of them is "
            f"at fault cannot be told",
            peers=(responder, dealer),
        )


def rebuild(tally: OpenTally, vanished: str, roster: Roster, policy: Policy) -> Opening:
    """Rebuild what a vanished survivor would have revealed, from t of its proved shares.

    Every share was proved against the root that its dealer signed. So if t of them give something else than
    the dealer committed to, the dealer shared something else, and `ShareError` names it alone.
    """
    shares = dict(sorted(tally.shares[vanished].items())[: policy.threshold])
    stacked = np.frombuffer(b"".join(b"".join(vector) for vector in shares.values()), np.uint8)
    secrets = _core.shamir_combine(
        [roster.point(name) for name in shares], stacked.reshape(len(shares), -1, SECRET_BYTES)
    )
    parts = [bytes(secrets[at : at + SECRET_BYTES]) for at in range(0, len(secrets), SECRET_BYTES)]
    keys = len(tally.dropped_peers_of(vanished))
    opening = Opening(
        self_seed=parts[0],
        pair_keys=tuple(parts[1 : 1 + keys]),
        link=parts[1 + keys] if len(parts) > 1 + keys else None,
    )
    try:
        check_opening(tally, vanished, opening, policy)
    except ShareError:
        raise ShareError(
            f"site {vanished!r} shared something else than it committed to", peers=(vanished,)
        ) from None
    return opening


def unmasked_sum(tally: OpenTally, roster: Roster, policy: Policy) -> Lanes:
    """The sum of the survivors' lanes mod 2**bits, once every survivor is opened."""
    lanes = empty_lanes(policy.question(tally.kind).lanes, policy.bits)
    add, subtract = bytearray(), bytearray()
    for name, opening in tally.openings.items():
        subtract += opening.self_seed
        for peer, key in zip(tally.dropped_peers_of(name), opening.pair_keys, strict=True):
            # Undo the sign that the survivor gave this mask: plus towards later sites, else minus.
            if roster.index(peer) > roster.index(name):
                subtract += key
            else:
                add += key
    payloads = [tally.payloads[name] for name in tally.survivors()]
    _core.sum_uploads(payloads, lanes, bits=policy.bits, add=add, subtract=subtract)
    return lanes
