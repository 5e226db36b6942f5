# SPDX-License-Identifier: Apache-2.0

"""Processes that come and go between any two messages, and coordinators that restarted from an older save."""

from __future__ import annotations

import pytest

from adversarial.toolkit import (
    STEPS,
    Study,
    identity,
    make_policy,
    random_lanes,
    read,
    ready,
    roster_of,
    site_names,
)
from sordino.errors import MalformedMessage, PeerError, RoundAborted, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator
from sordino.protocol.policy import Policy

POLICIES = [
    make_policy(),
    make_policy(consistency=False, threshold=2),
    make_policy(chain=True),
    make_policy(across_rounds="freeze"),
]
IDS = ["malicious", "semi-honest", "chain", "freeze"]


# Everybody saves and comes back between every two messages ----------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
@pytest.mark.parametrize("lost", [{}, {"site01": "upload", "site04": "unmask"}], ids=["all", "two lost"])
def test_saving_and_loading_between_every_two_messages_gives_the_same_result(
    policy: Policy, lost: dict[str, str]
) -> None:
    study = Study(policy)
    random_lanes(study, seed=5)
    while True:
        if study.coordinator.phase == "ready":
            study.coordinator.open_round("sum")
        now = STEPS.index(study.coordinator.phase)
        for request in study.coordinator.requests():
            if STEPS.index(lost.get(request.site, "recover")) <= now and request.site in lost:
                continue
            reply = study.ask(request)
            study.restart_all()
            study.coordinator.receive(request.site, reply.data, reply.payload)
            study.restart_all()
        if study.coordinator.proceed() == "done":
            break
        study.restart_all()
    result = study.coordinator.result
    study.check_sum(result)
    assert result.survivors == tuple(n for n in study.names if lost.get(n) != "upload")


def test_a_coordinator_save_that_is_damaged_or_of_another_version_is_refused() -> None:
    study = ready().to("unmask")
    study.ask(study.coordinator.requests()[0])
    saved = study.coordinator.save()
    wrong = [b"", b"\x02" + saved[1:], saved[:-1], saved[:100], saved + b"\0", b"\x03\xc1"]
    wrong.append(b"\x02" + b"\x91" * 10_000)
    wrong.append(saved.replace(b"site01", b"site\xff1", 1))
    for data in wrong:
        with pytest.raises(StateError):
            Coordinator.load(study.roster, data)


def test_a_coordinator_save_of_another_roster_is_refused() -> None:
    saved = ready().coordinator.save()
    for other in (site_names(7), (*site_names(5), "stranger")):
        with pytest.raises(StateError, match="another roster"):
            Coordinator.load(roster_of(other), saved)


def test_a_coordinator_without_a_sum_says_so() -> None:
    study = ready()
    study.round()
    study.coordinator = Coordinator.load(study.roster, study.coordinator.save())
    with pytest.raises(StateError, match="no sum"):
        _ = study.coordinator.result
    assert study.round().round == 2


# The coordinator's save is older than what it did -------------------------------------------------------


PHASES = ("advertise", "seal", "receipt", "upload", "confirm", "unmask", "recover")


@pytest.mark.parametrize("phase", PHASES)
def test_a_coordinator_that_lost_one_phase_asks_it_again_and_gets_the_same(phase: str) -> None:
    study = Study()
    random_lanes(study, seed=6)
    lost = {"site04": "unmask"}
    study.to(phase, lose=lost)
    saved = study.coordinator.save()
    study.phase(lose=["site04"] if phase in ("unmask", "recover") else [])
    study.coordinator = Coordinator.load(study.roster, saved)
    assert study.coordinator.phase == phase
    result = study.round(lose=lost)
    assert (result.survivors, result.vanished) == (study.names, ("site04",))


@pytest.mark.parametrize(
    ("policy", "phase"),
    [
        pytest.param(policy, phase, id=f"{name}-{phase}")
        for policy, name in zip(POLICIES, IDS, strict=True)
        for phase in ("upload", "confirm", "unmask", "recover")
        if policy.consistency or phase != "confirm"
    ],
)
def test_a_coordinator_that_lost_whole_rounds_finds_its_place_from_the_refusals(
    policy: Policy, phase: str
) -> None:
    study = ready(policy)
    random_lanes(study, seed=7)
    study.to(phase, lose={"site04": "unmask"})
    saved = study.coordinator.save()
    study.round(lose={"site04": "unmask"})
    for _ in range(3):
        study.round()
    study.coordinator = Coordinator.load(study.roster, saved)
    with pytest.raises(RoundAborted):
        study.round()
    assert study.coordinator.round == 4
    result = study.round()
    assert (result.round, result.survivors) == (5, study.names)


def test_a_coordinator_saved_before_the_first_round_finds_its_place() -> None:
    study = ready()
    saved = study.coordinator.save()
    for _ in range(3):
        study.round()
    study.coordinator = Coordinator.load(study.roster, saved)
    with pytest.raises(RoundAborted):
        study.round()
    assert study.round().round == 4


@pytest.mark.parametrize("phase", ["advertise", "seal", "receipt"])
def test_a_coordinator_saved_during_set_up_needs_a_new_session_once_rounds_were_made(phase: str) -> None:
    study = Study().to(phase)
    saved = study.coordinator.save()
    study.round()
    old = Coordinator.load(study.roster, saved)
    study.coordinator = old
    with pytest.raises(RoundAborted):
        study.set_up()
    again = Study(study.policy, shared=study)
    assert again.round().survivors == study.names


def test_a_coordinator_that_lost_everything_starts_a_new_session() -> None:
    study = Study()
    study.round()
    again = Study(study.policy, shared=study)
    assert again.round().survivors == again.names


# Liars among those that say where they stand ------------------------------------------------------------


def refusal(study: Study, site: str, **changes: object) -> m.Refusal:
    return m.Refusal(
        **{
            "site": site,
            "session": study.session,
            "round": 0,
            "step": "uploaded",
            "reason": "no",
            "peers": (),
            "statement": None,
            "signature": None,
            **changes,
        }
    )


def test_one_lying_site_that_claims_a_huge_round_does_not_burn_the_rounds() -> None:
    study = ready().to("upload")
    for number in (49, 50, 1_000_000):
        lie = refusal(study, "site03", round=number)
        study.coordinator.receive("site03", wire.to_bytes(lie))
        assert study.coordinator.round == 1
    assert study.round().round == 1
    assert study.round().round == 2


def test_more_than_c_sites_are_believed_up_to_the_smallest_of_their_claims() -> None:
    study = ready().to("upload")
    for site, number in (("site03", 49), ("site04", 7)):
        study.coordinator.receive(site, wire.to_bytes(refusal(study, site, round=number)))
    assert study.coordinator.round == 7


def test_a_place_in_another_session_is_not_believed() -> None:
    study = ready().to("upload")
    for site in study.names:
        lie = refusal(study, site, session=bytes(32), round=30)
        study.coordinator.receive(site, wire.to_bytes(lie))
    assert study.coordinator.round == 1


def test_the_places_of_sites_are_saved_with_the_coordinator() -> None:
    study = ready().to("upload")
    study.coordinator.receive("site03", wire.to_bytes(refusal(study, "site03", round=9)))
    study.coordinator = Coordinator.load(study.roster, study.coordinator.save())
    study.coordinator.receive("site04", wire.to_bytes(refusal(study, "site04", round=8)))
    assert study.coordinator.round == 8


def test_a_refusal_says_where_the_site_stands_and_what_it_signed() -> None:
    study = ready().to("unmask")
    statement = study.statement()
    with pytest.raises(PeerError) as caught:
        study.deliver("site02", study.upload_request(round=1, participants=study.names[1:]))
    told = read(study.sites["site02"].refusal(caught.value), m.Refusal)
    assert (told.session, told.round, told.step) == (study.session, 1, "confirmed")
    assert told.statement == statement
    assert told.signature == identity("site02").sign("statement", statement.digest)


def test_a_refusal_tells_nothing_of_what_went_wrong_at_the_site_itself() -> None:
    study = ready()
    told = read(study.sites["site02"].refusal(ValueError("patient 17 has no tumour volume")), m.Refusal)
    assert told.reason == "this site cannot take part"


def test_all_rounds_used_up_is_a_clear_end() -> None:
    study = ready(make_policy(rounds=1))
    study.round()
    with pytest.raises(RoundAborted, match="allows 1 rounds"):
        study.coordinator.open_round("sum")


def test_out_of_order_calls_of_the_coordinator_are_this_side_s_error() -> None:
    study = Study()
    with pytest.raises(StateError, match="set-up is not over"):
        study.coordinator.open_round("sum")
    study.set_up()
    with pytest.raises(StateError, match="nothing to proceed from"):
        study.coordinator.proceed()
    with pytest.raises(MalformedMessage):
        study.coordinator.receive("site01", b"")
    assert study.coordinator.requests() == []
    with pytest.raises(RoundAborted, match="can take part"):
        study.coordinator.open_round("sum", participants=study.names[:3])
    with pytest.raises(RoundAborted, match="stranger"):
        study.coordinator.open_round("sum", participants=[*study.names[:4], "stranger"])
