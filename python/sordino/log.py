# SPDX-License-Identifier: Apache-2.0

"""What sordino says while it works: an event and its fields, never a secret, a weight, a metric or a value.

Everything goes to the logger "sordino" of `logging`, at level INFO, and nowhere by default: a program that
wants it adds a handler, the command line has `--verbose` and `--log`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, TypeAlias

Field: TypeAlias = str | int | float | bool | tuple[str, ...] | None
"""Names, counts, bytes and seconds. Bytes and arrays are refused, since those are what may be secret."""

logger = logging.getLogger("sordino")
logger.addHandler(logging.NullHandler())


def tell(event: str, **fields: Field) -> None:
    """Log one event. Raises `TypeError` for a field that is not of a kind that may be logged."""
    for name, value in fields.items():
        parts = value if isinstance(value, tuple) else (value,)
        if not all(part is None or type(part) in (str, int, float, bool) for part in parts):
            raise TypeError(f"the field {name!r} of a log may not be {type(value).__name__}")
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s%s", event, _words(fields), extra={"event": event, "fields": fields})


class JsonLines(logging.Formatter):
    """A record as one JSON object: `time` in UTC, `event`, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a record that is not `tell`'s has its message as the event."""
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": getattr(record, "event", record.getMessage()),
        }
        return json.dumps(found | getattr(record, "fields", {}))


def _words(fields: dict[str, Field]) -> str:
    told = []
    for name, value in fields.items():
        if isinstance(value, tuple):
            told.append(f"{name} {','.join(value) or 'none'}")
        elif isinstance(value, float):
            told.append(f"{name} {value:.3g}")
        elif value is not None:
            told.append(f"{name} {value}")
    return "".join(f"; {one}" for one in told)
