# SPDX-License-Identifier: Apache-2.0

"""`sordino demo`: whole studies on data that ships with packages, hospitals vanishing on the way."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from sordino.cli.app import app

if TYPE_CHECKING:
    from sordino.course.follow import Summed
    from sordino.federated.study.prepared import Prepared
    from sordino.federated.study.run import Progress

ACCEPTED = (
    'This study says across_rounds = "accept": there is no noise, so whoever holds the sums of two rounds '
    "that differ by one hospital could work out what it sent in them, as after the dropouts above. "
    "Within a round nobody can. Noise closes this too, and bounds what the model says of any patient."
)


@dataclass
class Watched:
    """What the demo keeps of every sum, for its tables."""

    sums: int = 0
    equal: int = 0
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    received: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    recovered: list[str] = field(default_factory=list)

    def add(self, event: Summed, *, equal: bool | None) -> None:
        """Count one sum in."""
        self.sums += 1
        self.equal += equal is True
        for name, traffic in event.total.traffic.items():
            self.sent[name] += traffic.sent
            self.received[name] += traffic.received
            self.seconds[name] += traffic.seconds
        # The sum stood either way: over the others, or with the vanished hospital's part in it.
        lost = [f"{name} left out" for name in sorted(event.total.dropped)]
        lost += [f"{name} rebuilt" for name in event.total.vanished]
        if lost:
            self.recovered.append(f"{event.turn.number} ({', '.join(lost)})")


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep files and results here; must be empty.")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="From made-up scans to a model, with the extra radiomics.")
    ] = False,
) -> None:
    """Train over seven hospitals that vanish and come back, then study survival at eighteen institutions."""
    from sordino.errors import ConfigError

    started = time.perf_counter()
    with ExitStack() as stack:
        if out is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="sordino-demo-")))
        elif out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out}: is not empty; a demo needs a folder of its own")
        else:
            folder = out
            folder.mkdir(parents=True, exist_ok=True)
        if images:
            from sordino.cli.demo_images import demo_images

            demo_images(folder)
        else:
            from sordino.cli.demo_survival import demo_survival

            _demo_classes(folder)
            demo_survival(folder)
    typer.echo(f"\n{time.perf_counter() - started:.1f} s in all." + (f" Results in {out}." if out else ""))


def _demo_classes(folder: Path) -> None:
    """The study of `write_demonstration`, without noise and with."""
    from sordino.cli.progress import progress
    from sordino.course.follow import Summed
    from sordino.errors import StateError
    from sordino.federated.study.demonstration import write_demonstration
    from sordino.federated.study.prepared import prepare
    from sordino.federated.study.run import run_study

    typer.echo("569 patients of scikit-learn's breast-cancer set, spread unevenly over seven hospitals.")
    typer.echo("They train one model by secure sums; the coordinator sees masked numbers and the sum.\n")
    study, private = write_demonstration(folder)
    prepared = prepare(study)
    watched = Watched()
    with progress("demo", losses=True) as show:

        def watch(now: Progress) -> None:
            show(now)
            if isinstance(now.event, Summed):
                watched.add(now.event, equal=now.equal)

        run_study(prepared, folder / "run", watch=watch)
    _report(prepared, folder / "run", watched)
    typer.echo("\nThe same study once more, with noise in every sum, and the same hospitals vanishing.\n")
    with progress("demo, private", losses=True) as show:
        run_study(prepare(private), folder / "private", watch=show)
    _report_noise(folder)
    if watched.equal != watched.sums:
        raise StateError(f"{watched.sums - watched.equal} secure sums differ from the plain ones")


def _report_noise(folder: Path) -> None:
    """AUC with and without noise, and the epsilon of the whole private run."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    plain, private = (
        msgspec.json.decode((folder / run / "metrics.json").read_bytes()) for run in ("run", "private")
    )
    console = Console(soft_wrap=True, highlight=False)
    models = Table(title="AUC on the held-out patients, without and with noise")
    models.add_column("trained by")
    models.add_column("AUC", justify="right")
    for label, found in (("secure sums without noise", plain), ("secure sums with noise", private)):
        models.add_row(label, f"{found['simulation']['test_auc_federated']['mean']:.4f}")
    console.print(models)
    test, privacy = private["secure_sums"]["repeats"][0]["test"], private["privacy"]
    console.print(
        f"From noised histograms: {test['auc']:.4f}, give or take {test['auc_noise_deviation']:.4f}"
    )
    console.print(
        f"All {len(privacy['epsilon_after_sum'])} noised sums, scaling and test included: epsilon "
        f"{privacy['epsilon']:.4f} at delta {privacy['delta']:g} for one patient of one hospital"
    )


def _report(prepared: Prepared, results: Path, watched: Watched) -> None:
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from sordino.federated.study.results import alone

    found = msgspec.json.decode((results / "metrics.json").read_bytes())
    test, simulation = found["secure_sums"]["repeats"][0]["test"], found["simulation"]
    console = Console(soft_wrap=True, highlight=False)
    models = Table(title=f"AUC on the same {test['patients']} held-out patients of all hospitals")
    models.add_column("trained on")
    models.add_column("AUC", justify="right")
    models.add_row("all rows in one place (pooled)", f"{simulation['test_auc_pooled']['mean']:.4f}")
    models.add_row("secure sums (federated)", f"{simulation['test_auc_federated']['mean']:.4f}")
    sites = prepared.sites(0)
    for name, area in alone(prepared.training, sites).items():
        models.add_row(f"{name} alone", f"{area:.4f}")
    console.print(models)
    console.print(
        f"From masked histograms, which need no pooled scores: {test['auc']:.4f}, "
        f"off by at most {test['auc_off_by_at_most']:.4f}\n"
    )
    work = Table(title=f"What it took over {watched.sums} secure sums")
    work.add_column("hospital")
    for heading in ("sent, kB", "received, kB", "own time, s"):
        work.add_column(heading, justify="right")
    for name in sites:
        sent, received = watched.sent[name] / 1000, watched.received[name] / 1000
        work.add_row(name, f"{sent:.1f}", f"{received:.1f}", f"{watched.seconds[name]:.2f}")
    console.print(work)
    console.print(
        f"Secure sums equal to the plaintext fixed-point sums, bit for bit: {watched.equal} of {watched.sums}"
    )
    console.print(f"Rounds in which a dropout was recovered: {', '.join(watched.recovered) or 'none'}\n")
    console.print(ACCEPTED)
