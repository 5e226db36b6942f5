# SPDX-License-Identifier: Apache-2.0

"""A whole study under a budget, in processes that are made to be killed: one imports, the others fork off it.

Reads orders from standard input, a line each, and answers each with a line:

    set-up DIRECTORY    make the study's session there
    live DIRECTORY      start a process that makes rounds until no site uploads any more; answers at once
    kill                kill -9 that process; answers with how it ended
    wait                wait for its end; answers with that

What left a site is in DIRECTORY/released, a line "SESSION ROUND SITE" for each upload, and in DIRECTORY/drawn
a line "SITE" for each batch; DIRECTORY/over says why the last round had no sum.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import RoundAborted
from sordino.files.settings import SAMPLERS_DISTANCE
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.guard import BudgetGuard
from sordino.privacy.mechanisms import plan_with_noise, release_of
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.journal import Reply
from sordino.protocol.policy import Block, Question
from sordino.protocol.site import Site

NAMES = ("alder", "birch", "cedar", "dogwood", "elder")
KIND = "grad"
POLICY = plan_with_noise(
    [Question(KIND, (Block("g", 8, 1.0, 16),), max_weight=10)],
    "patient",
    {KIND: 13.0},
    study="crash",
    sites=len(NAMES),
    rounds=2000,
    colluders=1,
)
BUDGET = PrivacyBudget.of(3.0, 1e-5, distance=SAMPLERS_DISTANCE, unit="patient")
RELEASE = release_of(POLICY, POLICY.question(KIND), len(NAMES))
ROUNDS = BUDGET.times(Spent(), RELEASE)
"""Rounds of all sites that the budget has room for."""


class Zygote:
    """The test's end: the process that others fork off."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )

    def order(self, *words: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        """Close its standard input, at which it ends, with the process that it may have forked."""
        assert self._process.stdout is not None
        self._process.communicate(timeout=60)


def note(directory: Path, name: str, line: str) -> None:
    """Append a line in one write, so that a kill leaves all of it or nothing."""
    handle = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def study_in(directory: Path) -> MaskedAggregator:
    return MaskedAggregator(POLICY, NAMES, directory=directory, guard=lambda _: BudgetGuard(BUDGET))


def watch_uploads(directory: Path) -> list[str]:
    """Note what leaves a site from now on; gives the list that it is added to as well."""
    released: list[str] = []
    upload = Site.upload

    def watched(self: Site, data: bytes, *rest: Any, **more: Any) -> Reply:
        reply = upload(self, data, *rest, **more)
        request = wire.read_at_site(data, len(NAMES))
        assert isinstance(request, m.UploadRequest)
        assert self.state is not None
        released.append(f"{self.state.session_id.hex()} {request.round} {self.name}")
        note(directory, "released", released[-1])
        return reply

    Site.upload = watched  # type: ignore[method-assign]
    return released


def live(directory: Path) -> None:
    """Rounds until one has no upload."""
    study, released = study_in(directory), watch_uploads(directory)
    rows = np.full((3, 8), 0.1)

    def batch(name: str) -> Contribution:
        note(directory, "drawn", name)
        return Contribution({"g": rows})

    contributors = {name: lambda _, name=name: batch(name) for name in NAMES}
    while True:
        before = len(released)
        try:
            study.aggregate(KIND, b"", contributors)
        except RoundAborted as error:
            if len(released) == before:
                note(directory, "over", str(error))
                return


def main() -> None:
    child = 0
    for line in sys.stdin:
        order, _, directory = line.strip().partition(" ")
        if order == "set-up":
            study_in(Path(directory))
            answer = "done"
        elif order == "live":
            child = os.fork()
            if not child:
                code = 1
                try:
                    live(Path(directory))
                    code = 0
                finally:
                    if code:
                        traceback.print_exc()
                    os._exit(code)
            answer = "started"
        else:
            if order == "kill":
                os.kill(child, signal.SIGKILL)
            answer, child = str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), 0
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    if child:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
