# SPDX-License-Identifier: Apache-2.0

"""Who is named for what, and that naming costs little: time, memory and honest sites."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from adversarial.toolkit import (
    Alter,
    Study,
    altered,
    identity,
    make_policy,
    question,
    read,
    ready,
    site_names,
)
from sordino.errors import BadSignature, MalformedMessage, PeerError, RequestRefused, RoundAborted
from sordino.protocol import coordinator as coordinator_module
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import MAX_FAULTS, Coordinator, Fault, Request
from sordino.protocol.graph import smallest_cover
from sordino.protocol.groups import thin_group
from sordino.protocol.journal import Reply
from sordino.protocol.keys import SEALED_PAIR_BYTES
from sordino.protocol.policy import Block, Policy, Question

LIAR = "site06"


def seven(**terms: object) -> Policy:
    return make_policy(7, colluders=1, **terms)


def refusal(study: Study, reason: str, *peers: str, **changes: object) -> bytes:
    message = m.Refusal(
        site=LIAR,
        session=study.session,
        round=0,
        step="ready",
        reason=reason,
        peers=peers,
        statement=None,
        signature=None,
    )
    return wire.to_bytes(replace(message, **changes))


# Time -----------------------------------------------------------------------------------------------------


def membership(sites: int, groups: int) -> dict[str, tuple[str, ...]]:
    """Each site has each group with a chance of one half."""
    generator = random.Random(groups)
    names = [f"g{place:02}" for place in range(groups)]
    return {
        f"site{place:02}": tuple(name for name in names if generator.random() < 0.5) for place in range(sites)
    }


@pytest.mark.parametrize(("sites", "groups", "minimum"), [(20, 5, 2), (20, 5, 3), (20, 7, 3), (31, 5, 5)])
def test_lane_groups_are_checked_in_little_time(sites: int, groups: int, minimum: int) -> None:
    declared = membership(sites, groups)
    started = time.process_time()
    thin_group([f"g{place:02}" for place in range(groups)], declared, list(declared), minimum)
    assert time.process_time() - started < 2


def test_a_statement_is_checked_only_once_its_signature_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each refusal with a forged statement would cost the coordinator the whole check."""
    study = ready(seven()).to("confirm")
    statement = study.statement()
    checked = []
    monkeypatch.setattr(coordinator_module, "check_statement", lambda *_: checked.append(1))
    forged = refusal(study, "signed before", statement=statement, signature=bytes(64))
    with pytest.raises(BadSignature):
        study.coordinator.receive(LIAR, forged)
    assert not checked
    signature = identity(LIAR).sign("statement", statement.digest)
    study.coordinator.receive(LIAR, refusal(study, "signed", statement=statement, signature=signature))
    assert checked == [1]


# Set-up ---------------------------------------------------------------------------------------------------


def sealed_by(study: Study, sender: str, receivers: Sequence[str]) -> bytes:
    session = study.coordinator._state.session
    sealed = bytes(SEALED_PAIR_BYTES)
    boxes = tuple(
        m.SealedPair(
            sender,
            receiver,
            sealed,
            identity(sender).sign("sealed pair", session, sender, receiver, sealed),
        )
        for receiver in receivers
    )
    return wire.to_bytes(m.SealedPairs(session, sender, boxes))


def test_pairs_sealed_by_a_site_that_never_advertised_are_refused() -> None:
    """It may know the session from a colluder; its boxes would make every later site refuse all boxes."""
    study = Study(seven()).to("seal", lose={"site00": "advertise"})
    with pytest.raises(MalformedMessage, match="without an advertisement") as caught:
        study.coordinator.receive("site00", sealed_by(study, "site00", study.names[1:]))
    assert caught.value.peers == ("site00",)
    assert study.set_up(lose={"site00": "advertise"}).coordinator.able() == study.names[1:]
    assert study.round().survivors == study.names[1:]


def test_a_refused_box_names_its_sender() -> None:
    study = Study(seven()).to("receipt", lose={"site00": "advertise"})
    boxes = read(study.requests()["site03"].data, m.Boxes)
    session = boxes.session
    for sender in ("site00", "site04"):
        signature = identity(sender).sign("sealed pair", session, sender, "site03", bytes(SEALED_PAIR_BYTES))
        stray = m.SealedPair(sender, "site03", bytes(SEALED_PAIR_BYTES), signature)
        with study.nothing_changes("site03"), pytest.raises(RequestRefused, match="none to seal") as caught:
            study.deliver("site03", replace(boxes, boxes=(*boxes.boxes, stray)))
        assert caught.value.peers == (sender,)
        assert read(study.log[-1].reply.data, m.Refusal).peers == (sender,)


@pytest.mark.parametrize("across_rounds", ["accept", "freeze"])
def test_a_one_sided_receipt_is_a_fault_of_both(across_rounds: str) -> None:
    """Nobody can tell whether site00 sealed nothing, or the liar says so."""

    def forget(request: Request, reply: Reply) -> Reply:
        message = wire.read_at_coordinator(reply.data, 7)
        if request.site != LIAR or not isinstance(message, m.Receipt):
            return reply
        peers = message.peers[1:]
        signature = identity(LIAR).sign("receipt", message.session, LIAR, peers)
        return Reply(wire.to_bytes(replace(message, peers=peers, signature=signature)))

    study = Study(seven(across_rounds=across_rounds)).set_up(alter=forget)
    (fault,) = study.coordinator.faults
    assert set(fault.peers) == {"site00", LIAR}
    assert "does not hold the pair" in fault.reason
    assert len(study.coordinator.able()) == 6
    assert len(study.round().survivors) == 6


def test_receipts_that_agree_are_no_fault() -> None:
    study = Study(seven()).set_up(lose={"site03": "receipt"})
    assert study.coordinator.faults == ()
    study = Study(seven()).set_up(lose={"site03": "seal"})
    assert study.coordinator.faults == ()


def test_of_covers_of_one_size_the_one_with_more_blame_is_taken() -> None:
    pairs = [("a", "b"), ("c", "d")]
    assert smallest_cover(pairs) == {"a", "c"}
    assert smallest_cover(pairs, {"b": 1}) == {"b", "c"}
    assert smallest_cover(pairs, {"b": 1, "d": 2}) == {"b", "d"}
    assert smallest_cover(pairs, {"b": 1, "a": 1, "d": 9, "c": 10}) == {"a", "c"}


def test_blame_never_makes_a_cover_larger() -> None:
    star = [("hub", leaf) for leaf in ("a", "b", "c")]
    assert smallest_cover(star, {"a": 100, "b": 100, "c": 100}) == {"hub"}


def spoiling(victim: str) -> Alter:
    """The liar commits to another mask than the one that it shares with the victim."""

    def spoil(upload: m.Upload) -> m.Upload:
        peers = [name for name in site_names(7) if name != LIAR]
        commitments = list(upload.summary.pair_commitments)
        commitments[peers.index(victim)] = bytes(32)
        summary = replace(upload.summary, pair_commitments=tuple(commitments))
        return replace(upload, summary=summary, signature=identity(LIAR).sign("upload", summary.digest))

    return lambda request, reply: altered(reply, m.Upload, spoil) if request.site == LIAR else reply


def test_a_liar_that_spoils_another_mask_each_round_is_soon_the_one_left_out() -> None:
    """After the first round only the liar was part of a bad pair before."""
    study = ready(seven())
    left_out = []
    for victim in ("site00", "site01", "site02", "site03"):
        study.coordinator.open_round("sum")
        study.to("confirm", alter=spoiling(victim))
        left_out.append(set(study.names) - set(study.coordinator._statement().names))
    assert left_out == [{"site00"}, {LIAR}, {LIAR}, {LIAR}]


def test_a_liar_that_spoils_one_mask_and_cannot_open_it_is_left_out_the_next_round() -> None:
    study = ready(seven())
    with pytest.raises(RoundAborted) as caught:
        study.round(alter=spoiling("site00"))
    assert caught.value.peers == (LIAR,)
    assert study.round(alter=spoiling("site00")).dropped == (LIAR,)


# Lane groups ----------------------------------------------------------------------------------------------


def with_group(**terms: object) -> Policy:
    plan = [question(), Question("scans", (Block("ct", 2, 4.0, 4, "ct"),))]
    return seven(plan=plan, **terms)


def lone(*places: int) -> Mapping[str, tuple[str, ...]]:
    return {f"site{place:02}": ("ct",) for place in places}


@pytest.mark.parametrize("across_rounds", ["accept", "freeze"])
@pytest.mark.parametrize("places", [(6,), (0, 6)])
def test_too_few_declarers_of_a_lane_group_are_named_and_can_be_left_out(
    places: tuple[int, ...], across_rounds: str
) -> None:
    study = ready(with_group(across_rounds=across_rounds), groups=lone(*places))
    declarers = tuple(f"site{place:02}" for place in places)
    before = study.coordinator.save()
    with pytest.raises(RoundAborted, match="lane group 'ct'") as caught:
        study.coordinator.open_round("sum")
    assert caught.value.peers == declarers
    assert study.coordinator.save() == before, "no round was used up and nothing is frozen"
    rest = tuple(name for name in study.names if name not in declarers)
    assert study.round(participants=rest).survivors == rest


def test_a_lone_declarer_wastes_no_sites_work() -> None:
    study = ready(with_group(), groups=lone(6))
    with study.nothing_changes():
        for _ in range(3):
            with pytest.raises(RoundAborted):
                study.round()
    assert study.coordinator.round == 0


# Memory ---------------------------------------------------------------------------------------------------


def test_the_faults_of_one_site_are_bounded() -> None:
    study = ready(seven())
    for count in range(MAX_FAULTS + 20):
        study.coordinator.receive(LIAR, refusal(study, f"{count:06}" + "x" * 1000))
    assert len(study.coordinator.faults) == MAX_FAULTS
    assert all(fault.peers == (LIAR,) for fault in study.coordinator.faults)
    assert len(study.coordinator.save()) < 2**20
    for count in range(20):
        with pytest.raises(PeerError):
            study.coordinator.receive(LIAR, bytes([1, count]))
    assert len(study.coordinator.faults) == MAX_FAULTS
    assert study.round().survivors == study.names


def test_one_sites_faults_leave_room_for_those_of_others() -> None:
    study = ready(seven())
    for count in range(MAX_FAULTS + 1):
        study.coordinator.receive(LIAR, refusal(study, str(count)))
    other = m.Refusal("site03", study.session, 0, "ready", "no", (), None, None)
    study.coordinator.receive("site03", wire.to_bytes(other))
    assert study.coordinator.faults[-1] == Fault(("site03",), "site 'site03' refused: no")


def test_a_fault_told_twice_is_kept_once() -> None:
    study = ready(seven())
    for _ in range(3):
        study.coordinator.receive(LIAR, refusal(study, "no"))
    assert len(study.coordinator.faults) == 1


def test_peers_outside_the_roster_are_dropped_from_faults() -> None:
    study = ready(seven())
    strangers = [f"stranger{place}" for place in range(4000)]
    study.coordinator.receive(LIAR, refusal(study, "no", "site03", *strangers, "site03"))
    assert study.coordinator.faults == (Fault((LIAR, "site03"), f"site {LIAR!r} refused: no"),)
    assert len(Coordinator.load(study.roster, study.coordinator.save()).faults) == 1


def test_control_characters_of_a_refusal_reach_no_terminal() -> None:
    study = ready(seven())
    study.coordinator.receive(LIAR, refusal(study, "\x1b[2Jsite\x00 \u202e'site01'\r\n\x9b31m lied\u2028"))
    (fault,) = study.coordinator.faults
    assert fault.reason == f"site {LIAR!r} refused: [2Jsite 'site01'31m lied"
    assert fault.reason.isprintable()
