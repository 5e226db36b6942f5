# SPDX-License-Identifier: Apache-2.0

"""The ledgers of a private study: statistics, clips that adapt, training and metrics are all in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hospitals import NAMES, write_study
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study
from sordino.files.chain import read_chain, read_state
from sordino.privacy.events import AdaptiveClipGaussian, DiscreteGaussianSum
from sordino.privacy.ledger import Account, Ledger

ROUNDS = 6
PRIVACY = '[privacy]\nunit = "patient"\nepsilon = 8.0\ndelta = 1e-5\ntarget_quantile = 0.5\n'
LOST = '[[dropouts]]\nround = 2\nsite = "south"\nstep = "unmask"\n'


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    path = write_study(
        folder, training=f"rounds = {ROUNDS}", policy="max_patients = 100", more=PRIVACY + LOST
    )
    run_study(prepare(path), folder / "out")
    return folder / "out"


def account_of(out: Path, name: str) -> Account:
    (journal,) = out.glob(f"state/**/sites/{name}/journal")
    chain = read_chain(journal)
    chain.check_state(read_state(journal.with_name("session.state")))
    return Ledger(chain.entries).account("default")


@pytest.mark.parametrize("name", NAMES)
def test_every_sum_of_a_private_study_is_in_the_ledger_of_every_site(out: Path, name: str) -> None:
    account = account_of(out, name)
    kinds = [item.charge.kind for item in account.items]
    assert kinds == [
        "magnitudes",
        "private_means",
        "spreads",
        *["gradient"] * ROUNDS,
        "private_evaluation",
    ]
    assert all(item.uploaded for item in account.items)
    assert account.noiseless == 0
    assert {type(event) for item in account.items for event in item.release.events} <= {
        DiscreteGaussianSum,
        AdaptiveClipGaussian,
    }


def test_the_ledger_comes_to_the_epsilon_that_the_study_reports(out: Path) -> None:
    told = json.loads((out / "metrics.json").read_text())["privacy"]
    account = account_of(out, NAMES[0])
    assert account.epsilon(1e-5).epsilon == pytest.approx(told["epsilon"], rel=1e-9)
    assert list(account.history(1e-5)) == pytest.approx(told["epsilon_after_sum"], rel=1e-9)
    budget = account.items[0].charge.budget
    assert budget is not None
    standing = account.standing(budget)
    assert (standing.before, standing.committed) == (0, account.items[0].line)
    assert 0 <= standing.left < 0.2 * budget.limit
