# SPDX-License-Identifier: Apache-2.0

"""Commitments to what a site may later reveal: SHA-256 of a 256-bit secret and its place.

Hiding because the secrets have 256 bits of entropy, binding because SHA-256 is collision-resistant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from sordino.protocol.encoding import begin, digest, pieces
from sordino.protocol.keys import next_link


def commit_self_seed(session: bytes, round_number: int, site: str, seed: bytes) -> bytes:
    """Commitment of `site` to the self seed of this round."""
    return digest("self seed commitment", session, round_number, site, seed)


def commit_mask_key(session: bytes, round_number: int, one: str, other: str, key: bytes) -> bytes:
    """Commitment to the mask key of a pair: the same from both ends, so that the two can be compared."""
    low, high = sorted((one, other))
    message = _begin_mask_key(session, round_number) + pieces(low, high, key)
    return hashlib.sha256(message).digest()


@lru_cache(maxsize=64)
def _begin_mask_key(session: bytes, round_number: int) -> bytes:
    return begin("mask key commitment", session, round_number, rest=3)


def chain_end(link: bytes, steps: int) -> bytes:
    """The end of a chain of further secrets, `steps` hashes after `link`."""
    for _ in range(steps):
        link = next_link(link)
    return link


def share_openings(session: bytes, round_number: int, dealer: str, holders: Iterable[str]) -> list[bytes]:
    """What the Merkle leaves (index, share) of the shares that one dealer gave each holder begin with."""
    start = begin("share", session, round_number, dealer, rest=3)
    return [start + pieces(holder) for holder in holders]


def share_opening(session: bytes, round_number: int, dealer: str, holder: str) -> bytes:
    """`share_openings` for one holder."""
    (opening,) = share_openings(session, round_number, dealer, [holder])
    return opening
