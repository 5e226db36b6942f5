# SPDX-License-Identifier: Apache-2.0

"""How messages of the protocol travel in Flower's records, and how a question binds the records beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from sordino.protocol.journal import Reply

ENVELOPE = "sordino"
"""The record that holds a message of the protocol; a site keeps its session under the same name."""

_PAYLOAD = "sordino-payload"

_PACKED = "sordino.packed"
"""The serialisation of masked lanes: no array at all to whoever does not know it."""


def seal_request(data: bytes, records: Mapping[str, object]) -> RecordDict:
    """A request and the records that its question is about."""
    return RecordDict({**records, ENVELOPE: ConfigRecord({"request": data})})


def open_request(content: RecordDict) -> tuple[bytes | None, RecordDict]:
    """The request in a message, None if there is none, and the records beside it."""
    records = RecordDict({name: record for name, record in content.items() if name != ENVELOPE})
    return _bytes_of(content, "request"), records


def seal_reply(reply: Reply) -> RecordDict:
    """A site's answer, with the masked lanes as an array, which Flower sends in chunks."""
    content = RecordDict({ENVELOPE: ConfigRecord({"answer": reply.data})})
    if reply.payload:
        packed = Array("uint8", (len(reply.payload),), _PACKED, reply.payload)
        content[_PAYLOAD] = ArrayRecord({"lanes": packed})
    return content


def open_reply(content: RecordDict) -> Reply | None:
    """What `seal_reply` sealed; None if this is something else."""
    data = _bytes_of(content, "answer")
    if data is None:
        return None
    packed = content.array_records.get(_PAYLOAD, {}).get("lanes")
    return Reply(data, packed.data if packed is not None else b"")


def body_of(records: RecordDict) -> bytes:
    """What a question's hash covers of the records beside it: every name, value and array.

    Arrays stay outside, as their SHA-256, so that Flower sends each of them once for all sites.
    """
    arrays = [
        [
            name,
            sorted((key, a.dtype, a.shape, a.stype, hashlib.sha256(a.data).digest()) for key, a in r.items()),
        ]
        for name, r in sorted(records.array_records.items())
    ]
    values = [
        [[name, sorted(r.items())] for name, r in sorted(kind.items())]
        for kind in (records.config_records, records.metric_records)
    ]
    return msgspec.msgpack.encode([arrays, *values])


def _bytes_of(content: RecordDict, name: str) -> bytes | None:
    value = content.config_records.get(ENVELOPE, {}).get(name)
    return value if isinstance(value, bytes) else None
