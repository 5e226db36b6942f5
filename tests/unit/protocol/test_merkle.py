# SPDX-License-Identifier: Apache-2.0

"""The reference's trees: every path of every small tree leads to the root, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest

from reference.merkle import depth, digest, root_and_paths, root_from
from sordino.protocol import encoding, merkle
from sordino.protocol.encoding import encode


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(bytes([place])).digest() for place in range(count)]


def test_the_reference_hashes_what_the_protocol_hashes() -> None:
    assert digest("tag", b"bytes", 300, "é", 0) == encoding.digest("tag", b"bytes", 300, "é", 0)
    assert all(depth(count) == merkle.depth(count) for count in range(1, 300))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33])
def test_every_path_leads_to_the_root(count: int) -> None:
    root, paths = root_and_paths(leaves(count), range(count))
    for index, (leaf, path) in enumerate(zip(leaves(count), paths, strict=True)):
        assert len(path) == depth(count)
        assert root_from(leaf, index, path, count) == root


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_another_leaf_place_path_or_number_of_leaves_leads_elsewhere(count: int) -> None:
    root, paths = root_and_paths(leaves(count), range(count))
    for index, path in enumerate(paths):
        leaf = leaves(count)[index]
        assert root_from(leaves(count)[index - 1], index, path, count) != root
        assert root_from(leaf, index, path, count + 1) != root
        assert root_from(leaf, index, path[:-1], count) != root
        assert root_from(leaf, index, (*path, bytes(32)), count) != root
        assert root_from(leaf, index, (bytes(32), *path[1:]), count) != root
        for other in range(count):
            if other != index:
                assert root_from(leaf, other, path, count) != root


def test_a_node_is_no_leaf_and_padding_is_no_leaf() -> None:
    two = leaves(2)
    node = digest("merkle node", *two)
    root, _ = root_and_paths([*two, *two])
    assert root_and_paths([node, node])[0] != root
    assert root_and_paths(leaves(3))[0] != root_and_paths([*leaves(3), digest("merkle padding")])[0]


def test_a_known_answer() -> None:
    """Recomputed here from the definition, with hashlib alone."""

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(encode("merkle node", left, right)).digest()

    a, b, c = leaves(3)
    padding = hashlib.sha256(encode("merkle padding")).digest()
    top = node(node(a, b), node(c, padding))
    root, (path,) = root_and_paths([a, b, c], [2])
    assert root == hashlib.sha256(encode("merkle root", 3, top)).digest()
    assert path == (padding, node(a, b))


def test_depth_is_the_least_that_holds_the_leaves() -> None:
    assert [depth(count) for count in (1, 2, 3, 4, 5, 8, 9, 1024, 1025)] == [0, 1, 2, 2, 3, 3, 4, 10, 11]
