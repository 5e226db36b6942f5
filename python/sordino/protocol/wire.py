# SPDX-License-Identifier: Apache-2.0

"""Messages to bytes and back: a version byte, then msgpack. Anything else is a `MalformedMessage`.

Nothing on the wire is hashed or signed as such: that goes through `encoding`, over the decoded values.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sordino.errors import MalformedMessage
from sordino.protocol.keys import BOX_KEY_BYTES, NONCE_BYTES, SEALED_PAIR_BYTES, SIGNATURE_BYTES, TAG_BYTES
from sordino.protocol.messages import ToCoordinator, ToSite
from sordino.protocol.secret import SECRET_BYTES

VERSION = 1

_ENCODER = msgspec.msgpack.Encoder()
_TO_SITE: msgspec.msgpack.Decoder[ToSite] = msgspec.msgpack.Decoder(ToSite)
_TO_COORDINATOR: msgspec.msgpack.Decoder[ToCoordinator] = msgspec.msgpack.Decoder(ToCoordinator)

_NAME_BYTES = 64 + 5
_FIXED_BYTES = 2**20
"""Room for an offer's policy and every field that does not grow with the roster."""


def to_bytes(message: ToSite | ToCoordinator) -> bytes:
    """The message as it travels."""
    return bytes([VERSION]) + _ENCODER.encode(message)


def read_at_site(data: bytes, sites: int) -> ToSite:
    """Decode what a coordinator sent to a site; `sites` is the size of the roster."""
    message: ToSite = _read(_TO_SITE, data, size_limit(sites))
    return message


def read_at_coordinator(data: bytes, sites: int) -> ToCoordinator:
    """Decode what a site sent to the coordinator; `sites` is the size of the roster."""
    message: ToCoordinator = _read(_TO_COORDINATOR, data, size_limit(sites))
    return message


def size_limit(sites: int) -> int:
    """The most bytes that any message of a study with so many sites can have.

    The largest are all advertisements to a site and a site's upload, whose boxes hold for each peer a share
    of at most 2 * sites secrets (self seed, mask keys, chain links).
    """
    advertisements = sites * (BOX_KEY_BYTES + SEALED_PAIR_BYTES + 2 * SIGNATURE_BYTES + 24 * _NAME_BYTES)
    upload = sites * (share_box_bytes(2 * sites) + 8 * SECRET_BYTES)
    return _FIXED_BYTES + advertisements + upload


def share_box_bytes(secrets: int) -> int:
    """The size of a share box that holds so many shares."""
    return NONCE_BYTES + secrets * SECRET_BYTES + TAG_BYTES


def _read(decoder: msgspec.msgpack.Decoder[Any], data: bytes, limit: int) -> Any:
    if len(data) > limit:
        raise MalformedMessage(f"a message of {len(data)} bytes is longer than the {limit} allowed")
    if not data:
        raise MalformedMessage("a message is empty")
    if data[0] != VERSION:
        raise MalformedMessage(f"a message has version {data[0]}, this side speaks {VERSION}")
    try:
        return decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"a message does not decode: {error}") from None
