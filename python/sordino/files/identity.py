# SPDX-License-Identifier: Apache-2.0

"""A site's identity on disk: an Ed25519 key in PEM, for its owner only."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sordino.errors import ConfigError
from sordino.protocol.keys import Identity


def write_identity(path: Path, name: str) -> Identity:
    """Make a new identity and write its key to `path` (mode 0600); `ConfigError` if the file exists."""
    identity = Identity.generate(name)
    pem = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists: a site's key is never overwritten") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(handle)
    return identity


def read_identity(path: Path, name: str) -> Identity:
    """Read the identity of site `name`; `ConfigError` if there is no Ed25519 key, or others can read it."""
    try:
        open_to_others = path.stat().st_mode & 0o077
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if open_to_others:
        raise ConfigError(f"{path} can be read by others: make it 0600")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} holds no private key in PEM: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key")
    return Identity(name, key)
