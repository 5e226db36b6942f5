# SPDX-License-Identifier: Apache-2.0

"""`sordino ledger`: what was spent, in words and as JSON, and the first bad line of a chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from adversarial.toolkit import Study
from sordino.cli import app
from sordino.files.journal import FileJournal, line_of, read_line
from sordino.files.settings import SAMPLERS_DISTANCE
from sordino.privacy.accountant import Accountant
from sordino.privacy.budget import PrivacyBudget
from sordino.privacy.guard import BudgetGuard
from sordino.privacy.ledger import Ledger
from sordino.privacy.mechanisms import plan_with_noise, release_of
from sordino.protocol.policy import Block, Policy, Question

SITE, DELTA = "site02", 1e-5
BUDGET = PrivacyBudget.of(3.0, DELTA, distance=SAMPLERS_DISTANCE, unit="patient")


def policy_of(study: str = "lungs") -> Policy:
    question = Question("grad", (Block("g", 4, 1.0, 16),), max_weight=10)
    return plan_with_noise([question], "patient", {"grad": 4.0}, study=study, sites=5, rounds=50, colluders=1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's directory after two rounds of one study under a budget, and a charge of another."""
    directory = tmp_path_factory.mktemp("site")

    def journal(name: str) -> FileJournal:
        return FileJournal(directory / name, sync=False)

    study = Study(policy_of(), journals=journal, guard=BudgetGuard(BUDGET), dataset="scans").set_up()
    study.round()
    study.round()
    (directory / SITE / "session.state").write_bytes(study.saved(SITE))
    other = Study(policy_of("heads"), shared=study, guard=BudgetGuard(BUDGET), dataset="scans").to("upload")
    other.sites[SITE].begin(other.requests()[SITE].data)
    return directory / SITE


@pytest.fixture
def site_file(site: Path) -> Path:
    return settings(site, "[floor]", 'across_rounds = ["noise"]', *table())


def table(epsilon: str = "3.0", delta: str = "1e-5", unit: str = '"patient"') -> tuple[str, ...]:
    return ("[budget]", f"epsilon = {epsilon}", f"delta = {delta}", f"unit = {unit}")


def settings(directory: Path, *more: str) -> Path:
    """A site.toml that names a key and a roster that are not there: the ledger needs neither."""
    values = {
        "name": SITE,
        "identity": "none.key",
        "roster": "none.toml",
        "journal": ".",
        "dataset": "scans",
    }
    path = directory / "site.toml"
    path.write_text("\n".join([*(f'{key} = "{value}"' for key, value in values.items()), *more]) + "\n")
    return path


def sordino(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object) -> str:
    code, out, err = sordino(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    return line


def shown(*arguments: object) -> dict[str, object]:
    code, out, err = sordino("ledger", "show", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


# show -----------------------------------------------------------------------------------------------------


def test_show_tells_every_charge_and_what_the_budget_has_left(site: Path, site_file: Path) -> None:
    (data,) = shown(site_file)["datasets"]
    policy = policy_of()
    release = release_of(policy, policy.plan[0], 5)
    assert (data["dataset"], data["delta"], data["uploads_without_noise"]) == ("scans", DELTA, 0)
    assert [(c["study"], c["kind"], c["round"], c["unit"], c["uploaded"]) for c in data["charges"]] == [
        ("lungs", "grad", 1, "patient", True),
        ("lungs", "grad", 2, "patient", True),
        ("heads", "grad", 1, "patient", False),
    ]
    assert len({c["session"] for c in data["charges"]}) == 2
    for rounds, charge in enumerate(data["charges"], 1):
        assert charge["epsilon"] == pytest.approx(Accountant([release] * rounds).epsilon(DELTA).epsilon)
        assert charge["budget"]["order"] == BUDGET.order
        assert charge["release"]["events"][0]["dimension"] == 5
    assert data["total"]["patient"]["epsilon"] == Accountant([release] * 3).epsilon(DELTA).epsilon
    with FileJournal(site).open() as book:
        standing = Ledger(book.entries()).account("scans").standing(BUDGET)
    budget = data["budget"]
    assert budget["committed"] == standing.committed
    assert (budget["spent"]["divergence"], budget["left"]) == (standing.spent.divergence, standing.left)
    assert budget["limit"] == BUDGET.limit
    assert [room["rounds"] for room in budget["rooms"]] == [BUDGET.times(standing.spent, release)] * 2
    assert data["warnings"] == []


def test_show_says_the_same_in_words(site_file: Path) -> None:
    code, out, err = sordino("ledger", "show", site_file)
    assert (code, err) == (0, "")
    (data,) = shown(site_file)["datasets"]
    lines = out.splitlines()
    assert lines[0] == "data set scans, epsilon at delta 1e-05"
    rows = lines[2:5]
    assert [row.split()[4] for row in rows] != []
    for row, charge in zip(rows, data["charges"], strict=True):
        line, round_number, session, unit, epsilon, *rest = row.split()
        assert (int(line), int(round_number), unit) == (charge["line"], charge["round"], "patient")
        assert charge["session"].startswith(session)
        assert charge["epsilon"] <= float(epsilon) <= charge["epsilon"] + 2e-6
        assert " ".join(rest).startswith(f"{charge['study']}: grad")
    assert [row.endswith("(no upload followed)") for row in rows] == [False, False, True]
    assert "more rounds of lungs: grad" in out
    assert f"committed to in line {data['budget']['committed']}" in out
    assert "group privacy" in lines[-1]


def test_show_takes_a_budget_in_figures_or_none_at_all(site: Path) -> None:
    (data,) = shown(site)["datasets"]
    assert (data["budget"], data["delta"]) == (None, 1e-5)
    (data,) = shown(site, "--budget", "8,1e-6,patient")["datasets"]
    assert (data["budget"]["budget"]["epsilon"], data["delta"]) == (8.0, 1e-6)
    assert data["budget"]["budget"]["order"] == BUDGET.order, "committed to by the first charge"
    (data,) = shown(site, "--delta", "1e-7")["datasets"]
    assert data["delta"] == 1e-7
    (data,) = shown(site, "--budget", "8,1e-6,site")["datasets"]
    assert (data["budget"]["left"], [room["rounds"] for room in data["budget"]["rooms"]]) == (0.0, [0, 0])
    assert "hides one patient" in data["warnings"][0]


def test_show_names_data_sets_and_only_the_one_that_was_asked_for(site: Path, site_file: Path) -> None:
    assert [data["dataset"] for data in shown(site, "--dataset", "scans")["datasets"]] == ["scans"]
    assert "no data set 'other' in it, it knows 'scans'" in refused(
        "ledger", "show", site, "--dataset", "other"
    )
    edited = site_file.read_text().replace('"scans"', '"untouched"')
    site_file.write_text(edited)
    data = {each["dataset"]: each for each in shown(site_file)["datasets"]}
    assert data["untouched"]["charges"] == []
    assert data["untouched"]["budget"]["committed"] is None
    assert data["scans"]["budget"] is None, "the budget is that of the data set which site.toml names"


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--budget", "3,1e-5", "must be epsilon, delta and a unit"),
        ("--budget", "three,1e-5,patient", "must be epsilon, delta and a unit"),
        ("--budget", "nan,1e-5,patient", "epsilon"),
        ("--budget", "3,0,patient", "delta"),
        ("--budget", "3,1e-5,scan", "unit must be one of"),
        ("--budget", "none.toml", "cannot be read"),
        ("--delta", "0", "delta"),
        ("--delta", "nan", "delta"),
    ],
)
def test_bad_options_are_told_in_one_line(site: Path, option: str, value: str, match: str) -> None:
    assert match in refused("ledger", "show", site, option, value)


# verify ---------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(site: Path, tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    path.write_bytes((site / "journal.jsonl").read_bytes())
    return path


def test_verify_tells_the_head_and_what_a_state_has_seen(site: Path) -> None:
    with FileJournal(site).open() as book:
        entries, head = book.index.length, book.index.head.hex()
    code, out, err = sordino("ledger", "verify", site, "--state", site / "session.state")
    assert (code, err) == (0, "")
    assert f"{entries} entries, intact, 3 charges among them" in out
    assert f"head {head}" in out
    assert "holds all 11 entries that the session state has seen" in out
    fields = json.loads(sordino("ledger", "verify", site, "--json")[1])
    assert (fields["entries"], fields["charges"], fields["head"], fields["torn_bytes"], fields["state"]) == (
        entries,
        3,
        head,
        0,
        None,
    )


def test_verify_names_the_first_bad_line(copy: Path) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    swapped = [*lines[:4], lines[5], lines[4], *lines[6:]]
    copy.write_bytes(b"".join(swapped))
    assert "journal.jsonl, line 5: swapped" in refused("ledger", "verify", copy)
    assert "journal.jsonl, line 5: swapped" in refused("ledger", "show", copy)
    copy.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    assert "journal.jsonl, line 5: removed" in refused("ledger", "verify", copy.parent)


def test_verify_finds_a_truncation_by_the_head_that_a_state_carries(site: Path, copy: Path) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(lines[:8]))
    code, out, _ = sordino("ledger", "verify", copy)
    assert code == 0
    assert "only a session state can tell" in out
    told = refused("ledger", "verify", copy, "--state", site / "session.state")
    assert (
        "line 9: removed, with all that followed: the session state has seen 11 entries, here are 8" in told
    )


def test_verify_takes_a_torn_line_for_what_it_is(site: Path, copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-9])
    code, out, err = sordino("ledger", "verify", copy)
    assert (code, err) == (0, "")
    assert "the last line is torn" in out
    assert "2 charges" in out, "the torn line was the third"
    assert sordino("ledger", "verify", copy, "--state", site / "session.state")[0] == 0


def test_a_chain_that_holds_with_a_charge_that_nobody_wrote_names_its_line(copy: Path) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    last = read_line(lines[-1].strip())
    foreign = replace(last, sequence=len(lines), previous=last.digest, charge=b"paid")
    copy.write_bytes(b"".join([*lines, line_of(foreign)]))
    for command in ("show", "verify"):
        told = refused("ledger", command, copy)
        assert f"journal.jsonl, line {len(lines) + 1}: the journal holds a charge that cannot be read" in told


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_journal_that_is_not_there_is_told(tmp_path: Path, command: str) -> None:
    assert "cannot be read: No such file" in refused("ledger", command, tmp_path)
    assert "cannot be read: No such file" in refused("ledger", command, tmp_path / "site.toml")


def test_a_state_that_is_none_or_not_there_is_told(site: Path, copy: Path) -> None:
    assert "saved state must have version" in refused("ledger", "verify", site, "--state", copy)
    assert "No such file" in refused("ledger", "verify", site, "--state", copy.with_name("none"))
