# SPDX-License-Identifier: Apache-2.0

"""The model as the server keeps it after every round, so that a later run goes on with the next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from sordino.adapters.named import Floats, Named, PackedArray, pack_array, unpack_array
from sordino.adapters.state_file import read_state, write_state
from sordino.errors import StateError

Held: TypeAlias = list[Floats] | dict[str, Floats] | None
"""What an engine's strategy holds beside the model: arrays in its own order, by name, or none yet."""

_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """A study after so many rounds.

    held  by name: what the strategy held besides
    """

    rounds: int
    arrays: dict[str, Floats]
    held: dict[str, Held]


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    rounds: int
    arrays: dict[str, PackedArray]
    held: dict[str, list[PackedArray] | dict[str, PackedArray] | None]


def keep(directory: Path, rounds: int, arrays: Named, held: Mapping[str, Held] = {}) -> None:
    """Write a checkpoint.

    Raises `InvalidArgument` for arrays that are neither float32 nor float64, and `StateError`, naming the
    file, where it cannot be written.
    """
    packed = {name: pack_array(name, array) for name, array in arrays.items()}
    kept = _Kept(rounds, packed, {name: _pack(name, value) for name, value in held.items()})
    write_state(_path(directory), kept)


def resume(directory: Path | None, initial: Named) -> Checkpoint:
    """The last checkpoint in a directory; `initial` after no round where there is none.

    Raises `StateError` for a file that is damaged, or that holds a model of other names or shapes.
    """
    if directory is None or not (path := _path(directory)).exists():
        return Checkpoint(0, dict(initial), {})
    kept = read_state(path, _Kept)
    try:
        arrays = {name: unpack_array(array) for name, array in kept.arrays.items()}
        held = {name: _unpack(value) for name, value in kept.held.items()}
    except ValueError as error:
        raise StateError(f"{path}: {error}") from None
    if {name: a.shape for name, a in initial.items()} != {name: a.shape for name, a in arrays.items()}:
        raise StateError(f"{path} holds another model than the one given")
    _log.warning("the study goes on after round %d", kept.rounds)
    return Checkpoint(kept.rounds, arrays, held)


def _path(directory: Path) -> Path:
    return directory / "model.state"


def _pack(name: str, held: Held) -> list[PackedArray] | dict[str, PackedArray] | None:
    if isinstance(held, dict):
        return {key: pack_array(f"{name}[{key!r}]", array) for key, array in held.items()}
    return None if held is None else [pack_array(name, array) for array in held]


def _unpack(kept: list[PackedArray] | dict[str, PackedArray] | None) -> Held:
    if isinstance(kept, dict):
        return {key: unpack_array(array) for key, array in kept.items()}
    return None if kept is None else [unpack_array(array) for array in kept]
