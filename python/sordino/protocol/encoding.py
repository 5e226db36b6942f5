# SPDX-License-Identifier: Apache-2.0

"""The one canonical encoding of everything that is hashed, signed or fed to a key derivation.

Injective by construction: each value is a type tag, a length and its bytes, and a whole encoding opens with
a version and a domain tag, so that no two meanings share bytes.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from math import isfinite

import msgspec

VERSION = 1
DIGEST_BYTES = 32

_HEADER = b"sordino" + bytes([VERSION])


def encode(tag: str, *fields: object) -> bytes:
    """Encode `fields` under the domain `tag`.

    Fields may be None, bool, int >= 0, finite float, str, bytes, tuples of these, and msgspec Structs, which
    count as their type's name and their fields in order. Raises TypeError or ValueError for anything else.
    """
    out = bytearray(_HEADER)
    _append(out, tag)
    _append(out, fields)
    return bytes(out)


def digest(tag: str, *fields: object) -> bytes:
    """SHA-256 of `encode(tag, *fields)`."""
    return hashlib.sha256(encode(tag, *fields)).digest()


def begin(tag: str, *first: object, rest: int) -> bytes:
    """What `encode(tag, *first, *others)` begins with for any `rest` others, so that it is made once."""
    out = bytearray(_HEADER)
    _append(out, tag)
    out += b"L"
    out += (len(first) + rest).to_bytes(8, "big")
    for field in first:
        _append(out, field)
    return bytes(out)


class DigestOfMany:
    """`digest(tag, *first, *rest)` for many `rest` after one `first`, which is encoded once."""

    def __init__(self, tag: str, *first: object, rest: int) -> None:
        """`rest` is the number of fields that will follow."""
        self._hash = hashlib.sha256(begin(tag, *first, rest=rest))
        self._rest = rest

    def __call__(self, *rest: object) -> bytes:
        """The digest with these last fields."""
        if len(rest) != self._rest:
            raise TypeError(f"{self._rest} fields were announced, got {len(rest)}")
        out = bytearray()
        for field in rest:
            _append(out, field)
        state = self._hash.copy()
        state.update(out)
        return state.digest()


def pieces(*fields: object) -> bytes:
    """What `encode` puts behind `begin` for the `rest` fields."""
    out = bytearray()
    for field in fields:
        _append(out, field)
    return bytes(out)


_head = struct.Struct(">cQ").pack  # a type tag and a length


def _append(out: bytearray, value: object) -> None:
    # In the order of how often they come: a round encodes hundreds of thousands of digests and names.
    if isinstance(value, bytes):
        out += _head(b"B", len(value))
        out += value
    elif isinstance(value, str):
        data = value.encode("utf-8")
        out += _head(b"S", len(data))
        out += data
    elif isinstance(value, msgspec.Struct):
        out += _struct_head(type(value))
        for name in value.__struct_fields__:
            _append(out, getattr(value, name))
    elif isinstance(value, tuple):
        out += _head(b"L", len(value))
        for item in value:
            _append(out, item)
    elif isinstance(value, bool):
        out += b"T" if value else b"F"
    elif isinstance(value, int):
        if value < 0:
            raise ValueError(f"the canonical encoding holds no negative integer, got {value}")
        length = (value.bit_length() + 7) // 8
        out += _head(b"I", length)
        out += value.to_bytes(length, "big")
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"the canonical encoding holds only finite numbers, got {value}")
        out += _head(b"D", 8)
        out += struct.pack(">d", value + 0.0)
    elif value is None:
        out += b"N"
    else:
        raise TypeError(f"the canonical encoding holds no {type(value).__name__}")


@cache
def _struct_head(kind: type[msgspec.Struct]) -> bytes:
    """What a Struct's fields follow: its name, and their number as of a tuple."""
    out = bytearray()
    _append(out, kind.__name__)
    out += _head(b"L", len(kind.__struct_fields__))
    return bytes(out)
