# SPDX-License-Identifier: Apache-2.0

"""Limbs as TenSEAL ciphertexts: one for each 2,048 of them, encrypted, added and opened one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.ckks.parameters import SLOTS
from sordino.errors import ConfigError, MalformedMessage


def tenseal() -> Any:
    """The module. Raises `ConfigError`, saying what to install, where it is not here."""
    try:
        import tenseal as module
    except ImportError:
        raise ConfigError("sums under CKKS need TenSEAL: pip install 'sordino[ckks]'") from None
    return module


def encrypt(context: Any, limbs: NDArray[np.float64]) -> bytes:
    """The limbs, encrypted with the context's secret key."""
    parts = (limbs[start : start + SLOTS] for start in range(0, len(limbs), SLOTS))
    return msgspec.msgpack.encode([tenseal().ckks_vector(context, part).serialize() for part in parts])


def decrypt(context: Any, data: bytes) -> NDArray[np.float64]:
    """The limbs near whole numbers, as noise left them."""
    return np.concatenate([vector.decrypt() for vector in _vectors(context, data)])


class Total:
    """A sum that grows by uploads; it needs a context without any key."""

    def __init__(self, context: Any, limbs: int) -> None:
        self._context = context
        self._sizes = [min(SLOTS, limbs - start) for start in range(0, limbs, SLOTS)]
        self._total: list[Any] = []

    def add(self, data: bytes) -> None:
        """Add what `encrypt` gave. Raises `MalformedMessage` for another number of limbs."""
        vectors = list(_vectors(self._context, data))
        if [vector.size() for vector in vectors] != self._sizes:
            raise MalformedMessage(f"an upload of other than {sum(self._sizes)} limbs")
        self._total = (
            [one.add_(other) for one, other in zip(self._total, vectors, strict=True)]
            if self._total
            else vectors
        )

    def serialise(self) -> bytes:
        """The sum, for `decrypt`."""
        return msgspec.msgpack.encode([vector.serialize() for vector in self._total])


def _vectors(context: Any, data: bytes) -> Iterator[Any]:
    try:
        for part in msgspec.msgpack.decode(data, type=list[bytes]):
            yield tenseal().ckks_vector_from(context, part)
    except (msgspec.DecodeError, ValueError, RuntimeError) as error:
        raise MalformedMessage(f"these are no ciphertexts of this session: {error}") from None
