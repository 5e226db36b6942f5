# SPDX-License-Identifier: Apache-2.0

"""Identities, the roster, and every key that is derived or boxed.

Signatures are Ed25519 over the canonical encoding, pair secrets travel in HPKE boxes (MLKEM768-X25519,
HKDF-SHA256, AES-256-GCM), and round keys come from the ratcheted pair secret by HKDF-Expand (RFC 5869,
section 2.3: the pair secret is a uniform 32-byte key already, so there is nothing to extract).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sordino.errors import BadSignature, InvalidArgument, MalformedMessage, PeerError, PolicyError
from sordino.protocol.encoding import begin, digest, encode, pieces
from sordino.protocol.policy import check_name
from sordino.protocol.secret import SECRET_BYTES, Secret

Entropy: TypeAlias = Callable[[int], bytes]
"""A source of uniform random bytes, the system's by default; a parameter so that answers can be known."""

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
NONCE_BYTES = 12
TAG_BYTES = 16

_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_SEED_BYTES = 64
_X25519_BYTES = 32
BOX_KEY_BYTES = _MLKEM_PUBLIC_BYTES + _X25519_BYTES
SEALED_PAIR_BYTES = 1088 + 32 + SECRET_BYTES + TAG_BYTES
"""ML-KEM-768 ciphertext, X25519 share, the pair secret, the AES-GCM tag."""

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def draw_secret(entropy: Entropy) -> Secret:
    """A fresh secret; raises `InvalidArgument` if the source gives another number of bytes."""
    return Secret(draw(entropy, SECRET_BYTES))


def draw(entropy: Entropy, count: int) -> bytes:
    """`count` fresh bytes, their number checked."""
    data = entropy(count)
    if len(data) != count:
        raise InvalidArgument(f"the entropy source gave {len(data)} bytes instead of {count}")
    return data


class Identity:
    """A site's long-term signing key, under its name in the roster."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self.name = name
        self._key = private_key

    @classmethod
    def generate(cls, name: str) -> Identity:
        """A new identity from the system's entropy."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, name: str, secret: bytes) -> Identity:
        """The identity whose 32-byte Ed25519 seed is `secret`."""
        if len(secret) != SECRET_BYTES:
            raise InvalidArgument(f"an identity's secret has {SECRET_BYTES} bytes, got {len(secret)}")
        return cls(name, Ed25519PrivateKey.from_private_bytes(secret))

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key itself, for whoever writes it to a file."""
        return self._key

    @cached_property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, tag: str, *fields: object) -> bytes:
        """Sign the canonical encoding of `fields` under the domain `tag`."""
        return self._key.sign(encode(tag, *fields))

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, {self.public_key.hex()[:16]}...)"


class Roster:
    """The sites of a study, pinned by each of them: distinct names with distinct public keys."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Raises `PolicyError` for two names with one key, or a key that is not one."""
        self.names = tuple(sorted(keys))
        self._index = {name: index for index, name in enumerate(self.names)}
        self._raw = {name: bytes(keys[name]) for name in self.names}
        owners: dict[bytes, str] = {}
        for name, raw in self._raw.items():
            check_name(name)
            if raw in owners:
                raise PolicyError(f"sites {owners[raw]!r} and {name!r} have one key")
            if len(raw) != PUBLIC_KEY_BYTES:
                raise PolicyError(f"the key of site {name!r} has {len(raw)} bytes, not {PUBLIC_KEY_BYTES}")
            owners[raw] = name
            Ed25519PublicKey.from_public_bytes(raw)  # raises for what is no key

    @cached_property
    def digest(self) -> bytes:
        """Hash of all names and keys, 32 bytes."""
        return digest("roster", tuple((name, self._raw[name]) for name in self.names))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def key(self, name: str) -> bytes:
        """The raw public key of a site; `PeerError` if the roster does not have it."""
        self.index(name)
        return self._raw[name]

    def index(self, name: str) -> int:
        """The site's place in the sorted roster; `PeerError` if it has none."""
        if name not in self._index:
            raise PeerError(f"site {name!r} is not in the roster", peers=(name,))
        return self._index[name]

    def point(self, name: str) -> int:
        """The site's Shamir point: its place counted from 1, since the secret lies at 0."""
        return self.index(name) + 1

    def verify(self, name: str, signature: bytes, tag: str, *fields: object) -> None:
        """Raise `BadSignature` unless `signature` is by `name` over these fields."""
        self.index(name)
        try:
            _verify(self._raw[name], signature, encode(tag, *fields))
        except InvalidSignature:
            raise BadSignature(
                f"the signature of site {name!r} on its {tag} is wrong", peers=(name,)
            ) from None


@lru_cache(maxsize=4096)
def _verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Raise `InvalidSignature` for a wrong signature, every time.

    A right one is verified once: a process that plays many sites shows each of them the same certificate.
    """
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)


class BoxKey:
    """A site's ephemeral hybrid key, to which its peers seal pair secrets during set-up."""

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519

    @classmethod
    def generate(cls, entropy: Entropy) -> BoxKey:
        """A new key."""
        return cls.from_private_bytes(draw(entropy, _MLKEM_SEED_BYTES + _X25519_BYTES))

    @classmethod
    def from_private_bytes(cls, data: bytes) -> BoxKey:
        """Read what `private_bytes` wrote."""
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(data[:_MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(data[_MLKEM_SEED_BYTES:]),
        )

    def private_bytes(self) -> bytes:
        """The ML-KEM seed and the X25519 key, for the session state until set-up is over."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()

    def public_bytes(self) -> bytes:
        """ML-KEM-768 public key, then X25519 public key."""
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, info: bytes) -> Secret:
        """Open a sealed pair secret; raises `PeerError` if it is not for this key and this info."""
        private = hpke.MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
        try:
            return Secret(_SUITE.decrypt(sealed, private, info))
        except (InvalidTag, ValueError):
            raise PeerError("a sealed pair secret does not open") from None


def seal_pair(secret: Secret, receiver: str, box_key: bytes, info: bytes) -> bytes:
    """Seal a pair secret to a peer's advertised box key; raises `MalformedMessage` if that is no key."""
    try:
        public = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(box_key[:_MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(box_key[_MLKEM_PUBLIC_BYTES:]),
        )
        return _SUITE.encrypt(secret.reveal(), public, info)
    except ValueError as error:
        raise MalformedMessage(
            f"the box key of site {receiver!r} is not valid: {error}", peers=(receiver,)
        ) from None


def check_box_key(site: str, box_key: bytes) -> None:
    """Raise `MalformedMessage`, naming the site, unless its peers will be able to seal to its box key."""
    seal_pair(Secret(bytes(SECRET_BYTES)), site, box_key, b"")


class RoundContext(NamedTuple):
    """What every key of a round is bound to."""

    session: bytes
    round: int
    policy: bytes
    question: bytes
    cohort: bytes


@lru_cache(maxsize=64)
def begin_for_two(tag: str, context: RoundContext) -> bytes:
    """What `encode(tag, *context, one, other)` begins with for any two sites."""
    return begin(tag, *context, rest=2)


class PairKeys(NamedTuple):
    """The keys that two sites derive from their pair secret for one round."""

    mask: Secret
    outgoing: Secret
    incoming: Secret


def pair_keys(pair: Secret, context: RoundContext, me: str, peer: str) -> PairKeys:
    """Mask key (the same at both ends) and one box key for each direction."""
    box, one, other = begin_for_two("share box key", context), pieces(me), pieces(peer)
    low, high = (one, other) if me < peer else (other, one)
    return PairKeys(
        mask=_expand(pair, begin_for_two("mask key", context) + low + high),
        outgoing=_expand(pair, box + one + other),
        incoming=_expand(pair, box + other + one),
    )


def step_pair(pair: Secret, session: bytes, round_number: int) -> Secret:
    """The pair secret of the round after `round_number`; the caller wipes the old one."""
    return _expand(pair, encode("pair step", session, round_number + 1))


def next_link(link: bytes) -> bytes:
    """One step of the hash chain of further secrets."""
    return digest("chain link", link)


def noise_seed(link: bytes) -> bytes:
    """The seed of the noise component that hangs on a link of that chain."""
    return digest("noise seed", link)


def seal_shares(key: Secret, header: bytes, shares: bytes | memoryview, entropy: Entropy) -> bytes:
    """AES-256-GCM box: nonce, ciphertext, tag; `header` is authenticated beside it."""
    nonce = draw(entropy, NONCE_BYTES)
    return nonce + AESGCM(key.reveal()).encrypt(nonce, shares, header)


def open_shares(key: Secret, header: bytes, box: bytes) -> bytes:
    """Open a share box; raises `PeerError` if it was altered or is for another round, sender or receiver."""
    try:
        return AESGCM(key.reveal()).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], header)
    except (InvalidTag, ValueError):
        raise PeerError("a share box does not open") from None


def _expand(secret: Secret, info: bytes) -> Secret:
    """HKDF-Expand to 32 bytes, which is the first block alone: T(1) = HMAC(secret, info | 0x01)."""
    return secret.mac(info + b"\x01")
