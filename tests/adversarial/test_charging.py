# SPDX-License-Identifier: Apache-2.0

"""Privacy is paid for before anything is drawn, once a round, for good, and by nobody but the site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, make_policy, question
from sordino.errors import (
    BudgetExceeded,
    PolicyError,
    PolicyRefused,
    RequestRefused,
    RoundAborted,
    StateError,
)
from sordino.files.journal import FileJournal
from sordino.protocol import wire
from sordino.protocol.journal import CHARGE, PLAIN
from sordino.protocol.noise import Noise
from sordino.protocol.policy import Policy, Question

ASKED = "site02"
NOISE = Noise(unit="patient", sensitivity=10**6 + 1, sigma=1000.0, tail=50_000)


class Purse:
    """A guard that lets each data set be asked so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked: list[tuple[str, int, int]] = []

    def check(self, policy: Policy) -> None:
        if policy.study == "unwelcome":
            raise PolicyRefused("not this study")

    def price(
        self,
        policy: Policy,  # noqa: ARG002 (the port's)
        question: Question,
        participants: int,
        spent: Mapping[bytes, int],
    ) -> bytes:
        total = sum(spent.values())
        self.asked.append((question.kind, participants, total))
        if total >= self.times:
            raise BudgetExceeded(f"{total} of {self.times} are spent")
        return question.kind.encode()


def noisy(kind: str = "sum", **terms: object) -> Question:
    return question(kind=kind, saturate=True, noise=NOISE, **terms)


def noisy_policy(**terms: object) -> Policy:
    terms.setdefault("plan", [noisy()])
    return make_policy(across_rounds="noise", **terms)


def begun(times: int = 10, **terms: object) -> Study:
    return Study(noisy_policy(**terms), guard=Purse(times)).set_up()


def charges(study: Study, name: str = ASKED) -> Mapping[bytes, int]:
    with study.journals[name].open() as book:
        return dict(book.index.asked(study.dataset).charges)


def test_every_upload_is_paid_for_once() -> None:
    study = begun()
    for count in range(1, 4):
        study.check_sum(study.round())
        assert charges(study) == {b"sum": count}


def test_what_was_asked_before_is_known_to_the_guard_across_sessions() -> None:
    study = begun()
    study.round()
    again = Study(noisy_policy(), guard=Purse(1), shared=study)
    again.set_up()
    with pytest.raises(RoundAborted):
        again.round()
    assert charges(again) == {b"sum": 1}


def test_a_budget_that_is_spent_stops_the_round_and_not_the_study() -> None:
    study = begun(times=1)
    study.round()
    with pytest.raises(RoundAborted):
        study.round()
    assert charges(study) == {b"sum": 1}
    reasons = {fault.reason for fault in study.coordinator.faults}
    assert any("budget of this site's data does not allow this round" in reason for reason in reasons)
    study._guard.times = 2
    study.check_sum(study.round())


def test_a_site_that_pays_and_dies_does_not_get_it_back(tmp_path: Path) -> None:
    study = Study(
        noisy_policy(), guard=Purse(10), journals=lambda name: FileJournal(tmp_path / name)
    ).set_up()
    before = study.saved(ASKED)
    study.to("upload")
    request = study.requests()[ASKED]
    study.sites[ASKED].begin(request.data)
    study.restore(ASKED, before)  # the process died before its state was saved
    with pytest.raises(RequestRefused, match="round 1 is not after round 1"):
        study.deliver(ASKED, request.data)
    assert charges(study) == {b"sum": 1}
    assert study.round().dropped == (ASKED,)
    assert study.round().survivors == study.names
    assert charges(study) == {b"sum": 2}


def test_a_round_is_drawn_for_once_and_its_answer_repeated() -> None:
    study = begun().to("upload")
    request = study.requests()[ASKED]
    site = study.sites[ASKED]
    site.begin(request.data)
    with study.nothing_changes(), pytest.raises(RequestRefused, match="was begun here before"):
        study.deliver(ASKED, request.data)
    reply = site.upload(request.data, b"", study.vectors[ASKED].copy())
    assert site.upload(request.data, b"", study.vectors[ASKED].copy()) == reply
    site.begin(request.data)
    assert charges(study) == {b"sum": 1}


def test_another_request_for_a_round_that_is_paid_for_is_refused() -> None:
    study = begun().to("upload")
    study.sites[ASKED].begin(study.requests()[ASKED].data)
    other = study.upload_request(round=1, participants=study.names[1:])
    with study.nothing_changes(), pytest.raises(RequestRefused, match="round 1 is not after round 1"):
        study.deliver(ASKED, other)


def test_nothing_is_uploaded_that_was_not_paid_for() -> None:
    study = begun().to("upload")
    request = study.requests()[ASKED]
    with pytest.raises(StateError, match="not paid for"):
        study.sites[ASKED].upload(request.data, b"", study.vectors[ASKED].copy())
    assert charges(study) == {}


def test_to_begin_a_round_ends_the_one_before() -> None:
    study = begun().to("confirm")
    confirm = study.requests()[ASKED]
    first = study.deliver(ASKED, confirm.data)
    site = study.sites[ASKED]
    site.begin(wire.to_bytes(study.upload_request(round=2)))
    assert site.state is not None
    assert site.state.open is None
    assert site.step == "ready"
    with pytest.raises(RequestRefused):
        study.deliver(ASKED, confirm.data)
    # Nor does a state from before open it again: it is older than the journal.
    assert first.data
    assert charges(study) == {b"sum": 2}


def test_a_state_from_before_the_charge_reveals_nothing_of_the_round_that_it_ended() -> None:
    study = begun().to("unmask")
    unmask = study.requests()[ASKED]
    before = study.saved(ASKED)
    study.sites[ASKED].begin(wire.to_bytes(study.upload_request(round=2)))
    study.restore(ASKED, before)
    with pytest.raises(StateError, match="older than the journal"):
        study.deliver(ASKED, unmask.data)


def test_a_policy_with_noise_needs_a_guard_and_the_guard_has_a_say() -> None:
    with pytest.raises(RoundAborted):
        Study(noisy_policy()).set_up()
    unwelcome = replace(noisy_policy(), study="unwelcome")
    with pytest.raises(RoundAborted):
        Study(unwelcome, guard=Purse(9)).set_up()
    # The guard is asked about policies without noise too: a budget may forbid them.
    with pytest.raises(RoundAborted):
        Study(replace(make_policy(), study="unwelcome"), guard=Purse(9)).set_up()


def test_noise_neither_freezes_data_nor_minds_that_it_is_frozen() -> None:
    frozen = Study(make_policy(across_rounds="freeze")).set_up()
    frozen.round()
    study = Study(noisy_policy(), guard=Purse(10), shared=frozen).set_up()
    study.check_sum(study.round(lose={"site01": "upload"}))
    study.check_sum(study.round())
    again = Study(make_policy(across_rounds="freeze"), shared=study).set_up()
    again.check_sum(again.round())


def test_all_questions_have_noise_or_none() -> None:
    with pytest.raises(PolicyError, match="it must be 'noise' where all have it"):
        noisy_policy(plan=[noisy(), question(kind="plain")])
    with pytest.raises(PolicyError, match="it must be 'noise' where all have it"):
        make_policy(across_rounds="accept", plan=[noisy()])
    with pytest.raises(PolicyError, match="it must be 'noise' where all have it"):
        make_policy(across_rounds="noise")
    with pytest.raises(PolicyError, match="values must saturate with noise"):
        noisy_policy(plan=[question(noise=NOISE)])


def test_the_lanes_have_room_for_the_noise() -> None:
    policy, tail = noisy_policy(), NOISE.tail
    peak = policy.plan[0].peak
    assert 2 ** (policy.bits - 2) <= 6 * peak + tail < 2 ** (policy.bits - 1)
    with pytest.raises(PolicyError, match="cannot hold the sum"):
        replace(policy, bits=policy.bits - 1)


def test_a_charge_is_an_entry_of_the_journal_like_any_other() -> None:
    study = begun().to("upload")
    study.sites[ASKED].begin(study.requests()[ASKED].data)
    with study.journals[ASKED].open() as book:
        last = book.index.session(study.coordinator._state.session_id).last
    assert last is not None
    assert (last.action, last.charge, last.round, last.terms) == (CHARGE, b"sum", 1, None)


def test_uploads_without_noise_are_counted_where_budgets_look() -> None:
    plain = Study(make_policy(across_rounds="freeze")).set_up()
    for count in range(1, 3):
        plain.round()
        assert charges(plain) == {PLAIN: count}
