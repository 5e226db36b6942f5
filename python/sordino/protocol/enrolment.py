# SPDX-License-Identifier: Apache-2.0

"""A site's part in set-up: advertise a box key, seal pair secrets to it, open what peers sealed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import structs

from sordino.errors import PeerError, RequestRefused
from sordino.protocol import messages as m
from sordino.protocol.keys import BoxKey, Entropy, Identity, Roster, draw_secret, seal_pair
from sordino.protocol.policy import Policy
from sordino.protocol.secret import Secret, wipe
from sordino.protocol.transcript import pair_info


def advertise(
    identity: Identity, offer: m.Offer, groups: Sequence[str], entropy: Entropy
) -> tuple[BoxKey, m.Advertisement]:
    """A fresh box key and its signed advertisement, with the planned lane groups among the site's own."""
    box_key = BoxKey.generate(entropy)
    planned = {group for question in offer.policy.plan for group in question.groups}
    advertisement = m.Advertisement(
        site=identity.name,
        session_id=offer.session_id,
        roster=offer.roster,
        policy=offer.policy.digest,
        box_key=box_key.public_bytes(),
        groups=tuple(group for group in groups if group in planned),
        signature=bytes(64),
    )
    signature = identity.sign("advertisement", *advertisement.signed())
    return box_key, structs.replace(advertisement, signature=signature)


def check_advertisement(
    advertisement: m.Advertisement, session_id: bytes, roster: Roster, policy: Policy
) -> None:
    """Raise a `PeerError` that names the site unless it signed this for this session and these terms."""
    site = advertisement.site
    roster.verify(site, advertisement.signature, "advertisement", *advertisement.signed())
    mine = (session_id, roster.digest, policy.digest)
    if (advertisement.session_id, advertisement.roster, advertisement.policy) != mine:
        raise PeerError(
            f"the advertisement of site {site!r} is for another session, roster or policy", peers=(site,)
        )


def check_advertisements(
    message: m.Advertisements,
    *,
    me: str,
    box_key: BoxKey,
    session_id: bytes,
    roster: Roster,
    policy: Policy,
) -> tuple[m.Listed, ...]:
    """The list of all advertisements of the session, of which some are shown in full, this site's among them.

    Raises a `PeerError` unless it may be that. On the complete graph the list is made here, out of what is
    shown; on the sparse one it comes with it, and which ones must be shown follows from it.
    """
    advertisements = message.advertisements
    names = [advertisement.site for advertisement in advertisements]
    if names != sorted(set(names)):
        raise RequestRefused("the advertisements are not sorted, or one site is listed twice")
    for advertisement in advertisements:
        check_advertisement(advertisement, session_id, roster, policy)
    own = next((advertisement for advertisement in advertisements if advertisement.site == me), None)
    if own is None or own.box_key != box_key.public_bytes():
        raise RequestRefused("the advertisements do not have this site's own")
    shown = tuple(advertisement.listed for advertisement in advertisements)
    if bool(policy.neighbours) != bool(message.listing):
        raise RequestRefused("a list of advertisements belongs to the sparse graph, and only there")
    listing = message.listing or shown
    listed = [line.site for line in listing]
    if listed != sorted(set(listed)):
        raise RequestRefused("the list of advertisements is not sorted, or one site is listed twice")
    if strangers := sorted(name for name in listed if name not in roster):
        raise RequestRefused(f"the list of advertisements has sites outside the roster: {strangers}")
    if wrong := sorted(line.site for line in set(shown) - set(listing)):
        raise RequestRefused(f"the advertisements of {wrong} are not those on the list")
    if len(listed) < policy.smallest_cohort:
        raise RequestRefused(f"{len(listed)} sites advertised, at least {policy.smallest_cohort} are needed")
    return listing


def seal_pairs(
    identity: Identity,
    roster: Roster,
    session: bytes,
    advertisements: Sequence[m.Advertisement],
    entropy: Entropy,
) -> tuple[dict[str, Secret], tuple[m.SealedPair, ...]]:
    """A fresh pair secret for each of these sites that is later in the roster, and the signed boxes."""
    pairs: dict[str, Secret] = {}
    boxes: list[m.SealedPair] = []
    me = identity.name
    for advertisement in advertisements:
        peer = advertisement.site
        if roster.index(peer) > roster.index(me):
            pairs[peer] = draw_secret(entropy)
            sealed = seal_pair(pairs[peer], peer, advertisement.box_key, pair_info(session, me, peer))
            signature = identity.sign("sealed pair", session, me, peer, sealed)
            boxes.append(m.SealedPair(me, peer, sealed, signature))
    return pairs, tuple(boxes)


def open_pairs(
    boxes: Sequence[m.SealedPair],
    *,
    me: str,
    box_key: BoxKey,
    session: bytes,
    roster: Roster,
    peers: Collection[str],
) -> dict[str, Secret]:
    """The pair secrets sealed to this site by those of its peers that are earlier in the roster.

    Raises `RequestRefused` for a box that cannot be meant for this site, and a `PeerError` that names every
    sender whose box is not signed or does not open, so that it can be sent again.
    """
    received: dict[str, Secret] = {}
    bad: list[str] = []
    for box in boxes:
        sender = box.sender
        if box.receiver != me or sender in received or sender in bad:
            raise RequestRefused("a box is for another site, or a sender is listed twice")
        if sender not in peers or roster.index(sender) >= roster.index(me):
            raise RequestRefused(
                f"a box is from {sender!r}, which has none to seal for this site", peers=(sender,)
            )
        try:
            roster.verify(sender, box.signature, "sealed pair", session, sender, me, box.sealed)
            received[sender] = box_key.open(box.sealed, pair_info(session, sender, me))
        except PeerError:
            bad.append(sender)
    if bad:
        wipe(*received.values())
        raise PeerError(f"the boxes of {bad} are wrong: send them again", peers=tuple(bad))
    return received
