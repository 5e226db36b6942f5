# SPDX-License-Identifier: Apache-2.0

"""A charge that was torn, could not be written, or is wanted by two at once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adversarial.budget_process import BUDGET, KIND, NAMES, POLICY, ROUNDS
from adversarial.toolkit import FLOOR, Study, identity, roster_of
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import BudgetExceeded, JournalError, LocalError, RequestRefused
from sordino.files.chain import read_chain
from sordino.files.journal import FileJournal
from sordino.privacy.guard import BudgetGuard
from sordino.privacy.ledger import Account, Ledger
from sordino.protocol import wire
from sordino.protocol.messages import UploadRequest
from sordino.protocol.site import Site

SITE = "site02"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Asked for the uploads of round 2, all journals on disk."""
    made = Study(
        POLICY, journals=lambda name: FileJournal(tmp_path / name, sync=False), guard=BudgetGuard(BUDGET)
    )
    made.round()
    return made.to("upload")


def lines_of(directory: Path) -> list[bytes]:
    return (directory / "journal.jsonl").read_bytes().splitlines(keepends=True)


def account_of(directory: Path) -> Account:
    with FileJournal(directory, sync=False).open() as book:
        return Ledger(book.entries()).account("default")


def truncated(study: Study, directory: Path, lines: list[bytes], kept: int, state: bytes) -> None:
    """The site starts again with its last line cut after `kept` bytes."""
    (directory / "journal.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    study.journals[SITE] = FileJournal(directory, sync=False)
    study.restore(SITE, state)


# Torn -----------------------------------------------------------------------------------------------------


def test_a_charge_that_was_torn_at_any_byte_was_followed_by_no_message_and_is_made_anew(
    study: Study, tmp_path: Path
) -> None:
    request, before = study.requests()[SITE].data, study.saved(SITE)
    study.sites[SITE].begin(request)
    lines = lines_of(tmp_path / SITE)
    assert b'"action":"Charge"' in lines[-1]
    for kept in range(len(lines[-1])):
        truncated(study, tmp_path / SITE, lines, kept, before)
        assert read_chain(tmp_path / SITE).torn == kept
        assert [item.round for item in account_of(tmp_path / SITE).items] == [1]
        if kept % 40 == 0:
            study.deliver(SITE, request)
            items = account_of(tmp_path / SITE).items
            assert [(item.round, item.uploaded) for item in items] == [(1, True), (2, True)]


def test_an_upload_that_was_torn_at_any_byte_stays_paid_for(study: Study, tmp_path: Path) -> None:
    request, before = study.requests()[SITE].data, study.saved(SITE)
    study.deliver(SITE, request)
    lines = lines_of(tmp_path / SITE)
    assert b'"action":"UploadRequest"' in lines[-1]
    for kept in range(len(lines[-1])):
        truncated(study, tmp_path / SITE, lines, kept, before)
        assert [(item.round, item.uploaded) for item in account_of(tmp_path / SITE).items] == [
            (1, True),
            (2, False),
        ]
        if kept % 40 == 0:
            with pytest.raises(RequestRefused, match="round 2 is not after round 2"):
                study.deliver(SITE, request)


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_charge_that_a_state_has_seen_cannot_be_cut_off_at_any_byte(
    study: Study, tmp_path: Path, uploaded: bool
) -> None:
    """The message has left, so the state was saved: the site stops, whatever is cut off its journal."""
    request = study.requests()[SITE].data
    if uploaded:
        study.deliver(SITE, request)
    else:
        study.sites[SITE].begin(request)
    after = study.saved(SITE)
    lines = lines_of(tmp_path / SITE)
    lines = lines[: len(lines) - uploaded]
    assert b'"action":"Charge"' in lines[-1]
    later = wire.to_bytes(study.upload_request(round=3))
    for kept in range(0, len(lines[-1]), 5):
        truncated(study, tmp_path / SITE, lines, kept, after)
        for data in (request, later):
            with pytest.raises(JournalError, match="lost or rolled back"):
                study.deliver(SITE, data)
        assert len(lines_of(tmp_path / SITE)) == len(lines) - 1


# Two at once ----------------------------------------------------------------------------------------------


def spend(job: dict[str, str]) -> None:
    """What a process of its own does: begin round after round until the budget is spent, and say which."""
    journal = FileJournal(Path(job["directory"]), sync=False)
    names = job["names"].split()
    site = Site(identity(SITE), roster_of(names), FLOOR, journal, guard=BudgetGuard(BUDGET))
    site.load(bytes.fromhex(job["state"]))
    assert site.state is not None
    body = bytes.fromhex(job["body"])
    while True:
        with journal.open() as book:
            last = book.index.session(site.state.session_id).last
        assert last is not None
        request = UploadRequest(
            session=site.state.session,
            round=last.round + 1,
            kind=KIND,
            body=body,
            participants=tuple(names),
        )
        try:
            site.begin(wire.to_bytes(request))
        except RequestRefused:
            continue  # the other was there before
        except BudgetExceeded:
            return
        sys.stdout.write(f"{request.round}\n")


def test_two_processes_spend_one_budget_between_them_and_make_one_chain(study: Study, tmp_path: Path) -> None:
    job = {
        "directory": str(tmp_path / SITE),
        "names": " ".join(study.names),
        "state": study.saved(SITE).hex(),
        "body": study.upload_request().body.hex(),
    }
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(job)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for _ in range(2)
    ]
    spent = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
        spent.append([int(line) for line in out.split()])
    assert sorted(spent[0] + spent[1]) == list(range(2, ROUNDS + 1)), "the first round was spent before"
    chain = read_chain(tmp_path / SITE)
    account = Ledger(chain.entries).account("default")
    assert [item.round for item in account.items] == list(range(1, ROUNDS + 1))
    assert account.standing(BUDGET).rooms[0].rounds == 0


# Where nothing can be written -----------------------------------------------------------------------------


def full(handle: int, data: bytes) -> int:
    """A disk that takes half of a line."""
    if b'"action":"Charge"' in data:
        return len(os.pwrite(handle, data[: len(data) // 2], os.fstat(handle).st_size) * b"x")
    return WRITE(handle, data)


WRITE, OPEN = os.write, os.open


def read_only(path: str | Path, flags: int, mode: int = 0o777) -> int:
    if Path(path).name == "journal.jsonl" and flags & os.O_WRONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    return OPEN(path, flags, mode)


@pytest.mark.parametrize(
    ("name", "fails", "match"),
    [("write", full, "No space left"), ("open", read_only, "Read-only file system")],
)
def test_a_charge_that_cannot_be_written_draws_and_releases_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fails: Callable[..., int], match: str
) -> None:
    drawn: list[str] = []

    def batch(site: str) -> Contribution:
        drawn.append(site)
        return Contribution({"g": np.full((3, 8), 0.1)})

    study = MaskedAggregator(POLICY, NAMES, directory=tmp_path, guard=lambda _: BudgetGuard(BUDGET))
    contributors = {site: lambda _, site=site: batch(site) for site in NAMES}
    study.aggregate(KIND, b"", contributors)
    journals = [tmp_path / "sites" / site / "journal" for site in NAMES]
    before = [lines_of(journal) for journal in journals]
    drawn.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, name, fails)
        with pytest.raises(JournalError, match=f"cannot be written: {match}") as caught:
            study.aggregate(KIND, b"", contributors)
    assert isinstance(caught.value, LocalError)
    assert drawn == []
    assert [lines_of(journal) for journal in journals] == before
    # Once there is room again the study goes on.
    assert study.aggregate(KIND, b"", contributors).survivors == NAMES
    assert [len(account_of(journal).items) for journal in journals] == [2] * len(NAMES)


if __name__ == "__main__":
    spend(json.loads(sys.argv[1]))
