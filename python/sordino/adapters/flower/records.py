# SPDX-License-Identifier: Apache-2.0

"""From what a client returns to lanes, and from a sum to what a strategy aggregates.

A block of the question named like an array that was sent holds that array's change; the block "arrays" holds
the changes of all others that were sent, in the order of their names. Any other block is a metric.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import SType
from numpy.lib import format as npy
from numpy.typing import NDArray

from sordino.adapters import named
from sordino.adapters.flower.envelope import ENVELOPE
from sordino.adapters.named import array_blocks
from sordino.aggregation.base import Aggregate, Contribution
from sordino.errors import InvalidArgument
from sordino.protocol.policy import Question

Floats = NDArray[np.floating[Any]]

WEIGHT = "num-examples"
"""The metric by which Flower weighs sites."""


def made_with(*, sampling_rate: float = 1.0, local_steps: int = 0, local_sigma: float = 0.0) -> ConfigRecord:
    """What a client adds to its reply, under any name, to say by which terms of a noise it was made."""
    return ConfigRecord(
        {ENVELOPE: True, "rate": sampling_rate, "steps": local_steps, "sigma": local_sigma},
    )


def all_arrays(records: RecordDict) -> dict[str, Array]:
    """The arrays of all array records by name; raises `InvalidArgument` for a name that comes twice."""
    found: dict[str, Array] = {}
    for record in records.array_records.values():
        for name, array in record.items():
            if name in found:
                raise InvalidArgument(f"two arrays are named {name!r}")
            found[name] = array
    return found


def values_of(array: Array) -> Floats:
    """The values where they lie, read-only; `Array.numpy` copies them."""
    if array.stype != SType.NUMPY:
        raise InvalidArgument(f"an array must be NumPy's, got {array.stype!r}")
    file = BytesIO(array.data)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, by_column, dtype = read_header[npy.read_magic(file)](file)
    flat: Floats = np.frombuffer(array.data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if by_column else "C")


def contribution_of(
    question: Question,
    groups: Collection[str],
    sent: RecordDict,
    reply: RecordDict,
    *,
    weighted_by: str = WEIGHT,
) -> Contribution:
    """What a client's reply puts into the sum. The reply's arrays are gone then: each is let go once read.

    Without noise and for the unit "site": arrays of the shapes that were sent, of which the change counts,
    and metrics. For the unit "patient": changes and metrics with a first axis for patients. The weight is the
    metric `weighted_by`; for the unit "patient" it is the number of rows, and for "patient-local" 1.

    Raises `InvalidArgument`, naming the array or metric, for what does not fit the question.
    """
    base, given, metrics = all_arrays(sent), all_arrays(reply), _all_metrics(reply)
    for record in reply.array_records.values():
        record.clear()
    unit = question.noise.unit if question.noise is not None else None
    rows = unit == "patient"
    weight = metrics.pop(weighted_by, None)
    mine = [block for block in question.blocks if block.group in groups]
    inside = array_blocks(question, base)
    values: dict[str, Floats] = {}
    for block in mine:
        names = inside.get(block.name)
        if names is None:
            values[block.name] = _metric(block.name, block.length, metrics, given, rows=rows)
            continue
        size = sum(values_of(base[name]).size for name in names)
        if size != block.length:
            raise InvalidArgument(
                f"block {block.name!r} has {block.length} lanes, its arrays {names} have {size} values"
            )
        if rows:
            values[block.name] = np.concatenate([_rows(name, base[name], given) for name in names], axis=-1)
        else:
            values[block.name] = _changes(names, base, given, size)
    if left := sorted({*given, *metrics}):
        raise InvalidArgument(f"question {question.kind!r} has no block for what the client returned: {left}")
    return Contribution(
        values, 1 if unit in ("patient", "patient-local") else _weight(weight, weighted_by), **_terms(reply)
    )


def mean_of(
    question: Question, total: Aggregate, sent: RecordDict, *, array_key: str, weighted_by: str = WEIGHT
) -> RecordDict:
    """One reply that stands for all: the mean of the arrays and metrics, and the summed weight.

    Arrays have the shapes and dtypes that were sent.
    """
    base = all_arrays(sent)
    arrays, metrics = named.mean_of(question, total, {name: values_of(array) for name, array in base.items()})
    # Weighed by itself a mean stays what it is, whatever its weight.
    metrics[weighted_by] = max(total.weights[question.groups[0]], 1.0)
    content = RecordDict({"metrics": MetricRecord(metrics)})
    if arrays:
        content[array_key] = ArrayRecord({name: Array(arrays[name]) for name in base if name in arrays})
    return content


def _changes(names: list[str], base: Mapping[str, Array], given: dict[str, Array], size: int) -> Floats:
    """How arrays changed, one after the other, in a vector of this size."""
    wide = any(name in given and given[name].dtype == "float64" for name in names)
    changes: Floats = np.empty(size, np.float64 if wide else np.float32)
    start = 0
    for name in names:
        after, before = _taken(name, given), values_of(base[name])
        if after.shape != before.shape:
            raise _misshapen(name, after.shape, before.shape)
        stop = start + after.size
        np.subtract(after, before, out=changes[start:stop].reshape(after.shape), casting="same_kind")
        start = stop
    return changes


def _rows(name: str, before: Array, given: dict[str, Array]) -> Floats:
    """What each patient adds to an array: (patients, length)."""
    after, shape = _taken(name, given), values_of(before).shape
    if after.shape[1:] != shape:
        raise _misshapen(name, after.shape, shape)
    by_patient: Floats = after.reshape(len(after), -1)
    return by_patient


def _taken(name: str, given: dict[str, Array]) -> Floats:
    if name not in given:
        raise InvalidArgument(f"the client returned no array {name!r}")
    values = values_of(given.pop(name))
    if values.dtype not in (np.float32, np.float64):
        raise InvalidArgument(f"array {name!r} must be float32 or float64, got {values.dtype}")
    return values


def _misshapen(name: str, shape: tuple[int, ...], sent: tuple[int, ...]) -> InvalidArgument:
    return InvalidArgument(f"array {name!r} has the shape {shape}, and {sent} was sent")


def _metric(
    name: str, length: int, metrics: dict[str, Any], given: dict[str, Array], *, rows: bool
) -> Floats:
    if name in metrics:
        value: Floats = np.atleast_1d(np.asarray(metrics.pop(name), np.float64))
    elif name in given:
        value = values_of(given.pop(name))
    else:
        raise InvalidArgument(f"the client returned nothing for the block {name!r}")
    if value.size % length or not (rows or value.size == length):
        raise InvalidArgument(f"metric {name!r} must have {length} values, got {value.size}")
    return value.reshape((-1, length) if rows else length)


def _all_metrics(records: RecordDict) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records.metric_records.values():
        for name, value in record.items():
            if name in found:
                raise InvalidArgument(f"two metrics are named {name!r}")
            found[name] = value
    return found


def _weight(value: object, name: str) -> int:
    if isinstance(value, (int, float)) and value == int(value):
        return int(value)
    raise InvalidArgument(f"the metric {name!r} must be a whole number, got {type(value).__name__}")


def _terms(reply: RecordDict) -> Mapping[str, Any]:
    for record in reply.config_records.values():
        if record.get(ENVELOPE) is True:
            return {
                "sampling_rate": record["rate"],
                "local_steps": record["steps"],
                "local_sigma": record["sigma"],
            }
    return {}
