"""Merkle trees over share vectors, so that one share can be proved without showing the others.

As in RFC 9162, section 2.1, leaves and nodes are hashed under different tags. The number of leaves is public
and bound into the root, and missing leaves are padded, so that all paths have one length.
"""

from __future__ import annotations

from collections.abc import Sequence

from sordino.protocol.encoding import DigestOfMany, digest

_PADDING = digest("merkle padding")
_node = DigestOfMany("merkle node", rest=2)


def root_and_paths(
    leaves: Sequence[bytes], wanted: Sequence[int] = ()
) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over `leaves` (32-byte digests, at least one) and a path for each wanted index."""
    levels = [list(leaves) + [_PADDING] * (2 ** depth(len(leaves)) - len(leaves))]
    while len(levels[-1]) > 1:
        last = levels[-1]
        levels.append([_node(last[i], last[i + 1]) for i in range(0, len(last), 2)])
    paths = [
        tuple(level[(index >> height) ^ 1] for height, level in enumerate(levels[:-1])) for index in wanted
    ]
    return digest("merkle root", len(leaves), levels[-1][0]), paths


def root_from(leaf: bytes, index: int, path: Sequence[bytes], leaves: int) -> bytes:
    """The root that a leaf at `index` and its path lead to."""
    node = leaf
    for height, sibling in enumerate(path):
        node = _node(sibling, node) if (index >> height) & 1 else _node(node, sibling)
    return digest("merkle root", leaves, node)


def depth(leaves: int) -> int:
    """The length of every path in a tree of so many leaves."""
    return max(leaves - 1, 0).bit_length()
