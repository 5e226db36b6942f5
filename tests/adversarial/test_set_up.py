# SPDX-License-Identifier: Apache-2.0

"""Lies during set-up: below the floor, under another name, from another session, into another's box."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from adversarial.toolkit import (
    FLOOR,
    Study,
    altered,
    identity,
    make_policy,
    question,
    read,
    ready,
    roster_of,
)
from sordino.errors import (
    BadSignature,
    MalformedMessage,
    PeerError,
    PolicyError,
    PolicyRefused,
    RequestRefused,
    RoundAborted,
    StateError,
)
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator, Request
from sordino.protocol.journal import MemoryJournal, Reply
from sordino.protocol.keys import BOX_KEY_BYTES, BoxKey, Roster, seal_pair
from sordino.protocol.policy import Floor, Policy
from sordino.protocol.secret import Secret
from sordino.protocol.site import Site
from sordino.protocol.transcript import pair_info

ZERO = bytes(64)


def flipped(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# Offers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("floor", "policy", "term"),
    [
        (replace(FLOOR, min_cohort=5), make_policy(), "min_cohort"),
        (replace(FLOOR, min_threshold=5), make_policy(), "threshold"),
        (replace(FLOOR, min_colluders=2), make_policy(), "colluders"),
        (replace(FLOOR, max_rounds=49), make_policy(), "rounds"),
        (replace(FLOOR, max_lanes=6), make_policy(), "lanes"),
        (replace(FLOOR, semi_honest=False), make_policy(consistency=False), "semi-honest"),
        (replace(FLOOR, across_rounds=("freeze",)), make_policy(), "across_rounds"),
        (replace(FLOOR, across_rounds=("accept",)), make_policy(across_rounds="freeze"), "across_rounds"),
        (replace(FLOOR, questions=("other",)), make_policy(), "questions"),
        (Floor(), make_policy(), "across_rounds"),
    ],
)
def test_a_policy_below_the_floor_is_refused_before_any_key_is_made(
    floor: Floor, policy: Policy, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(policy, floor=floor)
    monkeypatch.setattr("sordino.protocol.site.BoxKey", None)
    with study.nothing_changes(), pytest.raises(PolicyRefused, match=term):
        study.deliver("site01", study.requests()["site01"].data)
    assert study.sites["site01"].state is None


def test_a_policy_at_the_floor_is_accepted() -> None:
    floor = Floor(
        min_cohort=4,
        min_threshold=4,
        min_colluders=1,
        max_rounds=50,
        max_lanes=7,
        across_rounds=("accept",),
        questions=("sum",),
    )
    assert Study(make_policy(), floor=floor).set_up().coordinator.able() == Study().names


def test_every_term_below_the_floor_is_named() -> None:
    with pytest.raises(PolicyRefused) as caught:
        Floor(min_cohort=6, min_threshold=6, min_colluders=3, max_rounds=1, max_lanes=1).check(
            make_policy(consistency=False)
        )
    for term in ("min_cohort", "threshold", "colluders", "rounds", "lanes", "semi-honest", "across_rounds"):
        assert term in str(caught.value)


def offers(study: Study) -> dict[str, m.Offer]:
    offer = read(study.requests()["site01"].data, m.Offer)
    other = roster_of([*study.names[:-1], "stranger"])
    return {
        "another roster": replace(offer, roster=other.digest),
        "another number of sites": replace(offer, policy=make_policy(7)),
    }


@pytest.mark.parametrize("lie", ["another roster", "another number of sites"])
def test_an_offer_for_another_roster_is_refused(lie: str) -> None:
    study = Study()
    with study.nothing_changes(), pytest.raises(PolicyRefused, match="roster"):
        study.deliver("site01", offers(study)[lie])


def test_an_offer_for_data_of_another_schema_is_refused() -> None:
    study = Study(make_policy(schema=b"s" * 32))
    with study.nothing_changes(), pytest.raises(PolicyRefused, match="schema"):
        study.deliver("site01", study.requests()["site01"].data)


def test_a_second_offer_in_one_session_is_refused_and_the_first_is_answered_alike() -> None:
    study = Study()
    request = study.requests()["site01"]
    first = study.deliver("site01", request.data)
    assert study.deliver("site01", request.data) == first
    offer = read(request.data, m.Offer)
    for changed in (replace(offer, policy=make_policy(rounds=7)), replace(offer, session_id=bytes(32))):
        with study.nothing_changes(), pytest.raises(RequestRefused):
            study.deliver("site01", changed)


def test_an_offer_whose_session_the_journal_knows_needs_a_new_session() -> None:
    study = Study()
    offer = read(study.requests()["site01"].data, m.Offer)
    study.deliver("site01", offer)
    study.restore("site01", None)
    with study.nothing_changes(), pytest.raises(StateError, match="new session"):
        study.deliver("site01", replace(offer, policy=make_policy(rounds=7)))


# The roster ---------------------------------------------------------------------------------------------


def test_two_names_with_one_key_are_no_roster() -> None:
    key = identity("site00").public_key
    with pytest.raises(PolicyError, match="'site00' and 'site01' have one key"):
        Roster({"site00": key, "site01": key})


def test_a_site_does_not_start_on_a_roster_that_has_not_its_own_key() -> None:
    keys = {name: identity(name).public_key for name in Study().names}
    for wrong in ({**keys, "site00": identity("stranger").public_key}, {"site01": keys["site01"]}):
        with pytest.raises(PolicyError, match="its own key"):
            Site(identity("site00"), Roster(wrong), FLOOR, MemoryJournal())


def test_a_coordinator_needs_a_policy_for_its_roster() -> None:
    with pytest.raises(PolicyError, match="roster"):
        Coordinator(roster_of(Study().names), make_policy(7))


# Advertisements -----------------------------------------------------------------------------------------


def advertisement_of_another_session(study: Study, **terms: object) -> m.Advertisement:
    other = Study(make_policy(**terms), shared=study).to("seal")
    return other.replies(m.Advertisement)["site02"]


def forged(advertisement: m.Advertisement, signature: bytes) -> m.Advertisement:
    return replace(advertisement, signature=signature)


def advertisement_lies(study: Study) -> dict[str, m.Advertisement]:
    good = study.replies(m.Advertisement)
    mine, other = good["site02"], good["site03"]
    liar = identity("site03")
    stranger = identity("stranger")
    return {
        "missing signature": forged(mine, ZERO),
        "forged signature": forged(mine, liar.sign("advertisement", *mine.signed())),
        "replayed signature": forged(replace(mine, box_key=other.box_key), mine.signature),
        "altered signature": forged(mine, flipped(mine.signature)),
        "signed as something else": forged(mine, identity("site02").sign("receipt", *mine.signed())),
        "groups added": replace(mine, groups=("all", "ct")),
        "another session": advertisement_of_another_session(study),
        "another policy": advertisement_of_another_session(study, rounds=7),
        "unknown site": forged(
            replace(mine, site="stranger"),
            stranger.sign("advertisement", *replace(mine, site="stranger").signed()),
        ),
    }


LIES = list(advertisement_lies(Study().to("seal")))


@pytest.mark.parametrize("lie", LIES)
def test_a_site_refuses_a_wrong_advertisement_and_seals_nothing(lie: str) -> None:
    study = Study().to("seal")
    wrong = advertisement_lies(study)[lie]
    request = read(study.requests()["site01"].data, m.Advertisements)
    listed = [wrong if a.site == "site02" else a for a in request.advertisements]
    message = replace(request, advertisements=tuple(sorted(listed, key=lambda a: a.site)))
    with study.nothing_changes("site01"), pytest.raises(PeerError) as caught:
        study.deliver("site01", message)
    assert caught.value.peers == (wrong.site,)
    assert study.sites["site01"].state.pairs == {}
    # The honest list is still answered.
    study.set_up()
    assert study.coordinator.able() == study.names


@pytest.mark.parametrize("lie", LIES)
def test_the_coordinator_refuses_a_wrong_advertisement_and_names_the_site(lie: str) -> None:
    model = Study().to("seal")
    study = Study()
    # The same session at a coordinator that has not heard of site02 yet.
    study.coordinator = Coordinator.load(study.roster, model.coordinator.save())
    study.coordinator._state.phase = "advertise"
    del study.coordinator._state.advertisements["site02"]
    with pytest.raises(PeerError) as caught:
        study.coordinator.receive("site02", wire.to_bytes(advertisement_lies(model)[lie]))
    assert "site02" in caught.value.peers or lie == "unknown site"
    assert "site02" not in study.coordinator._state.advertisements
    assert study.coordinator.faults


def test_a_site_listed_twice_or_out_of_order_or_left_out_is_refused() -> None:
    study = Study().to("seal")
    request = read(study.requests()["site01"].data, m.Advertisements)
    listed = request.advertisements
    for wrong in (
        (*listed, listed[-1]),
        tuple(reversed(listed)),
        (listed[0], listed[0], *listed[1:]),
        tuple(a for a in listed if a.site != "site01"),
        listed[:3],
    ):
        with study.nothing_changes("site01"), pytest.raises(RequestRefused):
            study.deliver("site01", replace(request, advertisements=wrong))


def test_advertisements_shown_differently_give_sessions_that_do_not_meet() -> None:
    """A split view of set-up: the box keys are bound to the whole transcript."""
    study = Study().to("seal")
    request = read(study.requests()["site05"].data, m.Advertisements)
    fewer = replace(request, advertisements=tuple(a for a in request.advertisements if a.site != "site00"))
    study.deliver("site05", fewer)
    others = [name for name in study.names if name != "site05"]
    sealed = {}
    for name in others:
        reply = read(study.deliver(name, study.requests()[name].data).data, m.SealedPairs)
        sealed[name] = {box.receiver: box for box in reply.boxes}
    boxes = tuple(sealed[name]["site05"] for name in others if name != "site00")
    session = study.sites["site05"].state.session
    with study.nothing_changes("site05"), pytest.raises(PeerError) as caught:
        study.deliver("site05", m.Boxes(session, boxes))
    assert set(caught.value.peers) == set(others) - {"site00"}


BAD_KEYS = {
    "zeros": bytes(BOX_KEY_BYTES),
    "ones": b"\xff" * BOX_KEY_BYTES,
    "low order": BoxKey.generate(os.urandom).public_bytes()[:-32] + bytes(32),
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_box_key_that_is_none_is_refused_by_the_coordinator_and_only_its_owner_is_left_out(
    key: bytes,
) -> None:
    def lie(request: Request, reply: Reply) -> Reply:
        def change(message: m.Advertisement) -> m.Advertisement:
            changed = replace(message, box_key=key)
            signature = identity("site05").sign("advertisement", *changed.signed())
            return replace(changed, signature=signature)

        return altered(reply, m.Advertisement, change) if request.site == "site05" else reply

    study = Study().set_up(alter=lie)
    assert study.coordinator.able() == study.names[:5]
    assert any(fault.peers == ("site05",) for fault in study.coordinator.faults)
    study.round()


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_site_that_is_shown_such_a_key_names_its_owner_and_seals_nothing(key: bytes) -> None:
    study = Study().to("seal")
    request = read(study.requests()["site01"].data, m.Advertisements)
    lie = replace(request.advertisements[5], box_key=key)
    lie = forged(lie, identity("site05").sign("advertisement", *lie.signed()))
    with study.nothing_changes("site01"), pytest.raises(MalformedMessage) as caught:
        study.deliver("site01", replace(request, advertisements=(*request.advertisements[:5], lie)))
    assert caught.value.peers == ("site05",)


# Boxes --------------------------------------------------------------------------------------------------


def sealed_by(study: Study, sender: str, receiver: str, session: bytes | None = None) -> m.SealedPair:
    """A box that the test seals and signs in the name of a colluder."""
    bound = session or study.session
    key = study.replies(m.Advertisement)[receiver].box_key
    sealed = seal_pair(Secret(b"k" * 32), receiver, key, pair_info(bound, sender, receiver))
    signature = identity(sender).sign("sealed pair", bound, sender, receiver, sealed)
    return m.SealedPair(sender, receiver, sealed, signature)


def signed_box(study: Study, sender: str, receiver: str, sealed: bytes) -> m.SealedPair:
    signature = identity(sender).sign("sealed pair", study.session, sender, receiver, sealed)
    return m.SealedPair(sender, receiver, sealed, signature)


def wrong_boxes(study: Study) -> dict[str, m.SealedPair]:
    """Boxes in the place of the one from site01 to site03."""
    good = {
        (box.sender, box.receiver): box
        for reply in study.replies(m.SealedPairs).values()
        for box in reply.boxes
    }
    mine = good["site01", "site03"]
    earlier = Study(study.policy, shared=study).to("receipt").replies(m.SealedPairs)["site01"]
    return {
        "altered by one bit": replace(mine, sealed=flipped(mine.sealed, 40)),
        "last bit altered": replace(mine, sealed=flipped(mine.sealed, len(mine.sealed) - 1)),
        "missing signature": replace(mine, signature=ZERO),
        "forged signature": replace(
            mine,
            signature=identity("site02").sign("sealed pair", study.session, "site01", "site03", mine.sealed),
        ),
        "of an earlier session": next(box for box in earlier.boxes if box.receiver == "site03"),
        "of an earlier session, signed anew": signed_box(
            study, "site01", "site03", next(b for b in earlier.boxes if b.receiver == "site03").sealed
        ),
        "sealed to another, signed anew": signed_box(
            study, "site01", "site03", good["site01", "site04"].sealed
        ),
        "sealed by another, signed anew": signed_box(
            study, "site01", "site03", good["site02", "site03"].sealed
        ),
        "altered, signed anew": signed_box(study, "site01", "site03", flipped(mine.sealed, 1100)),
    }


BOX_LIES = list(wrong_boxes(Study().to("receipt")))


@pytest.mark.parametrize("lie", BOX_LIES)
def test_a_wrong_box_is_named_and_asked_for_again(lie: str) -> None:
    study = Study().to("receipt")
    request = read(study.requests()["site03"].data, m.Boxes)
    wrong = wrong_boxes(study)[lie]
    boxes = tuple(wrong if box.sender == "site01" else box for box in request.boxes)
    with study.nothing_changes("site03"), pytest.raises(PeerError) as caught:
        study.deliver("site03", replace(request, boxes=boxes))
    assert caught.value.peers == ("site01",)
    assert study.sites["site03"].state.box_key is not None
    receipt = read(study.deliver("site03", request).data, m.Receipt)
    assert receipt.peers == tuple(name for name in study.names if name != "site03")


@pytest.mark.parametrize(
    "lie",
    ["re-routed", "reflected to its sender", "listed twice", "from a later site", "from a stranger", "own"],
)
def test_a_box_that_nobody_sealed_for_this_site_is_refused(lie: str) -> None:
    study = Study().to("receipt")
    request = read(study.requests()["site03"].data, m.Boxes)
    others = read(study.requests()["site05"].data, m.Boxes).boxes
    own = study.replies(m.SealedPairs)["site03"].boxes
    added = {
        "re-routed": next(box for box in others if box.sender == "site01"),
        "reflected to its sender": own[0],
        "listed twice": request.boxes[0],
        "from a later site": sealed_by(study, "site05", "site03"),
        "from a stranger": sealed_by(study, "stranger", "site03"),
        "own": sealed_by(study, "site03", "site03"),
    }[lie]
    with study.nothing_changes("site03"), pytest.raises(RequestRefused):
        study.deliver("site03", replace(request, boxes=(*request.boxes, added)))


def test_a_reflected_box_with_its_names_exchanged_is_a_wrong_signature() -> None:
    study = Study().to("receipt")
    request = read(study.requests()["site03"].data, m.Boxes)
    own = study.replies(m.SealedPairs)["site01"].boxes
    mine = next(box for box in own if box.receiver == "site03")
    reflected = replace(mine, sender="site03", receiver="site01")
    boxes = read(study.requests()["site01"].data, m.Boxes)
    with study.nothing_changes("site01"), pytest.raises(PeerError):
        study.deliver("site01", replace(boxes, boxes=(*boxes.boxes, reflected)))
    study.deliver("site03", request)


def test_boxes_of_another_session_are_refused() -> None:
    study = Study().to("receipt")
    request = read(study.requests()["site03"].data, m.Boxes)
    with study.nothing_changes("site03"), pytest.raises(RequestRefused, match="session"):
        study.deliver("site03", replace(request, session=bytes(32)))


def drop_box(sender: str, receiver: str) -> Callable[[Study], None]:
    def hide(study: Study) -> None:
        study.coordinator._state.withheld.add((sender, receiver))

    return hide


def test_a_site_that_was_left_with_colluders_only_does_not_upload_and_names_the_missing() -> None:
    """The coordinator withholds all boxes but a colluder's, then claims that the receipt was complete."""
    study = Study().to("receipt")
    request = read(study.requests()["site05"].data, m.Boxes)
    colluder = tuple(box for box in request.boxes if box.sender == "site02")
    study.deliver("site05", replace(request, boxes=colluder))
    upload = study.upload_request()
    with study.nothing_changes("site05"), pytest.raises(RequestRefused) as caught:
        study.deliver("site05", upload)
    for name in ("site00", "site01", "site03", "site04"):
        assert name in str(caught.value)
    assert "site02" not in str(caught.value)
    with study.nothing_changes("site05"), pytest.raises(RequestRefused, match="participants"):
        study.deliver("site05", replace(upload, participants=("site02", "site05")))


def test_with_one_box_lost_the_study_goes_on_without_one_site() -> None:
    study = Study().to("receipt")
    drop_box("site01", "site04")(study)
    study.set_up()
    assert study.coordinator.able() == tuple(n for n in study.names if n != "site01")
    assert study.round().participants == study.coordinator.able()
    with pytest.raises(RoundAborted) as caught:
        study.coordinator.open_round("sum", participants=study.names)
    assert caught.value.peers == ("site01", "site04")


def test_a_dealer_that_seals_rubbish_to_one_site_costs_one_site_only() -> None:
    """The box carries a good signature, so only the receiver can tell; it is sent again, then left out."""

    def lie(request: Request, reply: Reply) -> Reply:
        def change(message: m.SealedPairs) -> m.SealedPairs:
            boxes = tuple(
                signed_box(study, "site01", box.receiver, bytes(len(box.sealed)))
                if box.receiver == "site04"
                else box
                for box in message.boxes
            )
            return replace(message, boxes=boxes)

        return altered(reply, m.SealedPairs, change) if request.site == "site01" else reply

    study = Study()
    study.set_up(alter=lie)
    assert len(study.coordinator.able()) == 5
    assert study.round().survivors == study.coordinator.able()
    assert any(set(fault.peers) == {"site01", "site04"} for fault in study.coordinator.faults)


def test_a_dealer_that_seals_rubbish_to_all_is_itself_left_out() -> None:
    def lie(request: Request, reply: Reply) -> Reply:
        def change(message: m.SealedPairs) -> m.SealedPairs:
            return replace(
                message,
                boxes=tuple(
                    signed_box(study, "site01", box.receiver, bytes(len(box.sealed))) for box in message.boxes
                ),
            )

        return altered(reply, m.SealedPairs, change) if request.site == "site01" else reply

    study = Study()
    study.set_up(alter=lie)
    assert study.coordinator.able() == tuple(n for n in study.names if n != "site01")
    study.round()


def test_a_site_that_blames_everybody_is_left_out_alone() -> None:
    def lie(request: Request, reply: Reply) -> Reply:
        if request.site != "site04" or study.coordinator.phase != "receipt":
            return reply
        refusal = m.Refusal(
            "site04", study.coordinator._state.session, 0, "sealed", "all bad", study.names, None, None
        )
        return Reply(wire.to_bytes(refusal))

    study = Study()
    study.set_up(alter=lie)
    assert study.coordinator.able() == tuple(n for n in study.names if n != "site04")


# What the coordinator checks ----------------------------------------------------------------------------


def sealed_lies(good: m.SealedPairs) -> dict[str, m.SealedPairs]:
    first, *rest = good.boxes
    return {
        "one fewer": replace(good, boxes=good.boxes[1:]),
        "one twice": replace(good, boxes=(first, first, *rest[1:])),
        "another sender": replace(good, boxes=(replace(first, sender="site00"), *rest)),
        "missing signature": replace(good, boxes=(replace(first, signature=ZERO), *rest)),
        "forged signature": replace(good, boxes=(replace(first, signature=rest[0].signature), *rest)),
        "altered": replace(good, boxes=(replace(first, sealed=flipped(first.sealed)), *rest)),
        "another session": replace(good, session=bytes(32)),
        "in another's name": replace(good, site="site02"),
    }


@pytest.mark.parametrize(
    "lie",
    [
        "one fewer",
        "one twice",
        "another sender",
        "missing signature",
        "forged signature",
        "altered",
        "another session",
        "in another's name",
    ],
)
def test_wrong_sealed_pairs_are_refused_by_the_coordinator(lie: str) -> None:
    study = Study().to("seal")
    good = read(study.ask(study.requests()["site01"]).data, m.SealedPairs)
    with pytest.raises(PeerError) as caught:
        study.coordinator.receive("site01", wire.to_bytes(sealed_lies(good)[lie]))
    assert caught.value.peers == ("site01",)
    assert "site01" not in study.coordinator._state.sealed
    study.coordinator.receive("site01", wire.to_bytes(good))


@pytest.mark.parametrize("lie", ["missing", "forged", "replayed", "peers added", "another session"])
def test_a_wrong_receipt_is_refused_by_the_coordinator(lie: str) -> None:
    study = Study().to("receipt")
    receipts = {name: read(study.ask(r).data, m.Receipt) for name, r in study.requests().items()}
    good = receipts["site01"]
    wrong = {
        "missing": replace(good, signature=ZERO),
        "forged": replace(
            good, signature=identity("site02").sign("receipt", good.session, "site01", good.peers)
        ),
        "replayed": replace(good, signature=receipts["site02"].signature),
        "peers added": replace(good, peers=(*good.peers, "stranger")),
        "another session": replace(
            good,
            session=bytes(32),
            signature=identity("site01").sign("receipt", bytes(32), "site01", good.peers),
        ),
    }[lie]
    with pytest.raises(PeerError) as caught:
        study.coordinator.receive("site01", wire.to_bytes(wrong))
    assert caught.value.peers == ("site01",)
    assert isinstance(caught.value, BadSignature) or lie == "another session"
    assert "site01" not in study.coordinator._state.receipts
    study.coordinator.receive("site01", wire.to_bytes(good))


def test_an_answer_from_outside_the_roster_is_refused() -> None:
    study = Study()
    reply = study.ask(study.requests()["site01"])
    with pytest.raises(PeerError, match="stranger"):
        study.coordinator.receive("stranger", reply.data)
    with pytest.raises(MalformedMessage, match="in the name of"):
        study.coordinator.receive("site02", reply.data)


# The ephemeral key --------------------------------------------------------------------------------------


def test_the_ephemeral_key_is_gone_from_the_saved_state_after_set_up() -> None:
    study = Study().to("receipt")
    request = study.requests()["site03"]
    site = study.sites["site03"]
    held = site.state.box_key
    private = held.reveal()
    assert private in study.saved("site03")
    # A box that fails leaves it: the box is asked for again.
    wrong = replace(read(request.data, m.Boxes), session=bytes(32))
    with pytest.raises(RequestRefused):
        study.deliver("site03", wrong)
    assert private in study.saved("site03")

    study.deliver("site03", request.data)
    assert site.state.box_key is None
    saved = study.saved("site03")
    for at in range(0, len(private), 32):
        assert private[at : at + 32] not in saved
    assert set(held.reveal()) == {0}, "the memory that held it is overwritten"


def test_the_pair_secrets_of_both_ends_are_the_same_and_no_two_pairs_share_one() -> None:
    study = ready()
    pairs = {name: site.state.pairs for name, site in study.sites.items()}
    for one in study.names:
        assert set(pairs[one]) == set(study.names) - {one}
        for other in pairs[one]:
            assert pairs[one][other] == pairs[other][one]
    assert len({secret.reveal() for held in pairs.values() for secret in held.values()}) == 15


def test_lanes_beyond_the_floor_count_over_every_planned_question() -> None:
    policy = make_policy(plan=[question(2), question(50, kind="wide")])
    with pytest.raises(PolicyRefused, match="lanes 51"):
        Floor(across_rounds=("accept",), max_lanes=50).check(policy)
