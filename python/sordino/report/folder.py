# SPDX-License-Identifier: Apache-2.0

"""The folder of a run as a report finds it: files may lack, be cut short or be damaged, and that is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import msgspec

from sordino.errors import ConfigError, JournalError
from sordino.files.chain import read_chain
from sordino.report.shapes import misfit

FILES = {
    "study.json": "the terms that the sites agreed to",
    "transcript.jsonl": "what happened in the run, sum by sum",
    "sites.json": "how often each site was left out",
    "metrics.json": "the results",
    "model.json": "the model",
}


@dataclass(frozen=True)
class Folder:
    """What was found; an empty mapping stands for a file that is not there or cannot be read.

    lines      of the transcript, those that are whole
    own        the report of the one site for which this is made
    pictures   by name, the PNG files of the audits
    ledgers    by site whose ledger is in the folder, and whole, the hashes of all its entries
    missing    what is not there, said in a sentence each
    """

    study: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    sites: Mapping[str, Any]
    metrics: Mapping[str, Any]
    model: Mapping[str, Any]
    own: Mapping[str, Any]
    audit: Mapping[str, Any]
    pictures: Mapping[str, bytes]
    ledgers: Mapping[str, Collection[str]] = field(default_factory=dict)
    missing: Sequence[str] = field(default_factory=list)


def read_folder(path: Path, site: str | None = None) -> Folder:
    """Read what `sordino run --out` wrote, and for `site` the report that is for it alone.

    Raises `ConfigError` if `path` holds nothing of a run, or nothing of that site.
    """
    missing: list[str] = []
    found = {
        name: _read(path / name, what, missing) for name, what in FILES.items() if name != "transcript.jsonl"
    }
    lines = _lines(path / "transcript.jsonl", missing)
    if not lines and not any(found.values()):
        raise ConfigError(
            f"{path}: holds nothing of a run; give the folder that 'sordino run study.toml --out DIR' wrote"
        )
    own: Mapping[str, Any] = {}
    if site is not None:
        own = _own(path, site)
    audit: Mapping[str, Any] = {}
    if (path / "audit.json").exists():
        audit = _read(path / "audit.json", "the audits", missing)
    return Folder(
        study=found["study.json"],
        lines=lines,
        sites=found["sites.json"],
        metrics=found["metrics.json"],
        model=found["model.json"],
        own=own,
        audit=audit,
        pictures={picture.name: picture.read_bytes() for picture in sorted(path.glob("*.png"))},
        ledgers=_ledgers(path, missing),
        missing=missing,
    )


def _ledgers(path: Path, missing: list[str]) -> dict[str, frozenset[str]]:
    """Those that a run keeps beside its results, to go on."""
    found = {}
    for journal in sorted((path / "state" / "session" / "sites").glob("*/journal")):
        name = journal.parent.name
        try:
            chain = read_chain(journal)
        except JournalError as error:
            told = str(error).replace(f"{path}/", "")
            missing.append(f"The ledger of {name} is damaged or cut short: {told}.")
            continue
        found[name] = frozenset(digest.hex() for digest in chain.digests)
        if chain.torn:
            missing.append(f"The ledger of {name} ends in the middle of a line, as after a crash.")
    return found


def _own(path: Path, site: str) -> Mapping[str, Any]:
    # The name is part of a path: only that of a folder that is there.
    names = sorted(entry.parent.name for entry in (path / "sites").glob("*/report.json"))
    if site not in names:
        there = f"there are {', '.join(names)}" if names else "a run writes them at its end"
        raise ConfigError(f"{path / 'sites'}: has no report of a site {site!r}; {there}")
    missing: list[str] = []
    own = _read(path / "sites" / site / "report.json", f"the report of {site}", missing)
    if missing:
        raise ConfigError(missing[0])
    return own


def _read(path: Path, what: str, missing: list[str]) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        missing.append(f"{path.name} is not there: {what}.")
    except OSError as error:
        missing.append(f"{path.name} cannot be read ({error.strerror}): {what}.")
    except (msgspec.DecodeError, UnicodeDecodeError):
        missing.append(f"{path.name} is damaged: {what}.")
    else:
        why = misfit(path.name, found)
        if why is None:
            return cast("dict[str, Any]", found)
        by = found.get("sordino") if isinstance(found, dict) else None
        by_whom = (
            f"sordino {by} wrote it" if isinstance(by, str) else "the version that wrote it is not known"
        )
        missing.append(
            f"{path.name} is damaged or of another format, and left out ({why}; {by_whom}, this is "
            f"{version('sordino')}): {what}."
        )
    return {}


def _lines(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    what = FILES[path.name]
    try:
        *whole, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        missing.append(f"{path.name} is not there: {what}.")
        return []
    except OSError as error:
        missing.append(f"{path.name} cannot be read ({error.strerror}): {what}.")
        return []
    if rest:
        missing.append(f"{path.name} ends in the middle of a line, as after a crash: that line is left out.")
    found, bad = [], []
    for number, line in enumerate(whole, start=1):
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            bad.append(str(number))
    if bad:
        missing.append(f"{path.name} is damaged in line {', '.join(bad)}: left out.")
    return found
