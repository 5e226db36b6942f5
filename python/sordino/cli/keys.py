# SPDX-License-Identifier: Apache-2.0

"""`sordino keys`: the identities that sites pin in each other's rosters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sordino.cli.app import app, tell_warning
from sordino.cli.ledger import ledger_of, troubles

if TYPE_CHECKING:
    from sordino.files.settings import SiteSettings
    from sordino.protocol.policy import Floor

keys = typer.Typer(no_args_is_help=True, help="Identities: the signing keys that sites know each other by.")
app.add_typer(keys, name="keys")


@keys.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The site's name in the roster.")],
    out: Annotated[Path, typer.Option(help="The directory for the key.")] = Path(),
) -> None:
    """Make a site's identity: writes NAME.key (keep it, mode 0600) and prints its lines of the roster."""
    from sordino.files.identity import write_identity
    from sordino.files.settings import roster_entry
    from sordino.protocol.policy import check_name

    check_name(name)
    identity = write_identity(out / f"{name}.key", name)
    typer.echo(f"wrote {out / name}.key: it stays at this site, readable by its owner only", err=True)
    typer.echo("these lines go into the roster file of every site:", err=True)
    typer.echo(roster_entry(identity), nl=False)


@keys.command("show")
def show(
    key: Annotated[Path, typer.Argument(help="A key that `sordino keys new` wrote.")],
    name: Annotated[str | None, typer.Option(help="The site's name; by default the file's.")] = None,
) -> None:
    """Print the roster lines of a key that exists."""
    from sordino.files.identity import read_identity
    from sordino.files.settings import roster_entry
    from sordino.protocol.policy import check_name

    name = name or key.stem
    check_name(name)
    typer.echo(roster_entry(read_identity(key, name)), nl=False)


@keys.command("check")
def check(
    site: Annotated[Path, typer.Argument(help="The site's own site.toml.")],
) -> None:
    """Check site.toml and all that it names: identity, roster, floor, journal and budget."""
    from sordino.files.settings import read_site

    settings = read_site(site)
    with settings.journal.open() as book:
        entries = book.index.length
        account = ledger_of(book.entries(), settings.journal.directory).account(settings.dataset)
    typer.echo(f"site {settings.identity.name}: one of {len(settings.roster)} in the roster")
    typer.echo(f"roster {settings.roster.digest.hex()}: compare it with the other sites")
    typer.echo(floor_told(settings.floor, len(settings.roster)))
    for doubt in floor_doubts(settings):
        tell_warning(doubt, err=False)
    typer.echo(f"journal: {entries} entries, intact")
    if (budget := settings.guard.budget) is None:
        typer.echo("budget: none, so the site only keeps count")
        return
    standing = account.standing(budget)
    used = standing.spent.divergence / standing.budget.limit
    typer.echo(
        f"budget: epsilon {budget.epsilon:g} at delta {budget.delta:g} about one {budget.unit}, for data set "
        f"{settings.dataset!r}: {used:.1%} used by {len(account.items)} charges"
    )
    for trouble in troubles(account, standing):
        tell_warning(trouble, err=False)


def floor_doubts(settings: SiteSettings) -> list[str]:
    """What an operator should know about a floor that keeps out everything, or too little."""
    floor = settings.floor
    found = [f"[floor] refuses every study: {never}" for never in floor.never(len(settings.roster))]
    if "noise" in floor.across_rounds and settings.guard.budget is None:
        found.append(
            'across_rounds allows "noise", and there is no [budget]: then any noise passes, however little, '
            'which allows as much as "accept"'
        )
    return found


def floor_told(floor: Floor, sites: int) -> str:
    """What a site accepts, in one line, with what is left out of its file filled in."""
    questions = "any question" if floor.questions is None else f"questions {', '.join(floor.questions)}"
    return (
        f"floor: min_cohort {floor.min_cohort}, min_threshold {floor.min_threshold}, min_colluders "
        f"{floor.colluders(sites)}, across_rounds {', '.join(floor.across_rounds)}, semi-honest mode "
        f"{'allowed' if floor.semi_honest else 'refused'}, up to {floor.max_rounds:,} rounds, "
        f"{floor.max_lanes:,} lanes, {questions}"
    )
