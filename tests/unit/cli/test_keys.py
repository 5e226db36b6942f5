# SPDX-License-Identifier: Apache-2.0

"""`sordino keys`: identities are made once, shown on demand, and a site's settings are looked over."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from sordino.cli.app import app
from sordino.cli.keys import keys  # noqa: F401  # adds its commands to the app
from sordino.files.identity import read_identity
from sordino.files.journal import FileJournal
from sordino.files.settings import read_roster, read_site
from sordino.protocol.journal import CHARGE, Reply, draft
from sordino.protocol.policy import Floor

NAMES = ("alder", "birch", "cedar")


class Told(NamedTuple):
    code: int
    out: str
    err: str


def sordino(*arguments: object) -> Told:
    """The command, in this process; an error that it does not tell passes through."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Told(result.exit_code, result.stdout, result.stderr)


def refused(*arguments: object) -> str:
    """The one line that tells why the command failed."""
    code, out, err = sordino(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    return line


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site.toml with all that it names: three keys, their roster, no journal yet."""
    entries = [sordino("keys", "new", name, "--out", tmp_path).out for name in NAMES]
    (tmp_path / "roster.toml").write_text("\n".join(entries))
    return settings(tmp_path)


def settings(directory: Path, *more: str, **changes: str) -> Path:
    values = {
        "name": "alder",
        "identity": "alder.key",
        "roster": "roster.toml",
        "journal": "journal",
        "dataset": "scans-2024",
    }
    lines = [f'{key} = "{value}"' for key, value in {**values, **changes}.items()]
    path = directory / "site.toml"
    path.write_text("\n".join([*lines, *more]) + "\n")
    return path


def edited(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


# new and show ---------------------------------------------------------------------------------------------


def test_a_new_key_is_its_owners_alone_and_its_roster_lines_are_printed(tmp_path: Path) -> None:
    told = sordino("keys", "new", "alder", "--out", tmp_path)
    assert told.code == 0
    key = tmp_path / "alder.key"
    assert key.stat().st_mode & 0o777 == 0o600
    identity = read_identity(key, "alder")
    assert tomllib.loads(told.out) == {"site": [{"name": "alder", "key": identity.public_key.hex()}]}
    assert key.read_bytes() not in told.out.encode() + told.err.encode()


def test_two_new_keys_differ(tmp_path: Path) -> None:
    lines = {sordino("keys", "new", name, "--out", tmp_path).out.split("key = ")[1] for name in NAMES}
    assert len(lines) == len(NAMES)


def test_a_key_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    sordino("keys", "new", "alder", "--out", tmp_path)
    before = (tmp_path / "alder.key").read_bytes()
    line = refused("keys", "new", "alder", "--out", tmp_path)
    assert line.endswith("alder.key exists: a site's key is never overwritten")
    assert (tmp_path / "alder.key").read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "../alder", ".alder", "", "a" * 65, "älder", "alder\n"])
def test_a_name_that_no_roster_could_have_makes_no_key(name: str, tmp_path: Path) -> None:
    assert "a name has 1 to 64 letters" in refused("keys", "new", name, "--out", tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    line = refused("keys", "new", "alder", "--out", tmp_path / "nowhere")
    assert line.endswith("alder.key cannot be written: No such file or directory")


def test_show_prints_what_new_printed(tmp_path: Path) -> None:
    told = sordino("keys", "new", "alder", "--out", tmp_path)
    assert sordino("keys", "show", tmp_path / "alder.key") == Told(0, told.out, "")
    renamed = sordino("keys", "show", tmp_path / "alder.key", "--name", "birch")
    assert renamed.out == told.out.replace("alder", "birch")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_can_read_or_write_is_refused(mode: int, tmp_path: Path) -> None:
    sordino("keys", "new", "alder", "--out", tmp_path)
    (tmp_path / "alder.key").chmod(mode)
    line = refused("keys", "show", tmp_path / "alder.key")
    assert line.endswith("alder.key can be read by others: make it 0600")


def test_a_file_that_is_no_key_is_told(tmp_path: Path) -> None:
    key = tmp_path / "alder.key"
    key.touch(mode=0o600)
    for content, told in (
        (b"not a key", "holds no private key in PEM"),
        (b"", "holds no private key in PEM"),
        (
            X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "holds no Ed25519 key",
        ),
    ):
        key.write_bytes(content)
        assert told in refused("keys", "show", key)
    assert "birch.key cannot be read: No such file" in refused("keys", "show", tmp_path / "birch.key")


def test_show_refuses_a_file_name_that_is_no_sites_name(tmp_path: Path) -> None:
    sordino("keys", "new", "alder", "--out", tmp_path)
    (tmp_path / "alder.key").rename(tmp_path / "my key")
    assert "a name has 1 to 64 letters" in refused("keys", "show", tmp_path / "my key")


# check ----------------------------------------------------------------------------------------------------


def test_check_tells_what_to_compare_with_the_others(site: Path) -> None:
    told = sordino("keys", "check", site)
    assert (told.code, told.err) == (0, "")
    digest = read_roster(site.with_name("roster.toml")).digest.hex()
    assert told.out.splitlines() == [
        "site alder: one of 3 in the roster",
        f"roster {digest}: compare it with the other sites",
        (
            "floor: min_cohort 3, min_threshold 2, min_colluders 0, across_rounds freeze, "
            "semi-honest mode refused, up to 10,000 rounds, 100,000,000 lanes, any question"
        ),
        "journal: 0 entries, intact",
        "budget: none, so the site only keeps count",
    ]


def test_check_shows_the_budget(site: Path) -> None:
    lines = ("[floor]", 'across_rounds = ["noise"]', "[budget]", "epsilon = 3", "delta = 1e-5")
    settings(site.parent, *lines, 'unit = "patient"')
    told = sordino("keys", "check", site)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[-1] == (
        "budget: epsilon 3 at delta 1e-05 about one patient, for data set 'scans-2024': 0.0% used by "
        "0 charges"
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("min_cohort = 4", "min_cohort is 4, of 3 sites it can be 3 at most"),
        ("min_threshold = 4", "min_threshold is 4, of 3 sites it can be 3 at most"),
        ("min_colluders = 2", "min_colluders is 2, of 3 sites it can be 1 at most"),
        ("max_rounds = 0", "max_rounds is 0, so that nothing can be asked"),
        ("across_rounds = []", "across_rounds is empty, so that nothing is allowed"),
        ("questions = []", "questions is empty, so that nothing is allowed"),
    ],
)
def test_a_floor_that_no_study_of_this_roster_can_meet_is_told(line: str, told: str, site: Path) -> None:
    settings(site.parent, "[floor]", line)
    found = sordino("keys", "check", site)
    assert found.code == 0
    assert f"[floor] refuses every study: {told}" in found.out


def test_noise_without_a_budget_is_a_warning(site: Path) -> None:
    settings(site.parent, "[floor]", 'across_rounds = ["freeze", "noise"]')
    found = sordino("keys", "check", site)
    assert found.code == 0
    assert 'across_rounds allows "noise", and there is no [budget]' in found.out


def test_check_reads_every_setting(site: Path) -> None:
    settings(site.parent, 'groups = ["ct", "mr"]', "[floor]", "min_cohort = 5", 'across_rounds = ["accept"]')
    assert sordino("keys", "check", site).code == 0
    found = read_site(site)
    assert (found.dataset, found.groups) == ("scans-2024", ("ct", "mr"))
    assert found.floor == Floor(min_cohort=5, across_rounds=("accept",))
    assert isinstance(found.journal, FileJournal)


@pytest.mark.parametrize(
    ("line", "unknown", "nearest"),
    [
        ('datset = "x"', "datset", "dataset"),
        ('group = ["ct"]', "group", "groups"),
        ("[floor]\nmin_cohorts = 5", "min_cohorts", "min_cohort"),
        ("[floor]\nmin_coluders = 5", "min_coluders", "min_colluders"),
    ],
)
def test_an_unknown_setting_is_named_with_the_nearest(
    line: str, unknown: str, nearest: str, site: Path
) -> None:
    settings(site.parent, line)
    told = refused("keys", "check", site)
    assert f"unknown field `{unknown}`" in told
    assert told.endswith(f"did you mean `{nearest}`?")


def test_an_unknown_setting_that_is_like_no_other_is_named_alone(site: Path) -> None:
    settings(site.parent, "zzz = 1")
    told = refused("keys", "check", site)
    assert "unknown field `zzz`" in told
    assert "did you mean" not in told


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["[floor]", 'min_cohort = "five"'], "Expected `int`, got `str` - at `$.floor.min_cohort`"),
        (
            ["[floor]", 'across_rounds = ["thaw"]'],
            "Invalid enum value 'thaw' - at `$.floor.across_rounds[0]`",
        ),
        (["groups = 1"], "Expected `array`, got `int` - at `$.groups`"),
        (["groups ="], "site.toml: "),
    ],
)
def test_a_setting_of_a_wrong_type_is_named(lines: list[str], match: str, site: Path) -> None:
    settings(site.parent, *lines)
    assert match in refused("keys", "check", site)


def test_a_missing_setting_is_named(site: Path) -> None:
    edited(site, lambda text: text.replace('dataset = "scans-2024"\n', ""))
    assert "missing required field `dataset`" in refused("keys", "check", site)


@pytest.mark.parametrize("missing", ["site.toml", "roster.toml", "alder.key"])
def test_a_file_that_is_missing_is_told_by_its_name(missing: str, site: Path) -> None:
    site.with_name(missing).unlink()
    assert f"{missing} cannot be read: No such file or directory" in refused("keys", "check", site)


def test_a_roster_without_this_sites_own_key_is_refused(site: Path) -> None:
    sordino("keys", "new", "oak", "--out", site.parent)
    for changes in ({"name": "oak", "identity": "oak.key"}, {"name": "birch"}, {"identity": "birch.key"}):
        settings(site.parent, **changes)
        assert "the roster does not have site" in refused("keys", "check", site)


def roster_lines(site: Path, *, name: str = "dogwood", of: str | None = None, key: str | None = None) -> None:
    """Add an entry to the roster: with the key of another, or another text for a key."""
    roster = site.with_name("roster.toml")
    if of is not None:
        key = read_roster(roster).key(of).hex()
    edited(roster, lambda text: f'{text}\n[[site]]\nname = "{name}"\nkey = "{key}"\n')


def test_two_names_with_one_key_are_refused(site: Path) -> None:
    roster_lines(site, of="cedar")
    assert "sites 'cedar' and 'dogwood' have one key" in refused("keys", "check", site)


@pytest.mark.parametrize("of", ["cedar", "birch"])
def test_a_site_that_is_listed_twice_is_refused(of: str, site: Path) -> None:
    roster_lines(site, name="cedar", of=of)
    assert "site 'cedar' is listed twice" in refused("keys", "check", site)


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("xyz", "the key of site 'dogwood' is not hexadecimal"),
        ("abc", "the key of site 'dogwood' is not hexadecimal"),
        ("00" * 31, "the key of site 'dogwood' has 31 bytes, not 32"),
        ("", "the key of site 'dogwood' has 0 bytes, not 32"),
    ],
)
def test_a_key_that_is_none_is_told_with_its_site(key: str, match: str, site: Path) -> None:
    roster_lines(site, key=key)
    assert match in refused("keys", "check", site)


def test_an_unknown_key_of_the_roster_is_named_with_the_nearest(site: Path) -> None:
    edited(site.with_name("roster.toml"), lambda text: text.replace("name = ", "names = "))
    assert refused("keys", "check", site).endswith("did you mean `name`?")


def test_an_empty_roster_has_not_this_site(site: Path) -> None:
    site.with_name("roster.toml").write_text("site = []\n")
    assert "the roster does not have site 'alder'" in refused("keys", "check", site)


def test_a_damaged_journal_is_told_with_its_line(site: Path) -> None:
    sordino("keys", "check", site)
    (site.parent / "journal" / "journal.jsonl").write_bytes(b"not an entry\n")
    assert "journal.jsonl, line 1: damaged" in refused("keys", "check", site)


def test_a_journal_that_cannot_be_made_is_told(site: Path) -> None:
    (site.parent / "journal").write_text("")
    assert "journal cannot be made" in refused("keys", "check", site)


def test_a_charge_that_is_none_is_told_with_its_line(site: Path) -> None:
    sordino("keys", "check", site)
    with FileJournal(site.parent / "journal").open() as book:
        entry = draft(
            session=bytes(32),
            dataset="scans-2024",
            action=CHARGE,
            step="ready",
            round_number=1,
            request=bytes(32),
            charge=b"paid",
        )
        book.append(entry, Reply(b""))
    assert "journal, line 1: the journal holds a charge that cannot be read" in refused("keys", "check", site)
