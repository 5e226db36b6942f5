# SPDX-License-Identifier: Apache-2.0

"""Keys, boxes, signatures and the roster: known answers by other code, and everything that must not pass."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sordino.errors import BadSignature, InvalidArgument, MalformedMessage, PeerError, PolicyError
from sordino.protocol.commitment import chain_end, commit_mask_key, commit_self_seed, share_opening
from sordino.protocol.encoding import begin, digest, encode
from sordino.protocol.keys import (
    BOX_KEY_BYTES,
    SEALED_PAIR_BYTES,
    BoxKey,
    Identity,
    Roster,
    RoundContext,
    draw,
    draw_secret,
    next_link,
    open_shares,
    pair_keys,
    seal_pair,
    seal_shares,
    step_pair,
)
from sordino.protocol.secret import Secret

PAIR = bytes(range(32))
CONTEXT = RoundContext(b"s" * 32, 7, b"p" * 32, b"q" * 32, b"c" * 32)


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand for one block (RFC 5869, section 2.3), from the HMAC of the standard library."""
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def fixed(size: int) -> bytes:
    return bytes(range(size % 256)) if size < 256 else bytes(size)


# Round keys ---------------------------------------------------------------------------------------------


def test_round_keys_are_hkdf_of_the_pair_secret_and_the_whole_context() -> None:
    keys = pair_keys(Secret(PAIR), CONTEXT, "delft", "berlin")
    assert keys.mask.reveal() == expand(PAIR, encode("mask key", *CONTEXT, "berlin", "delft"))
    assert keys.outgoing.reveal() == expand(PAIR, encode("share box key", *CONTEXT, "delft", "berlin"))
    assert keys.incoming.reveal() == expand(PAIR, encode("share box key", *CONTEXT, "berlin", "delft"))


def test_the_ratchet_is_a_chain_indexed_by_the_round() -> None:
    stepped = step_pair(Secret(PAIR), b"s" * 32, 7)
    assert stepped.reveal() == expand(PAIR, encode("pair step", b"s" * 32, 8))
    assert step_pair(Secret(PAIR), b"s" * 32, 8) != stepped
    assert step_pair(Secret(PAIR), b"t" * 32, 7) != stepped


def test_a_link_is_the_hash_of_the_one_before() -> None:
    link = b"l" * 32
    assert next_link(link) == digest("chain link", link)
    assert chain_end(link, 0) == link
    assert chain_end(link, 3) == next_link(next_link(next_link(link)))


def test_commitments_bind_session_round_site_and_secret() -> None:
    base = ("session" * 5).encode()[:32], 3, "lyon", b"k" * 32
    assert commit_self_seed(*base) == digest("self seed commitment", *base)
    others = [
        (bytes(32), *base[1:]),
        (base[0], 4, *base[2:]),
        (*base[:2], "oslo", base[3]),
        (*base[:3], bytes(32)),
    ]
    assert len({commit_self_seed(*fields) for fields in (base, *others)}) == 5
    mask = commit_mask_key(base[0], 3, "lyon", "oslo", b"k" * 32)
    assert mask == commit_mask_key(base[0], 3, "oslo", "lyon", b"k" * 32), "the same from both ends"
    assert mask == digest("mask key commitment", base[0], 3, "lyon", "oslo", b"k" * 32)
    assert mask != commit_mask_key(base[0], 3, "lyon", "turin", b"k" * 32)


def test_a_share_leaf_binds_dealer_holder_and_place() -> None:
    opening = share_opening(b"s" * 32, 3, "lyon", "oslo")
    place = b"s" * 32, 3, "lyon", "oslo", 2, b"x" * 32
    assert encode("share", *place) == opening + encode("", 2, b"x" * 32)[len(begin("", rest=2)) :]
    assert opening != share_opening(b"s" * 32, 3, "oslo", "lyon")


# Share boxes --------------------------------------------------------------------------------------------


def test_a_share_box_is_aes_gcm_with_the_header_beside_it() -> None:
    key = Secret(b"k" * 32)
    box = seal_shares(key, b"header", b"shares", fixed)
    assert box[:12] == fixed(12)
    assert AESGCM(b"k" * 32).decrypt(box[:12], box[12:], b"header") == b"shares"
    assert open_shares(key, b"header", box) == b"shares"


@pytest.mark.parametrize("place", [0, 11, 12, 17, 18, 33])
def test_a_share_box_with_any_part_altered_does_not_open(place: int) -> None:
    key = Secret(b"k" * 32)
    box = bytearray(seal_shares(key, b"header", b"shares", fixed))
    box[place] ^= 1
    with pytest.raises(PeerError, match="does not open"):
        open_shares(key, b"header", bytes(box))


def test_a_share_box_opens_with_its_own_key_and_header_only() -> None:
    key = Secret(b"k" * 32)
    box = seal_shares(key, b"header", b"shares", fixed)
    for other, header, data in (
        (Secret(b"o" * 32), b"header", box),
        (key, b"another", box),
        (key, b"header", b""),
        (key, b"header", box[:12]),
        (key, b"header", box[:-1]),
        (key, b"header", box + b"x"),
    ):
        with pytest.raises(PeerError, match="does not open"):
            open_shares(other, header, data)


# Sealed pairs -------------------------------------------------------------------------------------------


def test_a_sealed_pair_opens_for_its_key_and_info_and_no_other() -> None:
    mine, other = BoxKey.generate(fixed_from(b"mine")), BoxKey.generate(fixed_from(b"other"))
    sealed = seal_pair(Secret(PAIR), "lyon", mine.public_bytes(), b"info")
    assert len(sealed) == SEALED_PAIR_BYTES
    assert len(mine.public_bytes()) == BOX_KEY_BYTES
    assert mine.open(sealed, b"info").reveal() == PAIR
    again = BoxKey.from_private_bytes(mine.private_bytes())
    assert again.open(sealed, b"info").reveal() == PAIR
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    for key, data, info in (
        (other, sealed, b"info"),
        (mine, sealed, b"another"),
        (mine, flipped, b"info"),
        (mine, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"info"),
        (mine, sealed[:-1], b"info"),
        (mine, b"", b"info"),
        (mine, bytes(SEALED_PAIR_BYTES), b"info"),
    ):
        with pytest.raises(PeerError, match="does not open"):
            key.open(data, info)


def fixed_from(name: bytes):
    return lambda size: (hashlib.sha512(name).digest() * 3)[:size]


def test_a_box_key_comes_from_the_given_entropy_alone() -> None:
    assert (
        BoxKey.generate(fixed_from(b"a")).public_bytes() == BoxKey.generate(fixed_from(b"a")).public_bytes()
    )
    assert (
        BoxKey.generate(fixed_from(b"a")).public_bytes() != BoxKey.generate(fixed_from(b"b")).public_bytes()
    )


@pytest.mark.parametrize("size", [0, 1, BOX_KEY_BYTES - 1, BOX_KEY_BYTES + 1])
def test_a_box_key_of_another_length_is_none(size: int) -> None:
    with pytest.raises(MalformedMessage, match="lyon") as caught:
        seal_pair(Secret(PAIR), "lyon", bytes(size), b"info")
    assert caught.value.peers == ("lyon",)


def test_entropy_of_a_wrong_length_is_refused() -> None:
    assert draw_secret(fixed).reveal() == fixed(32)
    for wrong in (lambda size: bytes(size - 1), lambda size: bytes(size + 1), lambda _: b""):
        with pytest.raises(InvalidArgument, match="entropy"):
            draw(wrong, 32)
        with pytest.raises(InvalidArgument, match="entropy"):
            draw_secret(wrong)
        with pytest.raises(InvalidArgument, match="entropy"):
            BoxKey.generate(wrong)
        with pytest.raises(InvalidArgument, match="entropy"):
            seal_shares(Secret(PAIR), b"", b"", wrong)


# Identities and rosters ---------------------------------------------------------------------------------


def test_an_identity_signs_the_canonical_encoding_by_ed25519() -> None:
    # RFC 8032, section 7.1, test 1: the secret key and its public key.
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    identity = Identity.from_secret("lyon", secret)
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.public_key.hex() == public
    signature = identity.sign("tag", 1, "two")
    assert signature == Ed25519PrivateKey.from_private_bytes(secret).sign(encode("tag", 1, "two"))
    Ed25519PublicKey.from_public_bytes(identity.public_key).verify(signature, encode("tag", 1, "two"))
    for wrong in (b"", secret[:-1], secret + b"\0"):
        with pytest.raises(InvalidArgument, match="32 bytes"):
            Identity.from_secret("lyon", wrong)


def roster(*names: str) -> tuple[Roster, dict[str, Identity]]:
    identities = {name: Identity.from_secret(name, hashlib.sha256(name.encode()).digest()) for name in names}
    return Roster({name: identity.public_key for name, identity in identities.items()}), identities


def test_a_roster_sorts_its_sites_and_gives_each_a_point() -> None:
    mine, identities = roster("oslo", "berlin", "lyon")
    assert mine.names == ("berlin", "lyon", "oslo")
    assert [mine.index(name) for name in mine.names] == [0, 1, 2]
    assert [mine.point(name) for name in mine.names] == [1, 2, 3]
    assert len(mine) == 3
    assert "lyon" in mine
    assert "paris" not in mine
    assert mine.key("lyon") == identities["lyon"].public_key
    pairs = tuple((name, identities[name].public_key) for name in mine.names)
    assert mine.digest == digest("roster", pairs)
    assert mine.digest != roster("oslo", "berlin")[0].digest


def test_a_site_outside_the_roster_is_a_peer_error_that_names_it() -> None:
    mine, _ = roster("oslo", "berlin", "lyon")
    for ask in (mine.key, mine.index, mine.point, lambda name: mine.verify(name, bytes(64), "tag")):
        with pytest.raises(PeerError, match="paris") as caught:
            ask("paris")
        assert caught.value.peers == ("paris",)


def test_a_signature_holds_for_its_site_tag_and_fields_only() -> None:
    mine, identities = roster("oslo", "berlin", "lyon")
    good = identities["lyon"].sign("tag", 1, b"x")
    mine.verify("lyon", good, "tag", 1, b"x")
    for site, signature, tag, fields in (
        ("oslo", good, "tag", (1, b"x")),
        ("lyon", good, "other", (1, b"x")),
        ("lyon", good, "tag", (1, b"y")),
        ("lyon", good, "tag", (1,)),
        ("lyon", good, "tag", (1, "x")),
        ("lyon", bytes(64), "tag", (1, b"x")),
        ("lyon", good[:-1], "tag", (1, b"x")),
        ("lyon", b"", "tag", (1, b"x")),
        ("lyon", bytes([good[0] ^ 1]) + good[1:], "tag", (1, b"x")),
    ):
        with pytest.raises(BadSignature) as caught:
            mine.verify(site, signature, tag, *fields)
        assert caught.value.peers == (site,)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "ä", "a/b", "x" * 65, "a\n", "..", "a\0"])
def test_a_name_that_could_be_taken_for_something_else_is_none(name: str) -> None:
    with pytest.raises(PolicyError, match="name"):
        Roster({name: bytes(range(32))})


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_of_another_length_is_none(size: int) -> None:
    with pytest.raises(PolicyError, match=f"{size} bytes"):
        Roster({"lyon": bytes(size)})
