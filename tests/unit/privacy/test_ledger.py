# SPDX-License-Identifier: Apache-2.0

"""The ledger: what a journal says was released, charge by charge, and how it stands against a budget."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, make_policy
from sordino.errors import (
    BudgetExceeded,
    JournalError,
    PolicyRefused,
    PrivacyError,
    RoundAborted,
    UnreadableCharge,
)
from sordino.privacy.accountant import Accountant
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.charge import Charge, in_force, read_charge, spent_by, write_charge
from sordino.privacy.events import Gaussian, Release
from sordino.privacy.guard import BudgetGuard
from sordino.privacy.ledger import Account, Ledger
from sordino.privacy.mechanisms import plan_with_noise, release_of
from sordino.protocol.journal import CHARGE, Entry, MemoryJournal, Reply, draft
from sordino.protocol.policy import Block, Policy, Question

SITE, DELTA = "site02", 1e-5
DISTANCE = 2.0**-160


def budget_of(epsilon: float, unit: str = "patient") -> PrivacyBudget:
    return PrivacyBudget.of(epsilon, DELTA, distance=DISTANCE, unit=unit)


def policy_of(study: str = "first", *, unit: str = "patient", sigma: float = 4.0, sites: int = 5) -> Policy:
    questions = [
        Question("grad", (Block("g", 4, 1.0, 16),), max_weight=10),
        Question("metric", (Block("auc", 1, 1.0, 16),), max_weight=10),
    ]
    multipliers = {"grad": sigma, "metric": 2 * sigma}
    return plan_with_noise(questions, unit, multipliers, study=study, sites=sites, rounds=500, colluders=1)


def begun(policy: Policy, budget: PrivacyBudget | None, shared: Study | None = None, **terms: str) -> Study:
    return Study(policy, guard=BudgetGuard(budget), shared=shared, **terms).set_up()


def account_of(study: Study, dataset: str = "default", site: str = SITE) -> Account:
    with study.journals[site].open() as book:
        return Ledger(book.entries()).account(dataset)


def fits(budget: PrivacyBudget, policy: Policy, kind: str = "grad") -> int:
    return budget.times(Spent(), release_of(policy, policy.question(kind), policy.sites))


# What is in it --------------------------------------------------------------------------------------------


def test_every_upload_is_a_charge_and_rounds_add_up_as_the_accountant_says() -> None:
    study = begun(policy_of(), None)
    for _ in range(3):
        study.round()
    account = account_of(study)
    release = release_of(study.policy, study.policy.question("grad"), 5)
    assert [(item.round, item.uploaded, item.charge.kind) for item in account.items] == [
        (1, True, "grad"),
        (2, True, "grad"),
        (3, True, "grad"),
    ]
    assert all(item.release == release and item.charge.budget is None for item in account.items)
    assert account.epsilon(DELTA) == Accountant([release] * 3).epsilon(DELTA)
    for rounds, epsilon in enumerate(account.history(DELTA), 1):
        assert epsilon == pytest.approx(Accountant([release] * rounds).epsilon(DELTA).epsilon, rel=1e-9)
    with study.journals[SITE].open() as book:
        entries = list(book.entries())
    for item in account.items:
        entry = entries[item.line - 1]
        assert (entry.action, entry.session, entry.round) == (CHARGE, item.session, item.round)


def test_a_round_that_fails_after_the_upload_stays_charged() -> None:
    study = begun(policy_of(), None).to("confirm")
    with pytest.raises(RoundAborted):
        study.phase(lose=study.names)
    (item,) = account_of(study).items
    assert (item.round, item.uploaded) == (1, True)
    study.round()
    assert [item.round for item in account_of(study).items] == [1, 2]


def test_a_charge_whose_upload_never_left_is_spent_and_told() -> None:
    study = begun(policy_of(), None).to("upload")
    study.sites[SITE].begin(study.requests()[SITE].data)
    study.phase(lose=[SITE])
    assert [item.uploaded for item in account_of(study).items] == [False]
    study.to("done")
    study.round()
    assert [item.uploaded for item in account_of(study).items] == [False, True]


def test_metrics_are_charged_like_anything_else() -> None:
    study = begun(policy_of(), None)
    study.round()
    study.coordinator.open_round("metric", b"")
    request = study.requests()[SITE]
    study.sites[SITE].begin(request.data)
    items = account_of(study).items
    assert [item.charge.kind for item in items] == ["grad", "metric"]
    assert items[1].release == release_of(study.policy, study.policy.question("metric"), 5)


def test_uploads_without_noise_are_told_apart_since_no_epsilon_bounds_them() -> None:
    plain = Study(make_policy(5, across_rounds="freeze")).set_up()
    plain.round()
    study = begun(policy_of(), None, shared=plain)
    study.round()
    account = account_of(study)
    assert (account.noiseless, len(account.items)) == (1, 1)
    standing = account.standing(budget_of(3.0))
    assert "asked without noise before" in standing.refusal
    assert (standing.left, [room.rounds for room in standing.rooms]) == (0.0, [0])
    assert standing.spent.divergence > 0


def test_units_are_kept_apart() -> None:
    study = begun(policy_of(), None)
    study.round()
    other = begun(policy_of("second", unit="site"), None, shared=study)
    other.round()
    account = account_of(other)
    assert account.units == ("patient", "site")
    with pytest.raises(PrivacyError, match="keep an accountant for each unit"):
        account.epsilon(DELTA)
    assert account.epsilon(DELTA, "site").unit == "site"
    assert len(account.history(DELTA, "patient")) == 1


# Budgets --------------------------------------------------------------------------------------------------


def test_a_round_that_the_budget_refuses_is_not_charged_and_the_study_goes_on_once_it_is_raised() -> None:
    policy, budget = policy_of(), budget_of(3.0)
    study = begun(policy, budget)
    rounds = fits(budget, policy)
    assert rounds >= 3
    for _ in range(rounds):
        study.round()
    with study.nothing_changes(), pytest.raises(RoundAborted, match="the privacy budget of this site's data"):
        study.round()
    account = account_of(study)
    assert len(account.items) == rounds
    standing = account.standing(budget)
    assert [room.rounds for room in standing.rooms] == [0]
    assert 0 <= standing.left < standing.spent.divergence / rounds
    assert account.epsilon(DELTA).epsilon <= 3.0
    # The operator raises it: the same session goes on, at the order that was committed to.
    study._guard = BudgetGuard(budget_of(4.0))
    study.restart_all()
    raised = account.standing(budget_of(4.0))
    assert (raised.budget.order, raised.committed) == (budget.order, account.items[0].line)
    more = raised.rooms[0].rounds
    assert more >= 1
    for _ in range(more):
        study.round()
    with pytest.raises(RoundAborted):
        study.round()
    assert len(account_of(study).items) == rounds + more
    assert account_of(study).epsilon(DELTA).epsilon <= 4.0


def test_a_budget_holds_across_studies_sessions_coordinators_and_restarts_of_one_data_set() -> None:
    budget, first = budget_of(3.0), policy_of("first")
    study = begun(first, budget)
    rounds = fits(budget, first)
    study.round()
    study.restart_all()
    done = 1
    while True:
        study = begun(policy_of(f"study-{done}"), budget, shared=study)  # another study, session, coordinator
        try:
            study.round()
        except RoundAborted:
            break
        done += 1
    assert done == rounds
    items = account_of(study).items
    assert len({item.session for item in items}) == rounds
    assert {item.charge.study for item in items} == {"first", *(f"study-{n}" for n in range(1, rounds))}
    # Data of another name has a budget of its own.
    other = begun(policy_of("elsewhere"), budget, shared=study, dataset="other")
    other.round()
    assert len(account_of(other, "other").items) == 1
    assert len(account_of(other).items) == rounds


def test_the_order_is_that_of_the_first_charge_under_a_budget_whatever_is_set_later() -> None:
    strict, loose = budget_of(1.0), budget_of(8.0)
    assert strict.order > loose.order
    study = begun(policy_of(sigma=20.0), strict)
    study.round()
    study._guard = BudgetGuard(loose)
    study.restart_all()
    study.round()
    budgets = [item.charge.budget for item in account_of(study).items]
    assert budgets == [strict, replace(loose, order=strict.order)]
    assert account_of(study).standing(loose).budget.order == strict.order


def test_a_committed_order_without_room_for_a_new_budget_refuses_and_says_so() -> None:
    loose, strict = budget_of(40.0), PrivacyBudget.of(0.01, 1e-9, distance=DISTANCE, unit="patient")
    charge = write_charge(
        Charge(study="s", kind="k", release=Release((Gaussian(50.0),), "patient"), budget=loose)
    )
    with pytest.raises(
        BudgetExceeded, match=r"committed to order .* no room for epsilon 0.01 at delta 1e-09"
    ):
        in_force(strict, [charge])
    study = begun(policy_of(), loose)
    study.round()
    standing = account_of(study).standing(strict)
    assert "no room" in standing.refusal
    assert (standing.left, [room.rounds for room in standing.rooms]) == (0.0, [0])


def test_charges_from_before_a_budget_count_and_are_told() -> None:
    policy, budget = policy_of(), budget_of(3.0)
    study = begun(policy, None)
    study.round()
    study._guard = BudgetGuard(budget)
    study.restart_all()
    study.round()
    standing = account_of(study).standing(budget)
    assert (standing.before, standing.committed) == (1, account_of(study).items[1].line)
    assert standing.rooms[0].rounds == fits(budget, policy) - 2


def test_a_budget_about_one_unit_does_not_count_what_was_released_about_another() -> None:
    study = begun(policy_of(unit="site"), None)
    study.round()
    patients = begun(policy_of("second"), budget_of(3.0), shared=study).to("upload")
    with patients.nothing_changes(), pytest.raises(RoundAborted):
        patients.round()
    request = patients.upload_request(round=patients.coordinator.round + 1)
    with pytest.raises(BudgetExceeded, match="noise that hides one site"):
        patients.deliver(SITE, request)
    assert "hides one site" in account_of(patients).standing(budget_of(3.0)).refusal


def test_a_unit_that_changes_under_an_open_session_stops_it() -> None:
    study = begun(policy_of(), budget_of(3.0)).to("upload")
    study._guard = BudgetGuard(budget_of(3.0, "site"))
    study.restart_all()
    with study.nothing_changes(), pytest.raises(PolicyRefused, match="the budget is about one site"):
        study.deliver(SITE, study.requests()[SITE].data)


def test_a_session_without_noise_stops_when_its_data_gets_a_budget() -> None:
    study = Study(make_policy()).set_up().to("upload")
    study._guard = BudgetGuard(budget_of(3.0))
    study.restart_all()
    with study.nothing_changes(), pytest.raises(PolicyRefused, match="the policy has no noise"):
        study.deliver(SITE, study.requests()[SITE].data)


# What it refuses to read ----------------------------------------------------------------------------------


def entry(number: int, **changes: object) -> Entry:
    fields = {
        "session": b"s" * 32,
        "dataset": "default",
        "action": CHARGE,
        "step": "ready",
        "round_number": number,
        "request": bytes([number]) * 32,
    }
    return replace(draft(**{**fields, **changes}), sequence=number)


def test_a_foreign_charge_is_named_by_its_line() -> None:
    good = write_charge(Charge(study="s", kind="k", release=Release((Gaussian(5.0),), "patient")))
    for bad in (b"", b"paid", good[:-1], good + b"x", b"\xc0"):
        with pytest.raises(UnreadableCharge, match="cannot be read"):
            read_charge(bad)
        with pytest.raises(JournalError, match="^line 2: the journal holds a charge that cannot be read"):
            Ledger([entry(0, charge=good), entry(1, charge=bad)])


def test_a_site_names_the_line_of_a_foreign_charge_and_releases_nothing() -> None:
    study = begun(policy_of(), budget_of(3.0))
    study.round()
    with study.journals[SITE].open() as book:
        length = book.index.length
        book.append(
            draft(
                session=b"x" * 32,
                dataset="default",
                action=CHARGE,
                step="ready",
                round_number=1,
                request=bytes(32),
                charge=b"paid elsewhere",
            ),
            Reply(b""),
        )
    study.to("upload")
    with study.nothing_changes(), pytest.raises(UnreadableCharge, match=f"^line {length + 1}: "):
        study.deliver(SITE, study.requests()[SITE].data)


@pytest.mark.parametrize("change", [{"request": b"?" * 32}, {"dataset": "other"}, {"session": b"?" * 32}])
def test_an_upload_that_was_not_paid_for_is_named_by_its_line(change: dict[str, object]) -> None:
    good = write_charge(Charge(study="s", kind="k", release=Release((Gaussian(5.0),), "patient")))
    upload = {"action": "UploadRequest", "request": bytes(32)}
    assert Ledger([entry(0, charge=good), entry(1, **upload)]).account("default").items[0].uploaded
    with pytest.raises(JournalError, match="line 2: an upload that was not paid for"):
        Ledger([entry(0, charge=good), entry(1, **{**upload, **change})])
    with pytest.raises(JournalError, match="line 3: an upload that was not paid for"):
        Ledger([entry(0, charge=good), entry(1, **upload), entry(2, **upload)])


def test_a_journal_in_memory_and_an_empty_one_have_ledgers_too() -> None:
    with MemoryJournal().open() as book:
        found = Ledger(book.entries())
    assert found.accounts == ()
    empty = found.account("default")
    assert (empty.items, empty.units, empty.noiseless) == ([], (), 0)
    assert empty.epsilon(DELTA).epsilon == 0
    assert empty.history(DELTA).shape == (0,)
    standing = empty.standing(budget_of(3.0))
    assert (standing.committed, standing.rooms, standing.spent) == (None, (), Spent())


def test_many_rounds_add_up() -> None:
    release = release_of(policy_of(sigma=300.0), policy_of(sigma=300.0).question("grad"), 5)
    data = write_charge(Charge(study="s", kind="grad", release=release))
    account = Ledger(entry(0, charge=data, round_number=n) for n in range(3000)).account("default")
    history = account.history(DELTA)
    assert history.shape == (3000,)
    assert np.all(np.diff(history) > 0)
    assert history[-1] == pytest.approx(account.epsilon(DELTA).epsilon, rel=1e-9)
    assert spent_by(account.charges, 8.0).divergence == pytest.approx(
        3000 * Spent().after(release, 8.0).divergence, rel=1e-12
    )
