# SPDX-License-Identifier: Apache-2.0

"""Driving a coordinator: each phase asks whom it must, once, and a wrong answer is a vanished site."""

from __future__ import annotations

from collections import Counter

import pytest

from adversarial.toolkit import Study, make_policy
from sordino.errors import PeerError, RoundAborted
from sordino.protocol.coordinator import Request
from sordino.protocol.exchange import finish_round, run_phase, set_up
from sordino.protocol.journal import Reply


def test_set_up_and_round_ask_each_site_once_a_phase() -> None:
    study = Study()
    asked: Counter[tuple[str, str]] = Counter()

    def ask(request: Request) -> Reply:
        asked[study.coordinator.phase, request.site] += 1
        return study.ask(request)

    set_up(study.coordinator, ask)
    assert study.coordinator.phase == "ready"
    study.coordinator.open_round("sum")
    study.check_sum(finish_round(study.coordinator, ask))
    phases = ("advertise", "seal", "receipt", "upload", "confirm", "unmask")
    assert asked == Counter({(phase, name): 1 for phase in phases for name in study.names})


def test_a_wrong_answer_counts_as_none_and_is_among_the_faults() -> None:
    study = Study().set_up()
    study.coordinator.open_round("sum")

    def ask(request: Request) -> Reply | None:
        return Reply(b"rubbish") if request.site == "site02" else study.ask(request)

    assert run_phase(study.coordinator, ask) == "confirm"
    result = finish_round(study.coordinator, ask)
    assert result.dropped == ("site02",)
    assert {fault.peers for fault in result.faults} == {("site02",)}


def test_boxes_that_fail_are_sent_once_more_and_then_left_out() -> None:
    study = Study().to("receipt")
    complaints = 0

    def ask(request: Request) -> Reply:
        nonlocal complaints
        if request.site == "site03" and complaints < 2:
            complaints += 1
            return Reply(study.sites["site03"].refusal(PeerError("wrong box", peers=("site01",))))
        return study.ask(request)

    run_phase(study.coordinator, ask)
    assert complaints == 2
    held = study.sites["site03"].state.pairs
    assert "site01" not in held
    assert set(held) == set(study.names) - {"site01", "site03"}


def test_too_few_answers_abort_set_up_where_it_stands() -> None:
    study = Study(make_policy())
    with pytest.raises(RoundAborted):
        set_up(study.coordinator, lambda _: None)
    assert study.coordinator.phase == "advertise"
    set_up(study.coordinator, study.ask)
    assert study.coordinator.able() == study.names
