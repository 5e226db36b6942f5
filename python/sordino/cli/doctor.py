# SPDX-License-Identifier: Apache-2.0

"""`sordino doctor`: whether this machine, and a site's own files, are fit for a study."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from sordino.cli.app import YOU_ERRED, app

Verdict = Literal["ok", "absent", "warning", "fault"]

_COLOURS = {"ok": "green", "absent": "dim", "warning": "yellow", "fault": "red"}
_FREE = 2**30
"""Bytes that a journal's disk should have free: payloads are kept beside it until their round is closed."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    verdict: Verdict
    said: str


@app.command()
def doctor(
    site: Annotated[
        Path | None, typer.Argument(metavar="[SITE.TOML]", help="A site's own settings, to look over too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look over this machine: CPU path, clock, engines and extras; and a site's keys, roster and journal.

    Exit code 0 if nothing is at fault (warnings are told), else 2.
    """
    findings = [*_machine(), *_extras()]
    if site is not None:
        findings += _site(site)
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        _print(findings)
    if any(finding.verdict == "fault" for finding in findings):
        raise typer.Exit(YOU_ERRED)


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.what) for finding in findings)
    for what, verdict, said in ((one.what, one.verdict, one.said) for one in findings):
        colour = _COLOURS[verdict]
        console.print(f"[{colour}]{verdict:8}[/] {what:{width}}  {escape(said)}")


def _machine() -> list[Finding]:
    import platform
    from importlib.metadata import version

    from sordino import _core

    threads = _core.default_threads()
    return [
        Finding("sordino", "ok", f"{version('sordino')}, Python {platform.python_version()}"),
        Finding("system", "ok", f"{platform.system()} {platform.machine()}, {threads} threads"),
        _masks(),
        Finding("hashes", "ok", f"SHA-256 by {_core.sha256_backend()}"),
        _clock(),
    ]


def _masks() -> Finding:
    """Which instructions make masks, checked against another AES."""
    import os

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    from sordino import _core

    seed, length = os.urandom(32), 4096 + 7
    ours = bytearray(length)
    _core.keystream(seed, ours)
    other = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor().update(bytes(length))
    path = f"AES-256-CTR by {_core.backend()}"
    if bytes(ours) != other:
        return Finding("masks", "fault", f"{path} differs from OpenSSL's: this build must not be used")
    if _core.backend() == "portable":
        return Finding("masks", "warning", f"{path}: without AES instructions masks are some 30 times slower")
    return Finding("masks", "ok", f"{path}, of {', '.join(_core.backends())}; equal to OpenSSL's")


def _clock() -> Finding:
    """The protocol reads no clock; certificates of an engine's TLS and the dates in results do."""
    import time
    from datetime import UTC, datetime

    from sordino import _core

    now = datetime.now(UTC)
    built = datetime.fromtimestamp(Path(_core.__file__).stat().st_mtime, UTC)
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC (local: {time.strftime('%H:%M %Z')})"
    if now < built:
        return Finding("clock", "warning", f"{said} is before this build of {built:%Y-%m-%d %H:%M}")
    return Finding("clock", "ok", said)


def _extras() -> list[Finding]:
    """What each extra of the package needs, and which version is here."""
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    found = []
    for text in requires("sordino") or ():
        parts = re.match(r"([\w.-]+)\s*([^;]*);.*extra == ['\"](\w+)['\"]", text)
        if parts is None or parts.group(3) in ("bench", "dev", "test", "wheel"):
            continue
        package, wanted, extra = parts.groups()
        try:
            here = version(package)
        except PackageNotFoundError:
            found.append(Finding(extra, "absent", f"{package}: pip install 'sordino[{extra}]'"))
            continue
        if _fits(here, wanted):
            found.append(Finding(extra, "ok", f"{package} {here}"))
        else:
            found.append(Finding(extra, "warning", f"{package} {here}; tried with {wanted.strip()}"))
    return found


def _fits(here: str, wanted: str) -> bool:
    """Whether a version is within bounds such as ">=2.4,<3" or "==1.41.*"; the suffixes do not count."""
    import re

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text.split("+")[0])]

    have = numbers(here)
    for bound in filter(None, wanted.replace(" ", "").split(",")):
        limit = numbers(bound)
        if bound.startswith("==") and have[: len(limit)] != limit:
            return False
        if bound.startswith(">=") and have < limit:
            return False
        if bound.startswith("<") and have >= limit:
            return False
    return True


def _site(path: Path) -> list[Finding]:
    """What a site's settings name: whether it can be read, by whom else, and whether it holds together."""
    from sordino.cli.keys import floor_doubts
    from sordino.cli.ledger import ledger_of, troubles
    from sordino.errors import LocalError
    from sordino.files.settings import SiteFile, read_site, read_toml

    try:
        names = read_toml(path, SiteFile)
    except LocalError as error:
        return [Finding("site", "fault", str(error))]
    base = path.parent
    found = [
        _guarded("settings", path, secret=False),
        _guarded("identity", base / names.identity, secret=True),
        _guarded("roster", base / names.roster, secret=False),
        _guarded("journal", base / names.journal, secret=True),
    ]
    try:
        settings = read_site(path)
        with settings.journal.open() as book:
            account = ledger_of(book.entries(), settings.journal.directory).account(settings.dataset)
            length = book.index.length
    except LocalError as error:
        return [*found, Finding("site", "fault", str(error))]
    digest = settings.roster.digest.hex()
    found += [
        Finding("site", "ok", f"{names.name}, one of {len(settings.roster)}; roster {digest}"),
        Finding("chain", "ok", f"{length} entries of the journal, intact"),
    ]
    found += [Finding("floor", "warning", doubt) for doubt in floor_doubts(settings)]
    if settings.guard.budget is not None:
        standing = account.standing(settings.guard.budget)
        found += [Finding("budget", "warning", trouble) for trouble in troubles(account, standing)]
    found.append(_space(settings.journal.directory))
    return found


def _guarded(what: str, path: Path, *, secret: bool) -> Finding:
    """Whether others than the owner can read a file, which matters for a secret, or change it."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        if what == "journal":
            return Finding(
                what, "ok", f"{path} was not there; without a fault it is made, for the user who runs this"
            )
        return Finding(what, "fault", f"{path}: {error.strerror}")
    wanted = "0700" if path.is_dir() else "0600"
    if mode & 0o022:
        return Finding(what, "fault", f"{path} can be changed by others: chmod {wanted}")
    if mode & 0o044:
        return Finding(
            what, "fault" if secret else "warning", f"{path} can be read by others: chmod {wanted}"
        )
    return Finding(what, "ok", f"{path}, mode {mode:04o}")


def _space(directory: Path) -> Finding:
    import shutil

    free = shutil.disk_usage(directory if directory.exists() else directory.parent).free
    said = f"{free / 2**30:.1f} GiB free for the journal"
    return Finding("disk", "ok" if free >= _FREE else "warning", said)
