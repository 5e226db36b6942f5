# SPDX-License-Identifier: Apache-2.0

"""A site's upload (R1): step the pair secrets, mask the vector, share and commit to what may be revealed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.errors import InvalidArgument
from sordino.protocol import merkle
from sordino.protocol import messages as m
from sordino.protocol.commitment import chain_end, commit_mask_key, commit_self_seed, share_openings
from sordino.protocol.keys import (
    Entropy,
    Identity,
    PairKeys,
    Roster,
    RoundContext,
    draw,
    pair_keys,
    seal_shares,
    step_pair,
)
from sordino.protocol.lanes import Lanes, Payload, Vector
from sordino.protocol.policy import Policy
from sordino.protocol.secret import SECRET_BYTES, Secret, concatenate, wipe
from sordino.protocol.state import OpenRound
from sordino.protocol.transcript import body_digest, box_header


def step_pairs(
    pairs: Mapping[str, Secret], ratchet: int, context: RoundContext, me: str, participants: Iterable[str]
) -> tuple[dict[str, Secret], dict[str, PairKeys]]:
    """The pair secrets of the round after `context.round`, and the keys of that round with each participant.

    pairs, ratchet    the pair secrets, and the round that they are of; they are left as they are
    """
    after: dict[str, Secret] = {}
    keys: dict[str, PairKeys] = {}
    for peer, pair in pairs.items():
        secret = Secret(pair.reveal())
        for number in range(ratchet, context.round):
            secret = _step(secret, context.session, number)
        if peer in participants:
            keys[peer] = pair_keys(secret, context, me, peer)
        after[peer] = _step(secret, context.session, context.round)
    return after, keys


def masked_payload(
    opened: OpenRound,
    roster: Roster,
    me: str,
    vector: Lanes | Vector,
    *,
    lanes: int,
    bits: int,
    threads: int | None = None,
) -> Payload:
    """The packed vector of so many lanes under the self mask and the pair masks: plus towards later sites.

    An array is masked in place.
    """
    mine = roster.index(me)
    after = [key for peer, key in opened.mask_keys.items() if roster.index(peer) > mine]
    before = [key for peer, key in opened.mask_keys.items() if roster.index(peer) < mine]
    add, subtract = concatenate([opened.self_seed, *after]), concatenate(before)
    try:
        if isinstance(vector, Vector):
            payload = vector.write(add, subtract, bits=bits, threads=threads)
        else:
            _core.add_masks(vector, add, subtract, threads=threads)
            payload = Payload(_core.pack(vector, bits=bits))
    finally:
        _core.wipe(add)
        _core.wipe(subtract)
    if len(payload.data) != (size := _core.packed_size(lanes, bits)):
        raise InvalidArgument(f"the vector must pack to {size} bytes, got {len(payload.data)}")
    return payload


def make_upload(
    opened: OpenRound,
    payload: Payload,
    outgoing: Mapping[str, Secret],
    *,
    identity: Identity,
    roster: Roster,
    policy: Policy,
    entropy: Entropy,
    threads: int | None = None,
) -> m.Upload:
    """The signed upload: commitments, and for each peer a box of its shares under `outgoing[peer]`.

    Its digest is kept as `opened.upload`.
    """
    me, context, peers = identity.name, opened.context, opened.peers
    steps = policy.links(len(opened.participants))
    first = opened.link.reveal() if opened.link is not None else None
    links = [Secret(chain_end(first, step)) for step in range(steps)] if first is not None else []
    secrets = [opened.self_seed, *opened.mask_keys.values(), *links]
    # This site counts as a holder too, so that t participants are enough to share among; it keeps nothing.
    points = [roster.point(name) for name in (*peers, me)]
    shares = _split(secrets, points, policy.threshold, entropy)
    wipe(*links)
    place = (context.session, context.round)
    theirs = shares[: len(peers)]
    roots = merkle.roots(theirs, share_openings(*place, me, peers), threads=threads)
    boxes = tuple(
        seal_shares(outgoing[peer], box_header(context, me, peer), vector.data.cast("B"), entropy)
        for peer, vector in zip(peers, theirs, strict=True)
    )
    _core.wipe(shares.data)
    summary = m.UploadSummary(
        session=context.session,
        round=context.round,
        site=me,
        question=context.question,
        cohort=context.cohort,
        payload=payload.digest(),
        self_commitment=commit_self_seed(*place, me, opened.self_seed.reveal()),
        pair_commitments=tuple(
            commit_mask_key(*place, me, peer, key.reveal()) for peer, key in opened.mask_keys.items()
        ),
        chain_end=chain_end(first, steps) if first is not None and steps else None,
        boxes=tuple(
            m.BoxReference(box=body_digest(box), root=root) for box, root in zip(boxes, roots, strict=True)
        ),
    )
    opened.upload = summary.digest
    signature = identity.sign("upload", opened.upload)
    return m.Upload(summary=summary, signature=signature, boxes=boxes)


def _split(
    secrets: Sequence[Secret], points: Sequence[int], threshold: int, entropy: Entropy
) -> NDArray[np.uint8]:
    """For each point, its shares of all secrets, shape (points, secrets, 32); the caller wipes them."""
    joined = concatenate(secrets)
    seed = bytearray(draw(entropy, SECRET_BYTES))
    shares = _core.shamir_split(joined, points, threshold=threshold, seed=seed)
    for buffer in (joined, seed):
        _core.wipe(buffer)
    return shares


def _step(secret: Secret, session: bytes, number: int) -> Secret:
    stepped = step_pair(secret, session, number)
    secret.wipe()
    return stepped
