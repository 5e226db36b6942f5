# SPDX-License-Identifier: Apache-2.0

"""Merkle trees over share vectors, so that one share can be proved without showing the others.

As in RFC 9162, section 2.1, leaves and nodes are hashed under different tags. The number of leaves is public
and bound into the root, and missing leaves are padded, so that all paths have one length. A leaf is
digest("share", session, round, dealer, holder, index, share), a node digest("merkle node", left, right), the
root digest("merkle root", leaves, top). A round has hundreds of thousands of them, so the core hashes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.protocol.encoding import begin, digest
from sordino.protocol.secret import SECRET_BYTES

_PADDING = digest("merkle padding")
_NODE = begin("merkle node", rest=2)


class _Form(TypedDict):
    node: bytes
    root: bytes
    padding: bytes


def roots(shares: NDArray[np.uint8], openings: Sequence[bytes], *, threads: int | None = None) -> list[bytes]:
    """The root over each holder's shares.

    shares      shape (holders, secrets, 32), with at least one secret
    openings    what the leaves of each holder begin with: `commitment.share_opening`
    """
    return _core.merkle_roots(shares.data, openings, threads=threads, **_form(shares.shape[1]))


def root_and_paths(
    shares: bytes, opening: bytes, wanted: Sequence[int]
) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over one holder's shares (at least one) and a path for each wanted index."""
    count = len(shares) // SECRET_BYTES
    return _core.merkle_paths(shares, opening, wanted, **_form(count))


def roots_from(
    shares: Sequence[bytes],
    opening: bytes,
    indices: Sequence[int],
    paths: Sequence[Sequence[bytes]],
    leaves: int,
) -> list[bytes]:
    """The root that each share at its index leads to by its path, in a tree of so many leaves.

    Every path must have the length `depth(leaves)`.
    """
    siblings = b"".join(sibling for path in paths for sibling in path)
    return _core.merkle_climb(
        b"".join(shares), opening, indices, siblings, depth=depth(leaves), **_form(leaves)
    )


def depth(leaves: int) -> int:
    """The length of every path in a tree of so many leaves."""
    return max(leaves - 1, 0).bit_length()


def _form(leaves: int) -> _Form:
    return {"node": _NODE, "root": begin("merkle root", leaves, rest=1), "padding": _PADDING}
