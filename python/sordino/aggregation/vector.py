# SPDX-License-Identifier: Apache-2.0

"""A site's vector in fixed point: weighted blocks, then the weights, as lanes or as a masked payload.

The payload of a long block is encoded, masked and packed tile by tile, so that its lanes are never all there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from io import BytesIO
from threading import Thread
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.errors import InvalidArgument, ValueOutOfRange
from sordino.protocol.lanes import Lanes, Payload, Vector, empty_lanes
from sordino.protocol.policy import EVERYONE, Block, Question

ONLY_EVERYONE = frozenset({EVERYONE})

_WHOLE = 8
"""So many lanes are whole bytes at any width."""

_LONG = 2**12
"""Lanes of a block for which a call of the fused kernel is worth it."""

_LONG_BYTES = 2**18
"""A payload of which the hash takes longer than a thread to start."""

_PIECE = 2**20
"""Lanes that are held at once of what is not written by the fused kernel."""


class FixedPointVector(Vector):
    """What a site gives to a question without noise; zero where it has no group.

    Raises `ValueOutOfRange` for a weight outside its bounds and `InvalidArgument` for a block that is
    missing, unknown, or of another shape or dtype. Values are judged when they are encoded.
    """

    def __init__(
        self, question: Question, contribution: Contribution, *, groups: Collection[str] = ONLY_EVERYONE
    ) -> None:
        self._question = question
        self._blocks = [block for block in question.blocks if block.group in groups]
        same_names({block.name for block in self._blocks}, contribution.values.keys())
        self._weights = _weights(question, contribution.weight, groups)
        self._values = {
            block.name: _block_values(block.name, block.length, contribution.values[block.name])
            for block in self._blocks
        }

    def encode(
        self, bits: int, first: int = 0, last: int | None = None, *, threads: int | None = None
    ) -> Lanes:
        """The lanes from `first` to before `last`, by default all of them.

        Raises `ValueOutOfRange`, naming the block, for a value outside its bounds.
        """
        last = self._question.lanes if last is None else last
        lanes = empty_lanes(last - first, bits)
        for block in self._blocks:
            span = self._question.spans[block.name]
            start, stop = max(span.start, first), min(span.stop, last)
            if start >= stop:
                continue
            values = self._values[block.name][start - span.start : stop - span.start]
            try:
                _core.encode(
                    values, lanes[start - first : stop - first], **self._format(block), threads=threads
                )
            except ValueOutOfRange:
                self._refuse(block, bits)
        for group, weight in self._weights.items():
            lane = self._question.weight_lanes[group]
            if first <= lane < last:
                lanes[lane - first] = weight
        return lanes

    def write(self, add: bytearray, subtract: bytearray, *, bits: int, threads: int | None = None) -> Payload:
        """See `Vector.write`. Raises `ValueOutOfRange`, naming the block, for a value outside its bounds."""
        lanes = self._question.lanes
        # A buffer that is written once and then read as bytes without a copy.
        buffer = BytesIO(bytes(_core.packed_size(lanes, bits)))
        with buffer.getbuffer() as payload:

            def write_lanes(first: int, last: int) -> None:
                for start in range(first, last, _PIECE):
                    stop = min(start + _PIECE, last)
                    piece = self.encode(bits, start, stop, threads=threads)
                    _core.add_masks(piece, add, subtract, offset=start, threads=threads)
                    payload[_bytes(start, bits) : _bytes(stop, bits)] = _core.pack(piece, bits=bits)

            done = 0
            for block in self._blocks:
                span = self._question.spans[block.name]
                first, last = -(-span.start // _WHOLE) * _WHOLE, span.stop // _WHOLE * _WHOLE
                if last - first < _LONG:
                    continue
                write_lanes(done, first)
                try:
                    _core.write_upload(
                        self._values[block.name][first - span.start : last - span.start],
                        payload[_bytes(first, bits) : _bytes(last, bits)],
                        bits=bits,
                        **self._format(block),
                        add=add,
                        subtract=subtract,
                        mask_offset=first,
                        threads=threads,
                    )
                except ValueOutOfRange:
                    self._refuse(block, bits)
                done = last
            write_lanes(done, lanes)
        return _payload(buffer.getvalue(), threads)

    def _format(self, block: Block) -> dict[str, Any]:
        return {
            "clip": block.clip,
            "scale": block.scale,
            "weight": self._weights[block.group],
            "saturate": self._question.saturate,
        }

    def _refuse(self, block: Block, bits: int) -> NoReturn:
        """Raise what is wrong with a block of which a part was refused, counted from the block's start."""
        try:
            _core.write_upload(
                self._values[block.name], lambda _: None, bits=bits, **self._format(block), threads=1
            )
        except ValueOutOfRange as error:
            raise ValueOutOfRange(f"block {block.name!r}: {error}") from None
        raise InvalidArgument(f"block {block.name!r} changed while it was encoded")


class _HashedAside(Payload):
    """A payload whose digest is made on a thread of its own, from now on."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._made: list[bytes] = []
        self._thread = Thread(target=lambda: self._made.append(super(_HashedAside, self).digest()))
        with suppress(RuntimeError):  # the system gives no more threads: it is made when it is asked for
            self._thread.start()

    def digest(self) -> bytes:
        """See `Payload.digest`."""
        if self._thread.ident is not None:
            self._thread.join()
        return self._made[0] if self._made else super().digest()


def _payload(data: bytes, threads: int | None) -> Payload:
    if len(data) < _LONG_BYTES or (_core.default_threads() if threads is None else threads) == 1:
        return Payload(data)
    return _HashedAside(data)


def same_names(expected: set[str], given: Collection[str]) -> None:
    """Raise `InvalidArgument` unless exactly the expected blocks are given."""
    if missing := sorted(expected - set(given)):
        raise InvalidArgument(f"the contribution lacks the blocks {missing}")
    if unknown := sorted(set(given) - expected):
        raise InvalidArgument(f"the contribution has blocks that this site is not asked for: {unknown}")


def _bytes(lanes: int, bits: int) -> int:
    return (lanes * bits + 7) // 8


def _weights(question: Question, weight: int | Mapping[str, int], groups: Collection[str]) -> dict[str, int]:
    mine = [group for group in question.groups if group in groups]
    given = weight if isinstance(weight, Mapping) else dict.fromkeys(mine, weight)
    if set(given) != set(mine):
        raise InvalidArgument(f"weights must be given for the lane groups {mine}, got {sorted(given)}")
    for group, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InvalidArgument(f"the weight of group {group!r} must be an integer, got {value!r}")
        if not 1 <= value <= question.max_weight:
            raise ValueOutOfRange(
                f"the weight of group {group!r} must be from 1 to {question.max_weight}, got {value}"
            )
    return {group: int(value) for group, value in given.items()}


def _block_values(name: str, length: int, values: object) -> NDArray[np.floating[Any]]:
    if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
        kind = getattr(values, "dtype", type(values).__name__)
        raise InvalidArgument(f"block {name!r} must be a float32 or float64 array, got {kind}")
    if values.shape != (length,):
        raise InvalidArgument(f"block {name!r} must have shape ({length},), got {values.shape}")
    return np.ascontiguousarray(values)
