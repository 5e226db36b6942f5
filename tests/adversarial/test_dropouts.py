# SPDX-License-Identifier: Apache-2.0

"""Sites that vanish at any step: the sum over the survivors is exact, or there is none."""

from __future__ import annotations

from itertools import combinations

import pytest

from adversarial.toolkit import STEPS, Study, make_policy, random_lanes, ready
from sordino.errors import RequestRefused, RoundAborted, StateError
from sordino.protocol import messages as m
from sordino.protocol.commitment import chain_end
from sordino.protocol.exchange import finish_round
from sordino.protocol.policy import Policy

SET_UP, ROUND = STEPS[:3], STEPS[3:6]
NEIGHBOURS = ("site02", "site03")


def policies() -> list[Policy]:
    return [make_policy(), make_policy(consistency=False, threshold=2), make_policy(chain=True)]


@pytest.mark.parametrize("step", SET_UP)
@pytest.mark.parametrize("lost", [("site00",), ("site05",), NEIGHBOURS])
def test_sites_lost_during_set_up_are_left_out_of_the_round(step: str, lost: tuple[str, ...]) -> None:
    study = Study().set_up(lose=dict.fromkeys(lost, step))
    result = study.round()
    assert result.participants == tuple(name for name in study.names if name not in lost)
    assert result.survivors == result.participants


@pytest.mark.parametrize("step", SET_UP)
def test_too_many_lost_during_set_up_abort_it(step: str) -> None:
    study = Study()
    with pytest.raises(RoundAborted):
        study.set_up(lose=dict.fromkeys(("site00", "site02", "site03"), step))
    assert study.coordinator.phase == step
    # Nothing was lost: those that were away may still come.
    assert study.round().survivors == study.names


@pytest.mark.parametrize("step", ROUND)
@pytest.mark.parametrize(
    "lost", [("site00",), ("site03",), ("site05",), NEIGHBOURS, ("site00", "site05")], ids="+".join
)
@pytest.mark.parametrize("policy", policies(), ids=["malicious", "semi-honest", "chain"])
def test_the_sum_over_the_survivors_is_exact(policy: Policy, step: str, lost: tuple[str, ...]) -> None:
    study = ready(policy)
    random_lanes(study, seed=1)
    result = study.round(lose=dict.fromkeys(lost, step))
    if step == "upload":
        assert (result.dropped, result.vanished) == (lost, ())
    elif policy.consistency or step == "unmask":
        assert (result.dropped, result.survivors, result.vanished) == ((), study.names, lost)
    assert study.round().survivors == study.names


@pytest.mark.parametrize("first", ["upload", "confirm", "unmask"])
@pytest.mark.parametrize("second", ["confirm", "unmask"])
def test_dropouts_at_two_steps_of_one_round_are_exact(first: str, second: str) -> None:
    study = ready()
    result = study.round(lose={"site01": first, "site04": second})
    assert result.vanished == (("site04",) if first == "upload" else ("site01", "site04"))


@pytest.mark.parametrize("step", ROUND)
def test_one_more_dropout_than_tolerated_reveals_nothing_and_the_next_round_works(step: str) -> None:
    study = ready()
    study.to("upload")
    sent = len(study.log)
    with pytest.raises(RoundAborted):
        study.round(lose=dict.fromkeys(("site00", *NEIGHBOURS), step))
    kinds = {type(message) for message in study.answers(sent)}
    allowed = {
        "upload": {m.Upload},
        "confirm": {m.Upload, m.Confirmation},
        "unmask": {m.Upload, m.Confirmation, m.Unmasking, m.Recovery},
    }
    assert kinds == allowed[step]
    with pytest.raises(StateError, match="no sum"):
        _ = study.coordinator.result
    assert study.round().survivors == study.names


def test_after_an_abort_no_statement_of_that_round_is_accepted_any_more() -> None:
    study = ready()
    with pytest.raises(RoundAborted):
        study.round(lose=dict.fromkeys(("site00", *NEIGHBOURS), "confirm"))
    certificate = study.certificate(study.statement())
    study.to("confirm")
    with study.nothing_changes(), pytest.raises(RequestRefused, match="round"):
        study.deliver("site01", m.UnmaskRequest(certificate))


def test_participants_as_few_as_the_threshold_make_a_sum_but_tolerate_no_dropout() -> None:
    study = ready()
    four = study.names[:4]
    assert study.round(participants=four).survivors == four
    for step in ROUND:
        with pytest.raises(RoundAborted):
            study.round(participants=four, lose={"site01": step})
    assert study.round(participants=four).survivors == four


def test_a_site_that_missed_rounds_2_to_4_joins_in_5() -> None:
    study = ready()
    assert study.round().survivors == study.names
    for _ in (2, 3, 4):
        assert (
            "site03" not in study.round(participants=[n for n in study.names if n != "site03"]).participants
        )
    result = study.round()
    assert (result.round, result.survivors, result.dropped) == (5, study.names, ())


def test_sites_that_missed_different_rounds_are_in_step_again() -> None:
    study = ready()
    for lost in combinations(study.names, 2):
        study.round(participants=[name for name in study.names if name not in lost])
    assert study.round().survivors == study.names


def test_a_late_receipt_lets_the_site_take_part_in_the_next_round() -> None:
    study = Study().to("receipt")
    late = study.ask(study.requests()["site02"])
    study.phase(lose=["site02"])
    assert study.round().participants == tuple(name for name in study.names if name != "site02")
    study.coordinator.receive("site02", late.data)
    assert study.round().survivors == study.names


def test_a_late_receipt_during_an_open_round_changes_nothing_in_it() -> None:
    study = Study().to("receipt")
    late = study.ask(study.requests()["site02"])
    study.phase(lose=["site02"])
    study.to("confirm")
    study.coordinator.receive("site02", late.data)
    result = study.round()
    assert "site02" not in result.participants
    assert study.round().survivors == study.names


def test_a_survivor_that_unmasks_late_is_not_recovered_against_its_will() -> None:
    study = ready().to("unmask")
    late = study.requests()["site04"]
    study.phase(lose=["site04"])
    assert study.coordinator.phase == "recover"
    reply = study.ask(late)
    study.coordinator.receive("site04", reply.data)
    # Nobody answers with a share, and still the sum is there.
    study.phase(lose=study.names)
    study.check_sum(study.coordinator.result)


def test_two_sites_that_vanish_one_after_the_other_during_recover() -> None:
    study = ready().to("unmask")
    study.phase(lose=["site00"])
    assert study.coordinator.phase == "recover"
    # site01 unmasked, then vanishes before it gives its share of site00.
    result = study.round(lose={"site01": "recover"})
    assert (result.vanished, result.survivors) == (("site00",), study.names)


def test_recover_with_fewer_than_t_responders_aborts_and_the_next_round_works() -> None:
    study = ready().to("unmask")
    study.phase(lose=["site00"])
    with pytest.raises(RoundAborted, match="3 sites gave shares of 'site00', 4 are needed"):
        study.phase(lose=["site01", "site02"])
    assert study.round().survivors == study.names


def test_shares_that_come_before_the_abort_may_come_in_several_tries() -> None:
    study = ready().to("unmask")
    study.phase(lose=["site00"])
    for request in study.coordinator.requests()[:2]:
        study.coordinator.receive(request.site, study.ask(request).data)
    study.restart_all()
    waiting = {request.site for request in study.coordinator.requests()}
    assert waiting == {"site03", "site04", "site05"}
    study.check_sum(finish_round(study.coordinator, study.ask))


def test_the_links_of_the_chain_are_those_after_the_certified_dropouts() -> None:
    study = ready(make_policy(chain=True))
    for lost in [{}, {"site01": "upload"}, {"site01": "upload", "site02": "unmask"}]:
        result = study.round(lose=lost)
        expected = {name: chain_end(study.links[name], len(result.dropped)) for name in result.survivors}
        assert result.links == expected
    result = study.round(lose={"site01": "upload", "site02": "upload"})
    assert result.links == {}, "no component is surplus when T sites dropped"


def test_a_refusal_counts_as_a_dropout_with_its_reason_among_the_faults() -> None:
    study = ready()
    study.to("upload")
    study.restore("site02", None)
    result = study.round()
    assert result.dropped == ("site02",)
    assert any(fault.peers == ("site02",) and "refused" in fault.reason for fault in result.faults)
