# SPDX-License-Identifier: Apache-2.0

"""What the benches share: runs in turn, ratios of neighbouring runs, and how a bench tells what it found.

A bench is a function that measures and one that prints what was measured; `main` is its command line. With
--json it prints one object, which has under "run" what a reader needs to try it again: command, day, machine,
versions, and how busy the machine was when it began.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any, TypeAlias

from sordino import _core

Figures: TypeAlias = dict[str, Any]

PACKAGES = (
    "sordino",
    "numpy",
    "cryptography",
    "flwr",
    "fedbiomed",
    "tenseal",
    "opendp",
    "dp-accounting",
    "pycryptodome",
)


class Clock:
    """Seconds by the clock and of the processor that were spent inside `with` blocks."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def __enter__(self) -> None:
        self._wall, self._processor = perf_counter(), process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += perf_counter() - self._wall
        self.processor += process_time() - self._processor


def in_turn(
    runs: Mapping[str, Callable[[], object]],
    turns: int,
    *,
    clock: Callable[[], float] = thread_time,
    shuffled: bool = False,
) -> dict[str, list[float]]:
    """Seconds of every run in every turn, after one that warms pages, caches and clocks.

    `shuffled` draws the order anew each turn, since who follows a peer that fills the caches or lets wide
    registers sleep pays for it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    order = list(runs.items())
    for _ in range(turns):
        if shuffled:
            random.shuffle(order)
        for name, run in order:
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return seconds


def ratio(theirs: Sequence[float] | None, ours: Sequence[float]) -> float | None:
    """The median of neighbours' ratios, above 1 where ours takes less; None without a peer."""
    if not theirs:
        return None
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def print_figures(title: str, figures: Mapping[str, Any]) -> None:
    print(f"\n{title}")
    for name, value in figures.items():
        shown = f"{value:14,.4g}" if isinstance(value, float | int) else f"{value or 'absent':>14}"
        print(f"  {name:28}{shown}")


def main(
    about: str,
    measure: Callable[..., Figures],
    tell: Callable[[Figures], None],
    **options: tuple[int | bool, str],
) -> None:
    """The command line of a bench.

    `about` is the bench's docstring; `options` are the arguments of `measure`, each a default and what it
    means: a number, or a flag where the default is False.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    for name, (default, meaning) in options.items():
        kind: dict[str, Any] = {"action": "store_true"} if default is False else {"type": int}
        parser.add_argument(f"--{name}", default=default, help=meaning, **kind)
    given = vars(parser.parse_args())
    if not given.pop("json"):
        tell(measure(**given))
        return
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what peers print, as TenSEAL's library does, goes elsewhere
        begun = about_this_run()
        print(json.dumps({"run": begun, **measure(**given)}), file=out)


def about_this_run() -> Figures:
    """What a reader needs to try it again."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "command": " ".join(["bench/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "day": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "backend": _core.backend(),
        "load": round(os.getloadavg()[0], 1),  # that of the minute before
        "versions": versions,
    }


def processor() -> str:
    """Its name with family and model, where Linux tells them: the name alone may say nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name", platform.machine())
    return f"{name}, family {told['cpu family']}, model {told['model']}" if "cpu family" in told else name
