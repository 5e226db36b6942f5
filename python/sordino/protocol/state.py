# SPDX-License-Identifier: Apache-2.0

"""A site's session state between messages: a value that serialises, as each may meet a new process.

It holds secrets. It is as private as the site's data, and it is saved on purpose or not at all.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from sordino.errors import StateError
from sordino.protocol.encoding import DIGEST_BYTES
from sordino.protocol.harary import Graph
from sordino.protocol.keys import RoundContext
from sordino.protocol.policy import Policy
from sordino.protocol.secret import Secret, wipe

STATE_VERSION = 3


class OpenRound(Struct):
    """The keys of the one round that a site may still unmask.

    mask_keys and incoming hold, for each neighbour that takes part, the pair's mask key and the key of the
    box from that peer; `link` is the first link of the chain of further secrets, if the policy has one.
    """

    context: RoundContext
    participants: tuple[str, ...]
    upload: bytes
    self_seed: Secret
    mask_keys: dict[str, Secret]
    incoming: dict[str, Secret]
    link: Secret | None

    @property
    def peers(self) -> tuple[str, ...]:
        """The neighbours that take part, in order."""
        return tuple(self.mask_keys)

    def wipe(self) -> None:
        """Overwrite every key."""
        wipe(self.self_seed, *self.mask_keys.values(), *self.incoming.values(), self.link)


class SiteState(Struct):
    """Where a site stands in one session.

    roster      hash of the roster that the session is of
    session     the transcript's hash, once all advertisements are known
    groups      the lane groups that each advertised site has
    graph       who masks with whom, once all advertisements are known
    box_key     the ephemeral private key, until the receipt
    pairs       the pair secret with each peer, as of round `ratchet`
    journal     length and head of the journal after this session's last entry
    last        sequence of this session's last journal entry
    """

    site: str
    session_id: bytes
    roster: bytes
    policy: Policy
    step: str
    box_key: Secret | None
    journal_length: int
    journal_head: bytes
    last: int
    session: bytes = b""
    groups: dict[str, tuple[str, ...]] = {}
    graph: Graph | None = None
    pairs: dict[str, Secret] = {}
    ratchet: int = 1
    open: OpenRound | None = None

    def wipe_session(self) -> None:
        """Overwrite everything that could still mask or unmask."""
        self.wipe_round()
        wipe(self.box_key, *self.pairs.values())
        self.box_key, self.pairs = None, {}

    def wipe_round(self) -> None:
        """Overwrite the keys of the open round."""
        if self.open is not None:
            self.open.wipe()
            self.open = None


def dump_state(state: SiteState) -> bytes:
    """The state as bytes, secrets included."""
    return seal_state(STATE_VERSION, _ENCODER.encode(state))


def load_state(data: bytes) -> SiteState:
    """Read what `dump_state` wrote; raises `StateError` for anything else."""
    try:
        return _DECODER.decode(open_state(STATE_VERSION, data))
    except (msgspec.MsgspecError, ValueError) as error:
        raise StateError(f"the session state is damaged: {error}") from None


def seal_state(version: int, data: bytes) -> bytes:
    """A saved state: its version, its SHA-256, itself. The hash tells damage, not malice."""
    return bytes([version]) + hashlib.sha256(data).digest() + data


def open_state(version: int, data: bytes) -> bytes:
    """What `seal_state` sealed; raises `StateError` for another version or damage."""
    if not data or data[0] != version:
        raise StateError(f"a saved state must have version {version}, got {data[:1].hex() or 'nothing'}")
    check, inner = data[1 : 1 + DIGEST_BYTES], data[1 + DIGEST_BYTES :]
    if hashlib.sha256(inner).digest() != check:
        raise StateError("the saved state is damaged")
    return inner


def _write_secret(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value).__name__)


def _read_secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, bytes):
        return Secret(value)
    raise ValueError(f"no {kind.__name__} here")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_write_secret)
_DECODER = msgspec.msgpack.Decoder(SiteState, dec_hook=_read_secret)
