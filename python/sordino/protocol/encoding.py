"""The one canonical encoding of everything that is hashed, signed or fed to a key derivation.

Injective by construction: each value is a type tag, a length and its bytes, and a whole encoding opens with
a version and a domain tag, so that no two meanings share bytes.
"""

from __future__ import annotations

import hashlib
import struct
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


def _append(out: bytearray, value: object) -> None:
    match value:
        case bytes():
            _piece(out, b"B", value)
        case str():
            _piece(out, b"S", value.encode("utf-8"))
        case bool():
            out += b"T" if value else b"F"
        case int():
            if value < 0:
                raise ValueError(f"the canonical encoding holds no negative integer, got {value}")
            _piece(out, b"I", value.to_bytes((value.bit_length() + 7) // 8, "big"))
        case tuple():
            out += b"L"
            out += len(value).to_bytes(8, "big")
            for item in value:
                _append(out, item)
        case msgspec.Struct():
            _append(out, type(value).__name__)
            _append(out, tuple(getattr(value, name) for name in value.__struct_fields__))
        case float():
            if not isfinite(value):
                raise ValueError(f"the canonical encoding holds only finite numbers, got {value}")
            _piece(out, b"D", struct.pack(">d", value + 0.0))
        case None:
            out += b"N"
        case _:
            raise TypeError(f"the canonical encoding holds no {type(value).__name__}")


def _piece(out: bytearray, tag: bytes, data: bytes) -> None:
    out += tag
    out += len(data).to_bytes(8, "big")
    out += data
