# SPDX-License-Identifier: Apache-2.0

"""Named arrays as bytes and back: what a question carries to the sites, and what a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sordino.errors import MalformedMessage
from sordino.models.model import Vector

Arrays: TypeAlias = Mapping[str, Vector]
"""Float64 vectors by name."""

VERSION = 1


class _Packed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    arrays: dict[Annotated[str, Meta(max_length=64)], bytes]


def pack_arrays(arrays: Arrays, names: Iterable[str] | None = None) -> bytes:
    """The vectors `names` (default: all) as bytes: little-endian float64, in order of their names."""
    chosen = sorted(arrays if names is None else names)
    return msgspec.msgpack.encode(
        _Packed(VERSION, {name: np.asarray(arrays[name], dtype="<f8").tobytes() for name in chosen})
    )


def unpack_arrays(data: bytes) -> dict[str, Vector]:
    """The vectors of `pack_arrays`, writable. Raises `MalformedMessage` for anything else."""
    try:
        packed = msgspec.msgpack.decode(data, type=_Packed)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"these are not packed arrays: {error}") from None
    if packed.version != VERSION:
        raise MalformedMessage(f"packed arrays of version {packed.version}, this is version {VERSION}")
    if wrong := [name for name, raw in packed.arrays.items() if len(raw) % 8]:
        raise MalformedMessage(f"packed arrays of a broken length: {wrong}")
    return {name: np.frombuffer(raw, dtype="<f8").astype(np.float64) for name, raw in packed.arrays.items()}
