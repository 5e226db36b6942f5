# SPDX-License-Identifier: Apache-2.0

"""Models as named arrays: how they travel to the sites, become lanes there, and come out of a sum.

A block of the question named like an array that was sent holds that array's change; the block "arrays" holds
the changes of all others that were sent, in the order of their names. Any other block is a metric.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.resolution import fraction_bits
from sordino.errors import InvalidArgument, MalformedMessage
from sordino.protocol.policy import Block, Question

Floats: TypeAlias = NDArray[np.floating[Any]]
Arrays: TypeAlias = Mapping[str, Floats]
"""Float32 or float64 arrays of any shape by name."""

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
    arrays: dict[str, tuple[str, tuple[int, ...], bytes]]


def pack_sent(sent: Sent) -> bytes:
    """A question's body; raises `InvalidArgument`, naming the array, unless all are float32 or float64."""
    packed = {}
    for name, array in sorted(sent.arrays.items()):
        values = np.asarray(array)
        kind = values.dtype.newbyteorder("<").str
        if kind not in _DTYPES:
            raise InvalidArgument(f"array {name!r} must be float32 or float64, got {values.dtype}")
        packed[name] = (kind, values.shape, values.astype(kind).tobytes())
    return msgspec.msgpack.encode(_Packed(1, sent.round, sent.rounds, packed))


def unpack_sent(body: bytes) -> Sent:
    """What `pack_sent` packed, arrays writable. Raises `MalformedMessage` for anything else."""
    try:
        packed = msgspec.msgpack.decode(body, type=_Packed)
        if packed.version != 1 or {kind for kind, _, _ in packed.arrays.values()} - {*_DTYPES}:
            raise ValueError("another version or dtype")
        arrays = {
            name: np.frombuffer(raw, kind).reshape(shape).copy()
            for name, (kind, shape, raw) in packed.arrays.items()
        }
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedMessage(f"the question's body is no packed model: {error}") from None
    return Sent(arrays, packed.round, packed.rounds)


def plan_question(
    kind: str,
    arrays: Arrays,
    *,
    sites: int,
    max_weight: int,
    clip: float = 1.0,
    clips: Mapping[str, float] = {},
    metrics: Mapping[str, float] = {},
    wanted_bits: int = 24,
) -> Question:
    """The question `kind` ("train") about a model.

    arrays       the arrays that come back changed; empty where only metrics come back
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

    sizes = {name: int(np.asarray(array).size) for name, array in arrays.items()}
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


def check_model(question: Question, arrays: Arrays) -> None:
    """Raise `InvalidArgument` unless the question has exactly one lane for every value of the model."""
    inside = array_blocks(question, arrays)
    lengths = {block.name: block.length for block in question.blocks}
    for block, names in inside.items():
        size = sum(np.asarray(arrays[name]).size for name in names)
        if size != lengths[block]:
            raise InvalidArgument(f"block {block!r} has {lengths[block]} lanes, {names} have {size} values")
    if left := sorted(set(arrays) - {name for names in inside.values() for name in names}):
        raise InvalidArgument(f"question {question.kind!r} has no block for the arrays {left}")


def contribution_of(
    question: Question,
    groups: Collection[str],
    sent: Arrays,
    given: Arrays,
    metrics: Mapping[str, Any],
    weight: object,
    *,
    difference: bool = False,
    terms: Mapping[str, Any] = {},
) -> Contribution:
    """What a site's training puts into the sum.

    given       arrays of the shapes that were sent: the trained ones, or with `difference` their change. For
                the unit "patient": always changes, with a first axis for patients, and so are `metrics`
    weight      the number of examples; for the units "patient" and "patient-local" it does not count
    terms       by which terms of a noise it was made, where not by the default: fields of `Contribution`

    Raises `InvalidArgument`, naming the array or metric, for what does not fit the question.
    """
    unit = question.noise.unit if question.noise is not None else None
    rows = unit == "patient"
    arrays, numbers = dict(given), dict(metrics)
    inside = array_blocks(question, sent)
    values: dict[str, Floats] = {}
    for block in question.blocks:
        if block.group not in groups:
            continue
        if block.name not in inside:
            values[block.name] = _metric(block, numbers, rows=rows)
            continue
        parts = [
            _change(name, sent[name], arrays, rows=rows, difference=difference or rows)
            for name in inside[block.name]
        ]
        values[block.name] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    if left := sorted({*arrays, *numbers}):
        raise InvalidArgument(
            f"question {question.kind!r} has no block for what the training returned: {left}"
        )
    return Contribution(values, 1 if unit in ("patient", "patient-local") else _whole(weight), **terms)


def mean_of(question: Question, total: Aggregate, sent: Arrays) -> tuple[dict[str, Floats], dict[str, Any]]:
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


def _change(name: str, before: Floats, given: dict[str, Floats], *, rows: bool, difference: bool) -> Floats:
    """An array's change as a flat vector, or with `rows` one for each patient: (patients, length)."""
    if name not in given:
        raise InvalidArgument(f"the training returned no array {name!r}")
    after = np.asarray(given.pop(name))
    if after.dtype not in (np.float32, np.float64):
        raise InvalidArgument(f"array {name!r} must be float32 or float64, got {after.dtype}")
    shape = after.shape[1:] if rows else after.shape
    if shape != before.shape:
        raise InvalidArgument(f"array {name!r} has the shape {after.shape}, and {before.shape} was sent")
    change: Floats = after if difference else after - before.astype(after.dtype, copy=False)
    return change.reshape((len(after), -1) if rows else -1)


def _metric(block: Block, metrics: dict[str, Any], *, rows: bool) -> Floats:
    if block.name not in metrics:
        raise InvalidArgument(f"the training returned nothing for the block {block.name!r}")
    value = np.atleast_1d(np.asarray(metrics.pop(block.name), np.float64))
    if value.size % block.length or not (rows or value.size == block.length):
        raise InvalidArgument(f"metric {block.name!r} must have {block.length} values, got {value.size}")
    return value.reshape((-1, block.length) if rows else block.length)


def _whole(weight: object) -> int:
    if isinstance(weight, (int, float, np.integer, np.floating)) and weight == int(weight):
        return int(weight)
    raise InvalidArgument(f"the number of examples must be a whole number, got {type(weight).__name__}")
