# SPDX-License-Identifier: Apache-2.0

"""What a site reveals once a survivor set is certified (R3), and what it gives for one that vanished (R4)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sordino.errors import PeerError, RequestRefused
from sordino.protocol import merkle
from sordino.protocol import messages as m
from sordino.protocol.commitment import chain_end, share_opening
from sordino.protocol.harary import Graph
from sordino.protocol.keys import open_shares
from sordino.protocol.policy import Policy
from sordino.protocol.secret import SECRET_BYTES
from sordino.protocol.state import OpenRound
from sordino.protocol.transcript import body_digest, box_header


def revealed_secrets(
    dealer_peers: Sequence[str], survivors: Collection[str], dropouts: int, links: int
) -> list[int]:
    """The indices of the secrets that a survivor reveals, among its self seed, mask keys and chain links.

    dealer_peers    its neighbours among the participants, in order
    survivors       U3
    dropouts        D: of all participants, not of its neighbours alone
    links           T, or 0 where there is no chain
    """
    kept = frozenset(survivors)
    dropped = [1 + place for place, peer in enumerate(dealer_peers) if peer not in kept]
    surplus = [1 + len(dealer_peers) + dropouts] if dropouts < links else []
    return [0, *dropped, *surplus]


def unmask(opened: OpenRound, me: str, statement: m.Statement, policy: Policy) -> m.Unmasking:
    """What a survivor reveals of itself: self seed, mask keys with dropped sites, the first surplus link."""
    survivors = frozenset(statement.names)
    dropouts = len(opened.participants) - len(survivors)
    surplus = dropouts < policy.links(len(opened.participants))
    link = opened.link if surplus else None
    return m.Unmasking(
        session=opened.context.session,
        round=opened.context.round,
        site=me,
        self_seed=opened.self_seed.reveal(),
        pair_keys=tuple(opened.mask_keys[peer].reveal() for peer in opened.peers if peer not in survivors),
        link=chain_end(link.reveal(), dropouts) if link is not None else None,
    )


def give_shares(
    opened: OpenRound,
    me: str,
    statement: m.Statement,
    vanished: m.UploadSummary,
    box: bytes,
    *,
    policy: Policy,
    graph: Graph,
) -> m.Recovery:
    """This site's shares of exactly what a vanished survivor would have revealed, or the fault of its box.

    Raises `RequestRefused` where this is not the box that the certified upload has for this site.
    """
    dealer, context = vanished.site, opened.context
    if dealer == me:
        raise RequestRefused("this site is asked to recover itself")
    certified = {survivor.site: survivor.upload for survivor in statement.survivors}
    if certified.get(dealer) != vanished.digest:
        raise RequestRefused(f"site {dealer!r} is no survivor with this upload", peers=(dealer,))
    peers = graph.among(dealer, opened.participants)
    if me not in peers:
        raise RequestRefused(f"site {dealer!r} is no neighbour and has no box here", peers=(dealer,))
    if len(vanished.boxes) != len(peers):
        raise RequestRefused(f"the upload of site {dealer!r} has too few boxes", peers=(dealer,))
    reference = vanished.boxes[peers.index(me)]
    if body_digest(box) != reference.box:
        raise RequestRefused(f"the box is not the one that site {dealer!r} uploaded")

    def recovery(fault: str, shares: tuple[m.ProvedShare, ...] = ()) -> m.Recovery:
        return m.Recovery(context.session, context.round, me, dealer, shares, fault)

    try:
        vector = open_shares(opened.incoming[dealer], box_header(context, dealer, me), box)
    except PeerError:
        return recovery("box")
    links = policy.links(len(opened.participants))
    if len(vector) != (1 + len(peers) + links) * SECRET_BYTES:
        return recovery("root")
    dropouts = len(opened.participants) - len(statement.survivors)
    wanted = revealed_secrets(peers, statement.names, dropouts, links)
    root, paths = merkle.root_and_paths(
        vector, share_opening(context.session, context.round, dealer, me), wanted
    )
    if root != reference.root:
        return recovery("root")
    shares = tuple(
        m.ProvedShare(share=vector[index * SECRET_BYTES : (index + 1) * SECRET_BYTES], path=path)
        for index, path in zip(wanted, paths, strict=True)
    )
    return recovery("", shares)
