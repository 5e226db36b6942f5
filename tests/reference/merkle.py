# SPDX-License-Identifier: Apache-2.0

"""Merkle trees over share vectors, one hash at a time, after RFC 9162, section 2.1, and docs/protocol.md."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def piece(tag: bytes, data: bytes) -> bytes:
    return tag + len(data).to_bytes(8, "big") + data


def encoded(value: bytes | str | int) -> bytes:
    if isinstance(value, bytes):
        return piece(b"B", value)
    if isinstance(value, str):
        return piece(b"S", value.encode())
    return piece(b"I", value.to_bytes((value.bit_length() + 7) // 8, "big"))


def digest(tag: str, *fields: bytes | str | int) -> bytes:
    message = b"sordino\x01" + encoded(tag) + b"L" + len(fields).to_bytes(8, "big")
    return hashlib.sha256(message + b"".join(map(encoded, fields))).digest()


def leaf(session: bytes, round_number: int, dealer: str, holder: str, index: int, share: bytes) -> bytes:
    return digest("share", session, round_number, dealer, holder, index, share)


def leaves(session: bytes, round_number: int, dealer: str, holder: str, vector: bytes) -> list[bytes]:
    """The leaves over the shares of 32 bytes that lie one after the other in `vector`."""
    shares = [vector[at : at + 32] for at in range(0, len(vector), 32)]
    return [leaf(session, round_number, dealer, holder, index, share) for index, share in enumerate(shares)]


def depth(count: int) -> int:
    """How often one must halve `count` leaves, rounding up, until one is left."""
    return 0 if count <= 1 else 1 + depth((count + 1) // 2)


def root_and_paths(
    level: Sequence[bytes], wanted: Sequence[int] = ()
) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over leaves and a path for each wanted index."""
    count = len(level)
    nodes = [*level, *[digest("merkle padding")] * (2 ** depth(count) - count)]
    paths: list[list[bytes]] = [[] for _ in wanted]
    places = list(wanted)
    while len(nodes) > 1:
        for path, place in zip(paths, places, strict=True):
            path.append(nodes[place ^ 1])
        places = [place // 2 for place in places]
        nodes = [digest("merkle node", *nodes[i : i + 2]) for i in range(0, len(nodes), 2)]
    return digest("merkle root", count, nodes[0]), [tuple(path) for path in paths]


def root_from(node: bytes, index: int, path: Sequence[bytes], count: int) -> bytes:
    """The root that a leaf at `index` and its path lead to."""
    for sibling in path:
        node = digest("merkle node", sibling, node) if index % 2 else digest("merkle node", node, sibling)
        index //= 2
    return digest("merkle root", count, node)
