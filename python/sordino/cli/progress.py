# SPDX-License-Identifier: Apache-2.0

"""How a run is followed: a bar on a terminal, a line now and then elsewhere, what goes wrong either way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sordino.course.follow import Summed
    from sordino.federated.study.run import Progress, Watcher

_TRAINING = ("fedavg", "scaffold", "gradient", "update", "local")

LOST = {
    "advertise": "was never there",
    "seal": "vanished during set-up",
    "receipt": "vanished during set-up",
    "upload": "vanished before its upload: left out of this sum",
    "confirm": "vanished after its upload: its part stays in the sum, the others rebuilt its secrets",
}
"""What became of a site, by the first message that it did not send."""


@contextmanager
def progress(name: str, *, losses: bool = False) -> Iterator[Watcher]:
    """Shows sums as they are made, and aborted rounds; with `losses`, also who is lost and who is back."""
    if not sys.stderr.isatty():
        yield _Told(lambda line: typer.echo(line, err=True), losses=losses, tenths=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn(name, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sums{task.fields[spent]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    told = _Told(lambda line: console.print(line, markup=False, highlight=False), losses=losses, tenths=False)
    with bar:
        task = bar.add_task(name, total=None, spent="")

        def watch(now: Progress) -> None:
            spent = "" if now.epsilon is None else f", epsilon {now.epsilon:.4g}"
            bar.update(task, total=now.total, completed=now.done, spent=spent)
            told(now)

        yield watch


class _Told:
    """Tells what happens in lines; with `tenths`, also when another tenth of the sums is made."""

    def __init__(self, say: Callable[[str], None], *, losses: bool, tenths: bool) -> None:
        self._say, self._losses, self._tenths = say, losses, tenths
        self._gone: frozenset[str] = frozenset()

    def __call__(self, now: Progress) -> None:
        from sordino.course.follow import Aborted, Halted

        if isinstance(now.event, Aborted):
            self._say(f"  {_round(now)}: aborted, nothing was revealed: {now.event.reason}")
            return
        if isinstance(now.event, Halted):
            self._say(f"  {_round(now)}: training stops with the last good model: {now.event.reason}")
            return
        if self._losses:
            self._tell_losses(now, now.event)
        if self._tenths and (now.done == now.total or now.done % max(1, now.total // 10) == 0):
            spent = "" if now.epsilon is None else f", epsilon {now.epsilon:.4g} so far"
            self._say(f"  {now.done} of {now.total} sums{spent}")

    def _tell_losses(self, now: Progress, event: Summed) -> None:
        lost = dict(event.total.dropped) | dict.fromkeys(event.total.vanished, "confirm")
        for site, step in sorted(lost.items()):
            self._say(f"  {_round(now)}: {site} {LOST[step]}")
        if back := sorted(self._gone - lost.keys()):
            self._say(f"  {_round(now)}: {' and '.join(back)} back")
        self._gone = frozenset(lost)


def _round(now: Progress) -> str:
    turn = now.event.turn
    return f"round {turn.number}" if turn.stage.kind in _TRAINING else turn.stage.kind
