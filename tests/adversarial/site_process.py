# SPDX-License-Identifier: Apache-2.0

"""One message to a site in a process of its own, which may be made to die at a chosen point.

Reads a job (JSON) from standard input, writes what the site answered (JSON) to standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from adversarial.toolkit import FLOOR, Study, identity, roster_of
from sordino.errors import SordinoError
from sordino.files import journal as files
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.journal import Reply
from sordino.protocol.site import Site

DIES = ("before anything", "between reply and line", "within the line", "after the line")


class Answer(NamedTuple):
    """What a process gave: a reply, or the name of the error, or neither if it was killed."""

    reply: Reply | None
    error: str
    code: int


class Running(NamedTuple):
    process: subprocess.Popen[str]

    def wait(self) -> Answer:
        out, err = self.process.communicate(timeout=60)
        assert "Traceback" not in err, err
        found = json.loads(out) if out else {}
        reply = None
        if "data" in found:
            reply = Reply(bytes.fromhex(found["data"]), bytes.fromhex(found["payload"]))
        return Answer(reply, found.get("error", ""), self.process.returncode)


def start(
    study: Study,
    directory: Path,
    name: str,
    request: bytes,
    *,
    body: bytes = b"",
    dies: str = "",
    gate: str = "",
) -> Running:
    """Start a process of site `name` on its saved state and its journal in `directory`.

    dies    where it kills itself (one of DIES), or nowhere
    gate    a file that it waits for before it acts, so that several act at once
    """
    job = {
        "names": study.names,
        "name": name,
        "directory": str(directory),
        "state": study.saved(name).hex(),
        "request": request.hex(),
        "body": body.hex(),
        "vector": study.vectors[name].tolist(),
        "bits": study.policy.bits,
        "dies": dies,
        "gate": gate,
    }
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    process.stdin = None
    return Running(process)


def die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def arm(dies: str) -> None:
    """Make this process kill itself at a point of the journal's next entry."""
    book: Any = files._FileBook
    append = book._append

    def within(self: Any, line: bytes) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        os.write(handle, line[: len(line) // 2])
        os.fsync(handle)
        die()

    def after(self: Any, line: bytes) -> None:
        append(self, line)
        die()

    if dies == "before anything":
        book._write = die
    elif dies:
        book._append = {
            "between reply and line": die,
            "within the line": within,
            "after the line": after,
        }[dies]


def main() -> None:
    job = json.load(sys.stdin)
    arm(job["dies"])
    site = Site(
        identity(job["name"]), roster_of(job["names"]), FLOOR, files.FileJournal(Path(job["directory"]))
    )
    site.load(bytes.fromhex(job["state"]))
    request, body = bytes.fromhex(job["request"]), bytes.fromhex(job["body"])
    while job["gate"] and not Path(job["gate"]).exists():
        time.sleep(0.001)
    try:
        if isinstance(wire.read_at_site(request, 100), m.UploadRequest):
            width = np.uint32 if job["bits"] <= 32 else np.uint64
            reply = site.upload(request, body, np.array(job["vector"], width))
        else:
            reply = Reply(site.handle(request))
    except SordinoError as error:
        json.dump({"error": type(error).__name__}, sys.stdout)
    else:
        json.dump({"data": reply.data.hex(), "payload": reply.payload.hex()}, sys.stdout)


if __name__ == "__main__":
    main()
