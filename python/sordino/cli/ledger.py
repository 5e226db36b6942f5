# SPDX-License-Identifier: Apache-2.0

"""`sordino ledger`: what a site's journal says was released about its data, and whether the journal is whole.

Nothing here writes, so a copy, or a folder that may only be read, will do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sordino.cli.app import app, tell_warning
from sordino.cli.privacy import CAVEAT

if TYPE_CHECKING:
    from sordino.privacy.budget import PrivacyBudget
    from sordino.privacy.ledger import Account, Ledger, Standing
    from sordino.protocol.journal import Entry

ledger = typer.Typer(
    no_args_is_help=True, help="The privacy that a site has spent, by its journal, and the journal's chain."
)
app.add_typer(ledger, name="ledger")

DELTA = 1e-5
"""What epsilon is told at where there is no budget that says."""

JournalPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="A site's journal: its directory, its file, or the site.toml that names it."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@ledger.command("show")
def show(
    path: JournalPath,
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="E,D,UNIT",
            help="Compare with this budget, as 3,1e-5,patient, or with that of a site.toml; by default with "
            "that of PATH, if it is one.",
        ),
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help=f"Where epsilon is told; by default the budget's, or {DELTA:g}.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what was charged for each data set, epsilon after each round and in all, and what is left."""
    from sordino.errors import ConfigError
    from sordino.files.chain import read_chain

    journal, named = _journal_of(path)
    limit, whose = _budget_of(budget) if budget is not None else (None, None)
    if budget is None and named is not None:
        limit, whose = _budget_of(str(path))
    chain = read_chain(journal)
    found = ledger_of(chain.entries, chain.path)
    accounts = found.accounts
    if dataset is not None:
        if dataset not in [account.dataset for account in accounts] and dataset != named:
            known = ", ".join(repr(account.dataset) for account in accounts) or "none"
            raise ConfigError(f"{chain.path}: no data set {dataset!r} in it, it knows {known}")
        accounts = (found.account(dataset),)
    elif named is not None and named not in [account.dataset for account in accounts]:
        accounts = (*accounts, found.account(named))
    at = delta if delta is not None else DELTA if limit is None else limit.delta
    shown = []
    for account in accounts:
        applies = limit is not None and whose in (None, account.dataset)
        shown.append(_view(account, at, account.standing(limit) if limit is not None and applies else None))
    if as_json:
        whole = {
            "journal": str(chain.path),
            "entries": len(chain.entries),
            "torn_bytes": chain.torn,
            "datasets": shown,
        }
        typer.echo(json.dumps(whole, allow_nan=False))
        return
    for view in shown:
        _print(view)
    if not shown:
        typer.echo("nothing was ever asked")
    typer.echo(CAVEAT)


@ledger.command("verify")
def verify(
    path: JournalPath,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="STATE", help="A session state of the site: the chain must hold what it has seen."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Walk the hash chain and read every charge; name the first bad line, if there is one."""
    from sordino.files.chain import read_chain, read_state

    journal, _ = _journal_of(path)
    seen = None if state is None else read_state(state)
    chain = read_chain(journal)
    if seen is not None:
        chain.check_state(seen)
    charges = sum(len(account.items) for account in ledger_of(chain.entries, chain.path).accounts)
    if as_json:
        fields = {
            "journal": str(chain.path),
            "entries": len(chain.entries),
            "charges": charges,
            "head": chain.head.hex(),
            "torn_bytes": chain.torn,
            "state": None if seen is None else seen.journal_length,
        }
        typer.echo(json.dumps(fields))
        return
    typer.echo(f"{chain.path}: {len(chain.entries)} entries, intact, {charges} charges among them")
    typer.echo(f"head {chain.head.hex()}")
    if chain.torn:
        typer.echo(
            f"the last line is torn after {chain.torn} bytes: it was being written when its process died, no "
            f"message followed it, and it is none of the chain"
        )
    if seen is None:
        typer.echo("whether lines are missing at the end only a session state can tell: --state")
    else:
        typer.echo(f"holds all {seen.journal_length} entries that the session state has seen")


def ledger_of(entries: Iterable[Entry], path: Path) -> Ledger:
    """The ledger in a journal's entries; an error names the journal too."""
    from sordino.errors import JournalError
    from sordino.privacy.ledger import Ledger

    try:
        return Ledger(entries)
    except JournalError as error:
        raise JournalError(f"{path}, {error}") from None


def troubles(account: Account, standing: Standing | None) -> list[str]:
    """What an operator should know about an account besides its figures."""
    found = []
    if account.noiseless:
        found.append(
            f"{account.noiseless} uploads of {account.dataset!r} had no noise: no epsilon bounds what they "
            f"gave out"
        )
    if standing is not None and standing.refusal:
        found.append(f"nothing more is released about {account.dataset!r}: {standing.refusal}")
    if standing is not None and standing.before:
        found.append(
            f"{standing.before} charges of {account.dataset!r} were made before a budget was committed to: "
            f"they count, but the budget was chosen after them"
        )
    return found


def _journal_of(path: Path) -> tuple[Path, str | None]:
    """The journal that a path means, and the data set where it is a site.toml."""
    from sordino.files.settings import SiteFile, read_toml

    if path.suffix != ".toml" or path.is_dir():
        return path, None
    found = read_toml(path, SiteFile)
    return path.parent / found.journal, found.dataset


def _budget_of(text: str) -> tuple[PrivacyBudget | None, str | None]:
    """A budget, and the one data set that it is for; None: for each."""
    from sordino.errors import InvalidArgument
    from sordino.files.settings import SAMPLERS_DISTANCE, SiteFile, read_budget, read_toml
    from sordino.privacy.budget import PrivacyBudget
    from sordino.privacy.events import check_unit

    if text.endswith(".toml"):
        found = read_toml(Path(text), SiteFile)
        return read_budget(Path(text), found), found.dataset
    try:
        first, second, unit = text.split(",")
        epsilon, delta = float(first), float(second)
    except ValueError:
        raise InvalidArgument(
            f"--budget must be epsilon, delta and a unit, as 3,1e-5,patient, or a site.toml, got {text!r}"
        ) from None
    check_unit(unit)
    return PrivacyBudget.of(epsilon, delta, distance=SAMPLERS_DISTANCE, unit=unit), None  # type: ignore[arg-type]


def _view(account: Account, delta: float, standing: Standing | None) -> dict[str, Any]:
    """What is shown of a data set, as JSON has it."""
    running = {unit: iter(account.history(delta, unit)) for unit in account.units}
    charges = [
        {
            "line": item.line,
            "study": item.charge.study,
            "kind": item.charge.kind,
            "session": item.session.hex(),
            "round": item.round,
            "unit": item.release.unit,
            "uploaded": item.uploaded,
            "epsilon": float(next(running[item.release.unit])),
            "release": _plain(item.release),
            "budget": None if item.charge.budget is None else _plain(item.charge.budget),
        }
        for item in account.items
    ]
    totals = {}
    for unit in account.units:
        whole = account.epsilon(delta, unit)
        totals[unit] = {
            "epsilon": whole.epsilon,
            "delta": whole.delta,
            "method": whole.method,
            "order": whole.order,
            "wrap_probability": whole.wrap_probability,
        }
    return {
        "dataset": account.dataset,
        "delta": delta,
        "charges": charges,
        "total": totals,
        "uploads_without_noise": account.noiseless,
        "budget": None if standing is None else _plain(standing) | {"limit": standing.budget.limit},
        "warnings": troubles(account, standing),
    }


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _print(view: dict[str, Any]) -> None:
    from sordino.cli.privacy import rounded_up

    typer.echo(f"data set {view['dataset']}, epsilon at delta {view['delta']:g}")
    if view["charges"]:
        typer.echo(f"{'line':>8}  {'round':>6}  {'session':8}  {'unit':13}  {'epsilon':>12}  study: question")
    for row in view["charges"]:
        more = "" if row["uploaded"] else " (no upload followed)"
        typer.echo(
            f"{row['line']:8}  {row['round']:6}  {row['session'][:8]}  {row['unit']:13}  "
            f"{rounded_up(row['epsilon']):>12}  {row['study']}: {row['kind']}{more}"
        )
    for unit, whole in view["total"].items():
        typer.echo(f"in all  epsilon {rounded_up(whole['epsilon'])} about one {unit} ({whole['method']})")
    if not view["charges"]:
        typer.echo("nothing was charged")
    if (standing := view["budget"]) is not None:
        budget = standing["budget"]
        line = standing["committed"]
        since = "not committed to yet" if line is None else f"committed to in line {line}"
        typer.echo(
            f"budget  epsilon {budget['epsilon']:g} at delta {budget['delta']:g}: order "
            f"{budget['order']:.6g}, {since}"
        )
        typer.echo(
            f"        divergence {standing['spent']['divergence']:.6g} of {standing['limit']:.6g} spent, "
            f"{standing['left']:.6g} left"
        )
        for room in standing["rooms"]:
            typer.echo(f"        {room['rounds']} more rounds of {room['study']}: {room['kind']}")
    for trouble in view["warnings"]:
        tell_warning(trouble, err=False)
