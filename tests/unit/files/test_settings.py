# SPDX-License-Identifier: Apache-2.0

"""Roster files, identities and `site.toml`: what is wrong is named, and a key is for its owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sordino.errors import ConfigError, JournalError
from sordino.files.identity import read_identity, write_identity
from sordino.files.settings import read_roster, read_site, roster_entry, write_roster
from sordino.privacy.budget import PrivacyBudget
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.policy import Floor

NAMES = ("berlin", "lyon", "oslo")


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, Identity]:
    return {name: write_identity(tmp_path / f"{name}.key", name) for name in NAMES}


@pytest.fixture
def roster(tmp_path: Path, identities: dict[str, Identity]) -> Path:
    path = tmp_path / "roster.toml"
    path.write_text("\n".join(roster_entry(identity) for identity in identities.values()))
    return path


# Identities ---------------------------------------------------------------------------------------------


def test_an_identity_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "lyon.key"
    written = write_identity(path, "lyon")
    assert read_identity(path, "lyon").public_key == written.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_an_identity_is_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_identity(tmp_path / "lyon.key", "lyon")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lyon.key").stat().st_mode) == 0o600


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "lyon.key"
    write_identity(path, "lyon")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        write_identity(path, "lyon")
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="cannot be written"):
        write_identity(tmp_path / "nowhere" / "lyon.key", "lyon")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_an_identity_that_others_could_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "lyon.key"
    write_identity(path, "lyon")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="0600"):
        read_identity(path, "lyon")


def test_a_file_that_holds_no_ed25519_key_is_named(tmp_path: Path) -> None:
    other = X25519PrivateKey.generate()
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    good = tmp_path / "good.key"
    write_identity(good, "lyon")
    for content in (b"", b"no key", pem, good.read_bytes()[:60], b"\xff\xfe"):
        path = tmp_path / "wrong.key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="wrong.key"):
            read_identity(path, "lyon")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_identity(tmp_path / "none.key", "lyon")


# Rosters ------------------------------------------------------------------------------------------------


def test_a_roster_is_read_as_it_was_written(
    tmp_path: Path, identities: dict[str, Identity], roster: Path
) -> None:
    mine = Roster({name: identity.public_key for name, identity in identities.items()})
    assert read_roster(roster).digest == mine.digest
    write_roster(tmp_path / "again.toml", mine)
    assert read_roster(tmp_path / "again.toml").digest == mine.digest


def entry(name: str, key: str) -> str:
    return f'[[site]]\nname = "{name}"\nkey = "{key}"\n'


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (entry("lyon", "00" * 32) + entry("lyon", "11" * 32), "'lyon' is listed twice"),
        (entry("lyon", "11" * 32) + entry("oslo", "11" * 32), "have one key"),
        (entry("lyon", "xx" * 32), "not hexadecimal"),
        (entry("lyon", "11" * 31), "31 bytes"),
        (entry("ly on", "11" * 32), "name"),
        ('[[site]]\nname = "lyon"\n', "key"),
        ('[[site]]\nname = "lyon"\nkee = "11"\n', "did you mean `key`"),
        ('[[sites]]\nname = "lyon"\n', "did you mean `site`"),
        ("site = 3", "site"),
        ("", "site"),
        ("[[site", "roster.toml"),
    ],
)
def test_a_wrong_roster_is_named_with_its_fault(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match) as caught:
        read_roster(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'[[site]]\nname = "\xff"\nkey = ""\n'])
def test_a_roster_that_is_not_utf_8_is_a_wrong_roster(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "roster.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="roster.toml"):
        read_roster(path)


def test_a_roster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_roster(tmp_path / "roster.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_roster(tmp_path)


# site.toml ----------------------------------------------------------------------------------------------


SITE = """
name = "lyon"
identity = "lyon.key"
roster = "roster.toml"
journal = "journal"
dataset = "lungs-2020"
"""


def site_file(tmp_path: Path, text: str = SITE) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("roster")
def test_a_site_file_gives_all_that_a_site_needs(tmp_path: Path, identities: dict[str, Identity]) -> None:
    found = read_site(site_file(tmp_path))
    assert found.identity.public_key == identities["lyon"].public_key
    assert found.roster.names == NAMES
    assert (found.floor, found.dataset, found.groups) == (Floor(), "lungs-2020", ())
    assert (tmp_path / "journal").is_dir()
    more = SITE + 'groups = ["ct"]\n[floor]\nmin_cohort = 5\nacross_rounds = ["freeze", "accept"]\n'
    found = read_site(site_file(tmp_path, more))
    assert found.groups == ("ct",)
    assert (found.floor.min_cohort, found.floor.across_rounds) == (5, ("freeze", "accept"))


BUDGET = """
[floor]
across_rounds = ["noise"]
[budget]
epsilon = 3
delta = 1e-5
unit = "patient"
"""


@pytest.mark.usefixtures("roster")
def test_a_budget_makes_the_guard_of_the_site(tmp_path: Path) -> None:
    assert read_site(site_file(tmp_path)).guard.budget is None
    budget = read_site(site_file(tmp_path, SITE + BUDGET)).guard.budget
    assert budget == PrivacyBudget.of(3.0, 1e-5, distance=2.0**-160, unit="patient")
    assert budget.limit == pytest.approx(PrivacyBudget.of(3.0, 1e-5).limit, rel=1e-12)


@pytest.mark.usefixtures("roster")
@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("epsilon = 3", "epsilon = nan", r"site.toml: \[budget\]: epsilon"),
        ("epsilon = 3", "epsilon = -1", r"site.toml: \[budget\]: epsilon"),
        ("epsilon = 3", "epsilon = inf", r"site.toml: \[budget\]: epsilon"),
        ("epsilon = 3", "epsilon = 1e3", r"site.toml: \[budget\]: "),
        ("delta = 1e-5", "delta = 0.0", r"site.toml: \[budget\]: delta"),
        ("delta = 1e-5", "delta = 1.0", r"site.toml: \[budget\]: delta"),
        ("delta = 1e-5", "", "delta"),
        ("delta = 1e-5", "delta = 1e-5\norder = 8", "order"),
        ('"patient"', '"scan"', "unit"),
        ('across_rounds = ["noise"]', "", r"needs across_rounds = \[.noise.\]"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_named_with_its_fault(
    tmp_path: Path, old: str, new: str, match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        read_site(site_file(tmp_path, SITE + BUDGET.replace(old, new)))


@pytest.mark.usefixtures("roster")
@pytest.mark.parametrize(
    ("text", "match"),
    [
        (SITE.replace("lyon.key", "oslo.key"), "does not have site 'lyon' with the key"),
        (SITE.replace('"lyon"', '"paris"'), "does not have site 'paris'"),
        (SITE.replace("roster.toml", "none.toml"), "none.toml"),
        (SITE.replace("lyon.key", "none.key"), "none.key"),
        (SITE.replace("dataset", "datset"), "did you mean `dataset`"),
        (SITE + "[floor]\nmin_cohorts = 4\n", "did you mean `min_cohort`"),
        (SITE + "[floor]\nmin_cohort = 'many'\n", "min_cohort"),
        (SITE + "[floor]\nacross_rounds = ['sometimes']\n", "across_rounds"),
        (SITE.replace('journal = "journal"\n', ""), "journal"),
    ],
)
def test_a_wrong_site_file_is_named_with_its_fault(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        read_site(site_file(tmp_path, text))


@pytest.mark.usefixtures("roster")
def test_a_journal_that_cannot_be_made_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be made"):
        read_site(site_file(tmp_path, SITE.replace('"journal"', '"lyon.key/journal"')))
