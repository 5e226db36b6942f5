# SPDX-License-Identifier: Apache-2.0

"""The roster file that every site pins, and `site.toml`, the settings that are a site's own business."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from sordino.errors import ConfigError, PolicyError, PrivacyError
from sordino.files.identity import read_identity
from sordino.files.journal import FileJournal
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.events import Unit
from sordino.privacy.guard import BudgetGuard
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.policy import Floor

T = TypeVar("T")

SAMPLERS_DISTANCE = 2.0**-160
"""How far all noise together may be from what it should be: a budget's room for 2^80 samples of the core."""


class _RosterEntry(Struct, forbid_unknown_fields=True):
    name: str
    key: str


class _RosterFile(Struct, forbid_unknown_fields=True):
    site: list[_RosterEntry]


class _BudgetTable(Struct, forbid_unknown_fields=True):
    epsilon: float
    delta: float
    unit: Unit


class SiteFile(Struct, forbid_unknown_fields=True, kw_only=True):
    """`site.toml`: paths are relative to the file itself.

    name        this site's name in the roster
    identity    its key, as `sordino keys new` wrote it
    roster      the pinned roster
    journal     the directory of its journal
    dataset     name of the data; data sets that share a patient must share a name
    groups      lane groups that it has besides "all"
    floor       the least that it accepts
    budget      epsilon and delta for all that is ever released about the data, and whom they are about
    """

    name: str
    identity: str
    roster: str
    journal: str
    dataset: str
    groups: tuple[str, ...] = ()
    floor: Floor = Floor()
    budget: _BudgetTable | None = None


class SiteSettings(Struct, frozen=True, kw_only=True):
    """What `read_site` found: all that a `sordino.protocol.site.Site` needs."""

    identity: Identity
    roster: Roster
    journal: FileJournal
    floor: Floor
    dataset: str
    groups: tuple[str, ...]
    guard: BudgetGuard


def read_roster(path: Path) -> Roster:
    """Read a roster file; `ConfigError` for a site listed twice, two names with one key, or a bad key."""
    entries = read_toml(path, _RosterFile).site
    keys: dict[str, bytes] = {}
    for entry in entries:
        if entry.name in keys:
            raise ConfigError(f"{path}: site {entry.name!r} is listed twice")
        try:
            keys[entry.name] = bytes.fromhex(entry.key)
        except ValueError:
            raise ConfigError(f"{path}: the key of site {entry.name!r} is not hexadecimal") from None
    try:
        return Roster(keys)
    except PolicyError as error:
        raise ConfigError(f"{path}: {error}") from None


def roster_entry(identity: Identity) -> str:
    """The lines that an identity adds to a roster file."""
    return f'[[site]]\nname = "{identity.name}"\nkey = "{identity.public_key.hex()}"\n'


def write_roster(path: Path, roster: Roster) -> None:
    """Write a roster file that `read_roster` reads back."""
    entries = [f'[[site]]\nname = "{name}"\nkey = "{roster.key(name).hex()}"\n' for name in roster.names]
    path.write_text("\n".join(entries), encoding="utf-8")


def read_budget(path: Path, found: SiteFile) -> PrivacyBudget | None:
    """The budget of a `site.toml` that was read from `path`, if it has one.

    Its order is that of `PrivacyBudget.of`; once something was charged, that in the journal takes its place.
    Raises `ConfigError` for a budget that no noise could keep, or that nothing would be asked under.
    """
    table = found.budget
    if table is None:
        return None
    if "noise" not in found.floor.across_rounds:
        raise ConfigError(
            f"{path}: under a [budget] only sums with noise are made, and [floor] does not allow them: it "
            f'needs across_rounds = ["noise"]'
        )
    try:
        return PrivacyBudget.of(table.epsilon, table.delta, distance=SAMPLERS_DISTANCE, unit=table.unit)
    except PrivacyError as error:
        raise ConfigError(f"{path}: [budget]: {error}") from None


def read_site(path: Path) -> SiteSettings:
    """Read `site.toml` and what it names; `ConfigError` where the roster lacks this site's own key."""
    found = read_toml(path, SiteFile)
    base = path.parent
    budget = read_budget(path, found)
    roster = read_roster(base / found.roster)
    identity = read_identity(base / found.identity, found.name)
    if found.name not in roster or roster.key(found.name) != identity.public_key:
        raise ConfigError(
            f"{path}: the roster does not have site {found.name!r} with the key in {found.identity}"
        )
    return SiteSettings(
        identity=identity,
        roster=roster,
        journal=FileJournal(base / found.journal),
        floor=found.floor,
        dataset=found.dataset,
        groups=found.groups,
        guard=BudgetGuard(budget),
    )


def read_toml(path: Path, kind: type[T]) -> T:
    """Read a TOML file strictly; an unknown key is named with the nearest known one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return msgspec.toml.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {_explain(str(error), kind)}") from None


def _explain(message: str, kind: Any) -> str:
    """Add the nearest known key to msgspec's word on an unknown one."""
    if "unknown field `" not in message:
        return message
    unknown = message.split("unknown field `")[1].split("`")[0]
    near = difflib.get_close_matches(unknown, _field_names(kind), n=1, cutoff=0.5)
    return f"{message}; did you mean `{near[0]}`?" if near else message


def _field_names(kind: Any) -> list[str]:
    """The field names of a struct and of all structs inside it."""
    names: list[str] = []
    for field in msgspec.structs.fields(kind):
        names.append(field.name)
        inner = field.type
        for part in (inner, *getattr(inner, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Struct):
                names += _field_names(part)
    return names
