# SPDX-License-Identifier: Apache-2.0

"""A study under a budget that is killed at any moment: never less in the ledger than what was released."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adversarial.budget_process import BUDGET, NAMES, RELEASE, ROUNDS, Zygote
from sordino.files.chain import read_chain, read_state
from sordino.privacy.ledger import Account, Item, Ledger

LONG = "SORDINO_LONG" in os.environ
KILLS = 250 if LONG else 20


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.end()


def charged(directory: Path) -> int:
    """Charges in all journals by now, without a look at the chains."""
    journals = directory.glob("sites/*/journal/journal.jsonl")
    return sum(path.read_bytes().count(b'"action":"Charge"') for path in journals)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def account_of(directory: Path, name: str) -> Account:
    """A site's account, its chain checked against the state that it last saved."""
    site = directory / "sites" / name
    chain = read_chain(site / "journal")
    chain.check_state(read_state(site / "session.state"))
    return Ledger(chain.entries).account("default")


def items_of(directory: Path) -> Callable[[str], list[Item]]:
    return lambda name: account_of(directory, name).items


def check(directory: Path, before: dict[str, int], lives: int) -> dict[str, int]:
    """Nothing was drawn or released that is not charged, or past the budget; gives each site's charges."""
    released = [tuple(line.split()) for line in lines_of(directory / "released")]
    drawn = Counter(lines_of(directory / "drawn"))
    charges = {}
    for name in NAMES:
        account = account_of(directory, name)
        charged = {(item.session.hex(), str(item.round), name) for item in account.items}
        assert {line for line in released if line[2] == name} <= charged
        assert len(charged) == len(account.items), "one charge a round"
        assert drawn[name] <= len(account.items)
        uploaded = sum(item.uploaded for item in account.items)
        left = sum(line[2] == name for line in released)
        # A kill can come between an upload's entry and the note that it has left: once for each life.
        assert uploaded - lives <= left <= uploaded
        standing = account.standing(BUDGET)
        assert standing.spent.divergence <= BUDGET.limit
        assert {item.release for item in account.items} <= {RELEASE}
        assert len(account.items) >= before[name]
        charges[name] = len(account.items)
    return charges


def test_a_study_that_is_killed_again_and_again_stops_exactly_at_its_budget(
    zygote: Zygote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, kills, studies, within = random.Random(4), 0, 0, 0
    while kills < KILLS:
        directory = tmp_path / str(studies)
        assert zygote.order("set-up", directory) == "done"
        charges, alive, lives, studies = dict.fromkeys(NAMES, 0), True, 0, studies + 1
        while alive and kills < KILLS:
            assert zygote.order("live", directory) == "started"
            reached = sum(charges.values()) + chance.randint(1, 6 * len(NAMES))
            give_up = time.monotonic() + 60
            # Not by the clock alone, since a busy machine would then be killed before its first round.
            while charged(directory) < reached and not (directory / "over").exists():
                assert time.monotonic() < give_up
                time.sleep(0.001)
            time.sleep(chance.uniform(0.0, 0.03))
            code = int(zygote.order("kill"))
            assert code in (0, -signal.SIGKILL)
            alive = code != 0
            kills += alive
            lives += 1
            charges = check(directory, charges, lives)
            within += sum(not items[-1].uploaded for items in map(items_of(directory), NAMES) if items)
        zygote.order("live", directory)
        assert zygote.order("wait") == "0"
        assert check(directory, charges, lives) == dict.fromkeys(NAMES, ROUNDS)
        assert (
            "the privacy budget of this site's data does not allow this round"
            in (directory / "over").read_text()
        )
        assert account_of(directory, NAMES[0]).epsilon(BUDGET.delta).epsilon <= BUDGET.epsilon
    with capsys.disabled():
        told = f"{kills} kills in {studies} studies, {within} charges without their uploads after a kill"
        sys.stdout.write(f" {told} " if LONG else "")
