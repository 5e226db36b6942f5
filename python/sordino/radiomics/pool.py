# SPDX-License-Identifier: Apache-2.0

"""Worker processes, one patient each at a time.

Not `concurrent.futures`: there a process that dies takes all others' work with it and nobody learns whose
scan it was, and workers outlive a parent that is killed. Here each has its own pipes: their end says both.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from sordino.radiomics.scans import Scan

_ONE_THREAD = dict.fromkeys(
    ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    tasks: IO[str]
    answers: IO[str]
    said: IO[bytes]
    scan: Scan

    def give(self, scan: Scan, known: str | None) -> None:
        self.scan = scan
        masks = {name: str(path) for name, path in scan.masks.items()}
        self.tell({"image": str(scan.image), "masks": masks, "known": known})

    def tell(self, message: dict[str, Any]) -> None:
        # If it is dead the end of its output says so.
        with suppress(BrokenPipeError):
            self.tasks.write(json.dumps(message) + "\n")
            self.tasks.flush()

    def death(self) -> str:
        code = self.process.wait()
        self.said.seek(0)
        last = self.said.read().decode(errors="replace").strip().rpartition("\n")[2]
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        memory = ", for want of memory perhaps" if code == -signal.SIGKILL else ""
        return f"the process that read it {how}{memory}" + (f": {last}" if last else "")


def measured(
    scans: Iterable[Scan], known: dict[str, str], settings: dict[str, Any], *, workers: int
) -> Generator[tuple[Scan, dict[str, Any]]]:
    """Each scan with its answer (see `worker.Measurement.measure`), as they come.

    known   digests by patient of what need not be done again

    Close the generator to end the workers at once.
    """
    waiting = deque(scans)
    selector = selectors.DefaultSelector()

    def start() -> None:
        scan, said = waiting.popleft(), tempfile.TemporaryFile()  # noqa: SIM115  (closed when the worker is stopped)
        process = subprocess.Popen(
            [sys.executable, "-m", "sordino.radiomics.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=os.environ | _ONE_THREAD,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the one that started it
        )
        assert process.stdin  # noqa: S101  (both are pipes)
        assert process.stdout  # noqa: S101
        worker = _Worker(process, process.stdin, process.stdout, said, scan)
        selector.register(worker.answers, selectors.EVENT_READ, worker)
        worker.tell(settings)
        worker.give(scan, known.get(scan.patient))

    def stop(worker: _Worker) -> None:
        selector.unregister(worker.answers)
        worker.process.kill()
        with suppress(BrokenPipeError):
            worker.process.communicate()
        worker.said.close()

    try:
        for _ in range(min(workers, len(waiting))):
            start()
        while selector.get_map():
            for key, _ in selector.select():
                worker: _Worker = key.data
                scan, line = worker.scan, worker.answers.readline()
                if not line.endswith("\n"):
                    answer = {"scan": "", "rows": [], "failures": [("", worker.death())]}
                    stop(worker)
                    if waiting:
                        start()
                else:
                    answer = json.loads(line)
                    if waiting:
                        following = waiting.popleft()
                        worker.give(following, known.get(following.patient))
                    else:
                        stop(worker)
                yield scan, answer
    finally:
        for key in list(selector.get_map().values()):
            stop(key.data)
        selector.close()
