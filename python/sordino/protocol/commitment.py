"""Commitments to what a site may later reveal: SHA-256 of a 256-bit secret and its place.

Hiding because the secrets have 256 bits of entropy, binding because SHA-256 is collision-resistant.
"""

from __future__ import annotations

from sordino.protocol.encoding import begin, digest
from sordino.protocol.keys import next_link


def commit_self_seed(session: bytes, round_number: int, site: str, seed: bytes) -> bytes:
    """Commitment of `site` to the self seed of this round."""
    return digest("self seed commitment", session, round_number, site, seed)


def commit_mask_key(session: bytes, round_number: int, one: str, other: str, key: bytes) -> bytes:
    """Commitment to the mask key of a pair: the same from both ends, so that the two can be compared."""
    low, high = sorted((one, other))
    return digest("mask key commitment", session, round_number, low, high, key)


def chain_end(link: bytes, steps: int) -> bytes:
    """The end of a chain of further secrets, `steps` hashes after `link`."""
    for _ in range(steps):
        link = next_link(link)
    return link


def share_opening(session: bytes, round_number: int, dealer: str, holder: str) -> bytes:
    """What the Merkle leaves (index, share) of the shares that one dealer gave one holder begin with."""
    return begin("share", session, round_number, dealer, holder, rest=2)
