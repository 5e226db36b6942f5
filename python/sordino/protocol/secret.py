# SPDX-License-Identifier: Apache-2.0

"""Secret bytes that do not print, do not pickle, compare in constant time and can be wiped."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import NoReturn

from sordino import _core
from sordino.errors import InvalidArgument

SECRET_BYTES = 32


class Secret:
    """Secret bytes (32 but for a box key), held in memory of their own."""

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a leak waiting for a dict
    __slots__ = ("_bytes",)

    def __init__(self, data: bytes | bytearray) -> None:
        """Copy `data`; raises `InvalidArgument` if it is shorter than 32 bytes."""
        if len(data) < SECRET_BYTES:
            raise InvalidArgument(f"a secret has at least {SECRET_BYTES} bytes, got {len(data)}")
        self._bytes = bytearray(data)

    def reveal(self) -> bytes:
        """The bytes, as a copy that cannot be wiped: for messages, key derivation and saved state."""
        return bytes(self._bytes)

    def mac(self, message: bytes) -> Secret:
        """HMAC-SHA256 of `message` under these bytes, as a secret of its own."""
        return Secret(hmac.digest(self._bytes, message, "sha256"))

    def wipe(self) -> None:
        """Overwrite the bytes with zeros."""
        _core.wipe(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._bytes, other._bytes)

    def __repr__(self) -> str:
        return f"Secret({len(self._bytes)} bytes)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: save the session state on purpose instead")


def wipe(*secrets: Secret | None) -> None:
    """Overwrite each secret that there is."""
    for secret in secrets:
        if secret is not None:
            secret.wipe()


def concatenate(secrets: Sequence[Secret]) -> bytearray:
    """All secrets in one buffer for a kernel; the caller wipes it."""
    joined = bytearray()
    for secret in secrets:
        joined += secret._bytes
    return joined
