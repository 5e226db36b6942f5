# SPDX-License-Identifier: Apache-2.0

"""Models as named arrays: how they travel to the sites, become lanes there, and come out of a sum.

A block of the question named like an array that was sent holds that array's change; the block "arrays" holds
the changes of all others that were sent, in the order of their names. Any other block is a metric.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.resolution import fraction_bits
from sordino.errors import InvalidArgument, MalformedMessage
from sordino.protocol.policy import Block, Question

Floats: TypeAlias = NDArray[np.floating[Any]]
Named: TypeAlias = Mapping[str, Floats]
"""Float32 or float64 arrays of any shape by name."""

PackedArray: TypeAlias = tuple[str, tuple[int, ...], bytes]
"""An array's dtype, shape and values, little-endian and by rows."""

REST = "arrays"
"""The block of all arrays that have none of their own."""

_DTYPES = ("<f4", "<f8")


class Sent(NamedTuple):
    """What a question carries: the model, and where the study is."""

    arrays: dict[str, Floats]
    round: int
    rounds: int


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    round: int
    rounds: int
    arrays: dict[str, PackedArray]


def pack_array(name: str, array: Floats) -> PackedArray:
    """An array for MessagePack; raises `InvalidArgument`, naming it, unless it is float32 or float64."""
    values = np.asarray(array)
    kind = values.dtype.newbyteorder("<").str
    if kind not in _DTYPES:
        raise InvalidArgument(f"array {name!r} must be float32 or float64, got {values.dtype}")
    return kind, values.shape, values.astype(kind, copy=False).tobytes()


def unpack_array(packed: PackedArray) -> Floats:
    """What `pack_array` packed, writable. Raises `ValueError` for anything else."""
    kind, shape, raw = packed
    if kind not in _DTYPES:
        raise ValueError(f"an array of the dtype {kind!r}")
    return np.frombuffer(raw, kind).reshape(shape).copy()


def pack_sent(sent: Sent) -> bytes:
    """A question's body; raises `InvalidArgument`, naming the array, unless all are float32 or float64."""
    packed = {name: pack_array(name, array) for name, array in sorted(sent.arrays.items())}
    return msgspec.msgpack.encode(_Packed(1, sent.round, sent.rounds, packed))


def unpack_sent(body: bytes) -> Sent:
    """What `pack_sent` packed, arrays writable. Raises `MalformedMessage` for anything else."""
    try:
        packed = msgspec.msgpack.decode(body, type=_Packed)
        if packed.version != 1:
            raise ValueError(f"version {packed.version} of it")
        arrays = {name: unpack_array(array) for name, array in packed.arrays.items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedMessage(f"the question's body is no packed model: {error}") from None
    return Sent(arrays, packed.round, packed.rounds)


def plan_question(
    kind: str,
    arrays: Mapping[str, Any] | None,
    *,
    sites: int,
    max_weight: int,
    clip: float = 1.0,
    clips: Mapping[str, float] = {},
    metrics: Mapping[str, float] = {},
    wanted_bits: int = 24,
) -> Question:
    """The question that an engine asks as `kind`: a type of Flower's messages, a task of NVFlare ("train").

    arrays       what is sent and comes back changed, by name: Flower's arrays (an `ArrayRecord`) or NumPy's;
                 None where only metrics come back
    max_weight   the largest number of examples of one site
    clip         bound on the change of any value, in the one block of all arrays without a clip of their own;
                 once the policy has noise, on the L2 norm of that block
    clips        arrays with a block of their own, and its clip
    metrics      by metric: the bound on its values
    wanted_bits  resolution 2**-wanted_bits, if the lanes allow
    """

    def block(name: str, length: int, bound: float) -> Block:
        bits = fraction_bits(name, clip=bound, sites=sites, max_weight=max_weight, wanted=wanted_bits)
        return Block(name, length, bound, bits)

    sizes = {name: prod(np.shape(array)) for name, array in (arrays or {}).items()}
    blocks = [block(name, sizes.pop(name), bound) for name, bound in clips.items()]
    if sizes:
        blocks.append(block(REST, sum(sizes.values()), clip))
    blocks += [block(name, 1, bound) for name, bound in metrics.items()]
    return Question(kind=kind, blocks=tuple(blocks), max_weight=max_weight)


def array_blocks(question: Question, sent: Collection[str]) -> dict[str, list[str]]:
    """By block: the arrays in it, of those that were sent."""
    own = {block.name: [block.name] for block in question.blocks if block.name in sent}
    if any(block.name == REST for block in question.blocks):
        own[REST] = sorted(set(sent) - set(own))
    return own


def check_model(question: Question, arrays: Named) -> None:
    """Raise `InvalidArgument` unless the question has exactly one lane for every value of the model."""
    inside = array_blocks(question, arrays)
    for block in question.blocks:
        if block.name in inside:
            _check_length(block, inside[block.name], arrays)
    if left := sorted(set(arrays) - {name for names in inside.values() for name in names}):
        raise InvalidArgument(f"question {question.kind!r} has no block for the arrays {left}")


def contribution_of(
    question: Question,
    groups: Collection[str],
    sent: Named,
    given: dict[str, Floats],
    metrics: Mapping[str, Any],
    weight: object,
    *,
    difference: bool = False,
    terms: Mapping[str, Any] = {},
    counted_by: str = "the number of examples",
) -> Contribution:
    """What a site's training puts into the sum.

    given       arrays of the shapes that were sent: the trained ones, or with `difference` their change. For
                the unit "patient": always changes, with a first axis for patients, and so are `metrics`. A
                metric may be among them too. Empty afterwards: each is let go once it is read, so that of a
                large model there is what was sent, and the change
    weight      the number of examples; for the units "patient" and "patient-local" it does not count
    terms       by which terms of a noise it was made, where not by the default: fields of `Contribution`
    counted_by  what the weight is called where it is none

    Raises `InvalidArgument`, naming the array or metric, for what does not fit the question.
    """
    unit = question.noise.unit if question.noise is not None else None
    rows = unit == "patient"
    numbers = dict(metrics)
    inside = array_blocks(question, sent)
    values: dict[str, Floats] = {}
    for block in question.blocks:
        if block.group not in groups:
            continue
        if block.name in inside:
            names = inside[block.name]
            values[block.name] = _changes(block, names, sent, given, rows=rows, difference=difference or rows)
        else:
            source = numbers if block.name in numbers else given
            values[block.name] = _metric(block, source, rows=rows)
    if left := sorted({*given, *numbers}):
        raise InvalidArgument(
            f"question {question.kind!r} has no block for what the training returned: {left}"
        )
    by_site = unit in ("patient", "patient-local")
    return Contribution(values, 1 if by_site else _whole(weight, counted_by), **terms)


def mean_of(question: Question, total: Aggregate, sent: Named) -> tuple[dict[str, Floats], dict[str, Any]]:
    """The sent arrays plus the mean change, in their shapes and dtypes, and the mean metrics."""
    arrays: dict[str, Floats] = {}
    metrics: dict[str, Any] = {}
    inside = array_blocks(question, sent)
    for block in question.blocks:
        mean = total.mean(block.name, block.group)
        if block.name not in inside:
            metrics[block.name] = float(mean[0]) if block.length == 1 else mean.tolist()
        for name in inside.get(block.name, ()):
            before = sent[name]
            change, mean = mean[: before.size], mean[before.size :]
            arrays[name] = (before + change.reshape(before.shape)).astype(before.dtype)
    return arrays, metrics


def _check_length(block: Block, names: list[str], arrays: Named) -> None:
    size = sum(np.asarray(arrays[name]).size for name in names)
    if size != block.length:
        raise InvalidArgument(f"block {block.name!r} has {block.length} lanes, {names} have {size} values")


def _changes(
    block: Block,
    names: list[str],
    sent: Named,
    given: dict[str, Floats],
    *,
    rows: bool,
    difference: bool,
) -> Floats:
    """How a block's arrays changed, one after the other: (length,), or with `rows` (patients, length)."""
    _check_length(block, names, sent)
    kinds = {name: _kind(name, sent[name], given, rows=rows) for name in names}
    counts = {name: patients for name, (_, patients) in kinds.items()}
    if len(set(counts.values())) > 1:
        raise InvalidArgument(f"arrays of one block have rows for different numbers of patients: {counts}")
    patients = counts[names[0]]
    dtype = np.result_type(*(kind for kind, _ in kinds.values()))
    changes: Floats = np.empty((patients, block.length), dtype)
    start = 0
    for name in names:
        after, before = np.asarray(given.pop(name)), sent[name]
        stop = start + before.size
        change = changes[:, start:stop].reshape((patients, *before.shape))
        if difference:
            change[...] = after
        else:
            np.subtract(after, before, out=change, casting="same_kind")
        start = stop
    return changes if rows else changes[0]


def _kind(name: str, before: Floats, given: Named, *, rows: bool) -> tuple[np.dtype[Any], int]:
    """The dtype of what came back for an array, and its number of patients (1 without `rows`)."""
    if name not in given:
        raise InvalidArgument(f"the training returned no array {name!r}")
    after = np.asarray(given[name])
    if after.dtype not in (np.float32, np.float64):
        raise InvalidArgument(f"array {name!r} must be float32 or float64, got {after.dtype}")
    if after.ndim != before.ndim + rows or after.shape[int(rows) :] != before.shape:
        raise InvalidArgument(f"array {name!r} has the shape {after.shape}, and {before.shape} was sent")
    return after.dtype, len(after) if rows else 1


def _metric(block: Block, source: dict[str, Any], *, rows: bool) -> Floats:
    if block.name not in source:
        raise InvalidArgument(f"the training returned nothing for the block {block.name!r}")
    value = np.atleast_1d(np.asarray(source.pop(block.name), np.float64))
    if value.size % block.length or not (rows or value.size == block.length):
        raise InvalidArgument(f"metric {block.name!r} must have {block.length} values, got {value.size}")
    return value.reshape((-1, block.length) if rows else block.length)


def _whole(weight: object, what: str) -> int:
    if isinstance(weight, (int, float, np.integer, np.floating)) and float(weight).is_integer():
        return int(weight)
    raise InvalidArgument(f"{what} must be a whole number, got {type(weight).__name__}")
