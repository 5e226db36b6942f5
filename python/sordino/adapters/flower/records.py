# SPDX-License-Identifier: Apache-2.0

"""From what a client returns to lanes, and from a sum to what a strategy aggregates.

Which block holds which array or metric is said in `sordino.adapters.named`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import SType
from numpy.lib import format as npy

from sordino.adapters import named
from sordino.adapters.flower.envelope import ENVELOPE
from sordino.adapters.named import Floats
from sordino.aggregation.base import Aggregate, Contribution
from sordino.errors import InvalidArgument
from sordino.protocol.policy import Question

WEIGHT = "num-examples"
"""The metric by which Flower weighs sites."""

T = TypeVar("T")


def made_with(*, sampling_rate: float = 1.0, local_steps: int = 0, local_sigma: float = 0.0) -> ConfigRecord:
    """What a client adds to its reply, under any name, to say by which terms of a noise it was made."""
    terms = {"sampling_rate": sampling_rate, "local_steps": local_steps, "local_sigma": local_sigma}
    return ConfigRecord({ENVELOPE: True, **terms})


def values_of(arrays: Mapping[str, Array]) -> dict[str, Floats]:
    """The values where they lie, read-only; `Array.numpy` copies them."""
    return {name: _values(name, array) for name, array in arrays.items()}


def contribution_of(
    question: Question,
    groups: Collection[str],
    sent: RecordDict,
    reply: RecordDict,
    *,
    weighted_by: str = WEIGHT,
) -> Contribution:
    """What a client's reply puts into the sum. The reply's arrays are gone then: each is let go once read.

    The weight is the metric `weighted_by`; the rest is as in `named.contribution_of`.
    """
    before = values_of(_joined(sent.array_records.values(), "arrays"))
    given = values_of(_joined(reply.array_records.values(), "arrays"))
    for record in reply.array_records.values():
        record.clear()
    metrics = _joined(reply.metric_records.values(), "metrics")
    weight = metrics.pop(weighted_by, None)
    return named.contribution_of(
        question,
        groups,
        before,
        given,
        metrics,
        weight,
        terms=_terms(reply),
        counted_by=f"the metric {weighted_by!r}",
    )


def mean_of(
    question: Question, total: Aggregate, sent: RecordDict, *, array_key: str, weighted_by: str = WEIGHT
) -> RecordDict:
    """One reply that stands for all: the mean of the arrays and metrics, and the summed weight.

    Arrays have the shapes and dtypes that were sent.
    """
    before = values_of(_joined(sent.array_records.values(), "arrays"))
    arrays, metrics = named.mean_of(question, total, before)
    # Weighed by itself a mean stays what it is, whatever its weight.
    metrics[weighted_by] = max(total.weights[question.groups[0]], 1.0)
    content = RecordDict({"metrics": MetricRecord(metrics)})
    if arrays:
        content[array_key] = ArrayRecord({name: Array(arrays[name]) for name in before if name in arrays})
    return content


def _values(name: str, array: Array) -> Floats:
    if array.stype != SType.NUMPY:
        raise InvalidArgument(f"array {name!r} must be NumPy's, got {array.stype!r}")
    file = BytesIO(array.data)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, by_column, dtype = read_header[npy.read_magic(file)](file)
    flat: Floats = np.frombuffer(array.data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if by_column else "C")


def _joined(records: Iterable[Mapping[str, T]], what: str) -> dict[str, T]:
    """What is in all records by name; raises `InvalidArgument` for a name that comes twice."""
    found: dict[str, T] = {}
    for record in records:
        if twice := found.keys() & record.keys():
            raise InvalidArgument(f"two {what} are named {min(twice)!r}")
        found.update(record)
    return found


def _terms(reply: RecordDict) -> dict[str, Any]:
    for record in reply.config_records.values():
        if record.get(ENVELOPE) is True:
            return {name: value for name, value in record.items() if name != ENVELOPE}
    return {}
