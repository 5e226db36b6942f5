# SPDX-License-Identifier: Apache-2.0

"""What happened in a run, a line of JSON each: sizes, times, who dropped out where.

No secret, no weight, no metric of any one site. Lines are only ever added, also after a crash: a sum that
was made but not yet used when the process died is asked for again, and then stands there twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from sordino.course.follow import Aborted, Halted, Summed


class Transcript:
    """Appends to `path`; a last line that a crash cut short is dropped first."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        whole = _whole_lines(path)
        if whole != path.stat().st_size:
            self._file.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: str, **details: Any) -> None:
        """Add one line and have it on disk."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write(msgspec.json.encode({"event": event, "at": at, **details}) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def summed(self, repeat: int, event: Summed, privacy: Mapping[str, Any] | None = None) -> None:
        """Add the line of a sum that was made; `privacy` is what a private one has cost so far."""
        total, question = event.total, event.turn.stage.question()
        self.write(
            "sum",
            repeat=repeat + 1,
            question=event.turn.stage.kind,
            number=event.turn.number,
            round=total.round,
            lanes=question.lanes,
            body_bytes=len(event.body),
            survivors=list(total.survivors),
            dropped=dict(total.dropped),
            late=list(event.late),
            recovered=list(total.vanished),
            traffic=_traffic(event),
            seconds=round(total.seconds, 6),
            **({"privacy": privacy} if privacy else {}),
        )

    def aborted(self, repeat: int, event: Aborted, privacy: Mapping[str, Any] | None = None) -> None:
        """Add the line of a round that too few survived, and which may have cost privacy all the same."""
        self.write(
            "aborted",
            repeat=repeat + 1,
            question=event.turn.stage.kind,
            number=event.turn.number,
            lost=dict(event.lost),
            reason=event.reason,
            **({"privacy": privacy} if privacy else {}),
        )

    def halted(self, repeat: int, event: Halted) -> None:
        """Add the line of a training that stopped since it diverged."""
        self.write(
            "halted",
            repeat=repeat + 1,
            question=event.turn.stage.kind,
            number=event.turn.number,
            reason=event.reason,
        )


def _traffic(event: Summed) -> Mapping[str, Mapping[str, int]]:
    return {
        name: {"sent": traffic.sent, "received": traffic.received}
        for name, traffic in sorted(event.total.traffic.items())
    }


def _whole_lines(path: Path) -> int:
    """Bytes up to the last end of a line."""
    return path.read_bytes().rfind(b"\n") + 1
