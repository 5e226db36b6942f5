# SPDX-License-Identifier: Apache-2.0

"""One site under CKKS: it holds the secret key, as all sites do, encrypts its lanes and opens sums.

Set-up, once a study. Every member signs an ephemeral box key; the first of the roster makes the CKKS keys,
encrypts the secret one under a fresh 32-byte key, and seals that to every other by HPKE, as pair secrets of
the masked sum are. The coordinator relays it all and is given the context without a key.

Encryption is symmetric: who encrypts holds the secret key anyway, and its noise is fifty times less than a
public key's. Key switching, and so relinearisation keys, is nothing that a sum needs; none is ever sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct

from sordino.aggregation.ckks.ciphertext import decrypt, encrypt, tenseal
from sordino.aggregation.ckks.limbs import join, split
from sordino.aggregation.ckks.parameters import DEGREE, Parameters, choose_parameters
from sordino.errors import MalformedMessage, PeerError, RequestRefused, StateError
from sordino.protocol.encoding import digest
from sordino.protocol.keys import (
    BoxKey,
    Identity,
    Roster,
    check_box_key,
    draw_secret,
    open_shares,
    seal_pair,
    seal_shares,
)
from sordino.protocol.lanes import Lanes
from sordino.protocol.policy import Policy


class Advertisement(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member's box key, signed."""

    site: str
    box_key: bytes
    signature: bytes


class KeyDelivery(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The CKKS secret key as its maker sends it: encrypted once, the key to it sealed to each member."""

    maker: str
    sealed: dict[str, bytes]
    encrypted: bytes
    signature: bytes


@dataclass(frozen=True)
class Upload:
    """A site's encrypted lanes, signed, under their session and round."""

    site: str
    ciphertext: bytes
    signature: bytes


class Member:
    """A site: bytes in, bytes out. `Member.context` without a key is what the coordinator adds with."""

    def __init__(self, identity: Identity, roster: Roster, policy: Policy) -> None:
        self.name = identity.name
        self.parameters = choose_parameters(policy)
        self._identity, self._roster, self._policy = identity, roster, policy
        self._box: BoxKey | None = BoxKey.generate(os.urandom)
        self._session = b""
        self._context: Any = None
        self._opened = 0
        self._frozen: tuple[str, ...] | None = None

    # Set-up ----------------------------------------------------------------------------------------------

    def advertise(self) -> bytes:
        """The member's own `Advertisement`."""
        key = self._box_key.public_bytes()
        signature = self._identity.sign("ckks box key", self._roster.digest, self._policy.digest, key)
        return msgspec.msgpack.encode(Advertisement(self.name, key, signature))

    def make_key(self, advertisements: Sequence[bytes]) -> bytes:
        """The `KeyDelivery` of a new secret key to all who advertised; for the first of the roster."""
        box_keys = self._advertised(advertisements)
        self._context = new_context(self.parameters)
        content = draw_secret(os.urandom)
        header = self._header(self.name)
        delivery = KeyDelivery(
            self.name,
            {
                name: seal_pair(content, name, key, self._info(name))
                for name, key in box_keys.items()
                if name != self.name
            },
            seal_shares(content, header, _serialised(self._context, secret=True), os.urandom),
            b"",
        )
        content.wipe()
        self._box = None
        signature = self._identity.sign(
            "ckks key delivery", self._session, digest("ckks", *_signed(delivery))
        )
        return msgspec.msgpack.encode(msgspec.structs.replace(delivery, signature=signature))

    def take_key(self, advertisements: Sequence[bytes], delivery: bytes) -> None:
        """Open the secret key. Raises `PeerError` for one that is forged, or not by these parameters."""
        self._advertised(advertisements)
        given = _decoded(delivery, KeyDelivery)
        if given.maker != self._roster.names[0]:
            raise RequestRefused(f"the first of the roster makes the key, not {given.maker!r}")
        fields = digest("ckks", *_signed(given))
        self._roster.verify(given.maker, given.signature, "ckks key delivery", self._session, fields)
        if self.name not in given.sealed:
            raise PeerError(f"site {given.maker!r} sealed no key to {self.name!r}", peers=(given.maker,))
        content = self._box_key.open(given.sealed[self.name], self._info(self.name))
        context = tenseal().context_from(open_shares(content, self._header(given.maker), given.encrypted))
        content.wipe()
        check_context(context, self.parameters)
        if not context.is_private():
            raise PeerError(f"site {given.maker!r} sent a context without its key", peers=(given.maker,))
        context.global_scale = 2.0**self.parameters.scale_bits
        self._context, self._box = context, None

    def public_context(self) -> bytes:
        """The context without any key, for the coordinator."""
        return _serialised(self._keyed, secret=False)

    # A round ---------------------------------------------------------------------------------------------

    def upload(self, number: int, question: bytes, lanes: Lanes) -> Upload:
        """Encrypt the lanes of round `number`; `question` is its hash."""
        ciphertext = encrypt(self._keyed, split(lanes, self.parameters))
        signature = self._identity.sign(
            "ckks upload", self._session, number, question, digest("ckks ciphertext", ciphertext)
        )
        return Upload(self.name, ciphertext, signature)

    def open(self, number: int, survivors: Sequence[str], total: bytes) -> Lanes:
        """Decrypt what the coordinator calls the survivors' sum, once a round.

        Raises `RequestRefused` for a second sum of one round, an earlier round, a cohort that is too small or
        without this site, and under "freeze" another one than before. That the ciphertext is a sum at all is
        the coordinator's word.
        """
        if self._policy.across_rounds == "freeze" and self._frozen not in (None, tuple(survivors)):
            raise RequestRefused("the first sum fixed its sites, and this is over others")
        if number <= self._opened:
            raise RequestRefused(f"a sum of round {self._opened} was opened already, this is {number}")
        known = set(survivors) & set(self._roster.names)
        if len(known) != len(survivors) or self.name not in known or len(known) < self._policy.min_cohort:
            raise RequestRefused(
                f"a sum is opened over {self._policy.min_cohort} sites or more, {self.name!r} among them"
            )
        self._opened, self._frozen = number, tuple(survivors)
        limbs = decrypt(self._keyed, total)
        if len(limbs) % self.parameters.limbs:
            raise MalformedMessage(f"a sum of {len(limbs)} limbs is no whole number of lanes")
        return join(limbs, self.parameters, sites=len(known), bits=self._policy.bits)

    def forget(self) -> None:
        """Let go of the keys."""
        self._context = self._box = None

    # ------------------------------------------------------------------------------------------------------

    @property
    def session(self) -> bytes:
        """Hash of who takes part and of every box key, 32 bytes; empty before set-up."""
        return self._session

    @property
    def _box_key(self) -> BoxKey:
        if self._box is None:
            raise StateError("set-up is over")
        return self._box

    @property
    def _keyed(self) -> Any:
        if self._context is None:
            raise StateError("set-up is not over, or the aggregator is closed")
        return self._context

    def _advertised(self, advertisements: Sequence[bytes]) -> Mapping[str, bytes]:
        """Everybody's box key, signatures checked; sets the session."""
        keys: dict[str, bytes] = {}
        for data in advertisements:
            given = _decoded(data, Advertisement)
            terms = self._roster.digest, self._policy.digest, given.box_key
            self._roster.verify(given.site, given.signature, "ckks box key", *terms)
            check_box_key(given.site, given.box_key)
            if given.site in keys:
                raise RequestRefused(f"site {given.site!r} advertised twice")
            keys[given.site] = given.box_key
        if keys.get(self.name) != self._box_key.public_bytes() or len(keys) < self._policy.min_cohort:
            raise RequestRefused(f"set-up needs {self._policy.min_cohort} sites or more, this one among them")
        ordered = tuple(sorted(keys.items()))
        self._session = digest("ckks session", self._roster.digest, self._policy.digest, ordered)
        return keys

    def _header(self, maker: str) -> bytes:
        return digest("ckks secret key", self._session, maker)

    def _info(self, receiver: str) -> bytes:
        return digest("ckks content key", self._session, self._roster.names[0], receiver)


def new_context(parameters: Parameters) -> Any:
    """A TenSEAL context with a fresh secret key, from SEAL's own entropy (the system's)."""
    module = tenseal()
    context = module.context(
        module.SCHEME_TYPE.CKKS,
        DEGREE,
        coeff_mod_bit_sizes=list(parameters.prime_bits),
        encryption_type=module.ENCRYPTION_TYPE.SYMMETRIC,
    )
    context.global_scale = 2.0**parameters.scale_bits
    return context


def check_context(context: Any, parameters: Parameters) -> None:
    """Raise `PeerError` unless a context that came from elsewhere has the parameters that were computed here.

    Compared by SEAL's hash of them, which covers scheme, ring degree and the primes themselves. With a public
    key encryption would have fifty times the noise.
    """
    if context.seal_context().data.key_parms_id() != _parameters_id(parameters) or not _is_symmetric(context):
        raise PeerError("the CKKS context has other parameters than the policy gives")


@cache
def _parameters_id(parameters: Parameters) -> list[int]:
    """SEAL's hash of parameters; no key is made for it."""
    from tenseal import sealapi

    chosen = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
    chosen.set_poly_modulus_degree(DEGREE)
    chosen.set_coeff_modulus(sealapi.CoeffModulus.Create(DEGREE, list(parameters.prime_bits)))
    found: list[int] = sealapi.SEALContext(chosen, True, sealapi.SEC_LEVEL_TYPE.TC128).key_parms_id()
    return found


def _is_symmetric(context: Any) -> bool:
    try:
        context.has_public_key()
    except ValueError:  # TenSEAL's answer where there can be none
        return True
    return False


def _serialised(context: Any, *, secret: bool) -> bytes:
    data: bytes = context.serialize(
        save_public_key=False, save_secret_key=secret, save_galois_keys=False, save_relin_keys=False
    )
    return data


def _signed(delivery: KeyDelivery) -> tuple[object, ...]:
    return delivery.maker, tuple(sorted(delivery.sealed.items())), delivery.encrypted


def _decoded(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"this is no {kind.__name__}: {error}") from None
