# SPDX-License-Identifier: Apache-2.0

"""A coordinator that tells sites different stories, or asks for what no honest one would."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, identity, make_policy, question, read, ready
from sordino.errors import (
    BadSignature,
    InvalidArgument,
    MalformedMessage,
    PeerError,
    RequestRefused,
    RoundAborted,
    StateError,
)
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.policy import MAX_ROUNDS
from sordino.protocol.secret import Secret
from sordino.protocol.site import MAX_SKIPPED_ROUNDS
from sordino.protocol.transcript import body_digest

ASKED = "site02"


def uploaded(**lost: str) -> Study:
    return ready().to("confirm", lose=lost)


# R1: the request ----------------------------------------------------------------------------------------


def without(study: Study, *names: str) -> tuple[str, ...]:
    return tuple(name for name in study.names if name not in names)


REQUEST_LIES: dict[str, Callable[[Study], dict[str, object]]] = {
    "another session": lambda _: {"session": bytes(32)},
    "round 0": lambda _: {"round": 0},
    "beyond the policy": lambda study: {"round": study.policy.rounds + 1},
    "an unplanned question": lambda _: {"kind": "other"},
    "|U| = t - 1": lambda study: {"participants": study.names[:3]},
    "nobody": lambda _: {"participants": ()},
    "without the asked site": lambda study: {"participants": without(study, ASKED)},
    "a site twice": lambda study: {"participants": (*study.names[:4], "site03")},
    "not sorted": lambda study: {"participants": tuple(reversed(study.names))},
    "an unknown site": lambda study: {"participants": (*study.names, "stranger")},
    "another body": lambda _: {"body": body_digest(b"another")},
}


@pytest.mark.parametrize("lie", REQUEST_LIES)
def test_a_lying_upload_request_is_refused_and_steps_no_key(lie: str) -> None:
    study = ready()
    request = study.upload_request(**REQUEST_LIES[lie](study))
    with study.nothing_changes(), pytest.raises(PeerError):
        study.deliver(ASKED, request)
    with study.nothing_changes(), pytest.raises(PeerError):
        study.sites[ASKED].upload(wire.to_bytes(request), b"", study.vectors[ASKED].copy())
    assert study.round().survivors == study.names


@pytest.mark.parametrize("chain", [False, True])
def test_a_first_link_is_taken_exactly_where_the_policy_has_a_chain(chain: bool) -> None:
    study = ready(make_policy(chain=chain)).to("upload")
    data, lanes = study.requests()[ASKED].data, study.vectors[ASKED].copy()
    with study.nothing_changes(), pytest.raises(InvalidArgument, match="link"):
        study.sites[ASKED].upload(data, b"", lanes, link=None if chain else Secret(bytes(32)))
    assert lanes.tolist() == study.vectors[ASKED].tolist()


@pytest.mark.parametrize("number", [2**60, 2**64 - 1, MAX_ROUNDS + 1, -1])
def test_an_absurd_round_is_refused_at_once(number: int) -> None:
    study = ready()
    with study.nothing_changes(), pytest.raises(MalformedMessage):
        study.deliver(ASKED, study.upload_request(round=number))
    assert study.round().survivors == study.names


def test_a_round_that_skips_too_many_is_refused() -> None:
    study = ready(make_policy(rounds=1_000_000))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="skips more than"):
        study.deliver(ASKED, study.upload_request(round=MAX_SKIPPED_ROUNDS + 2))
    study.deliver(ASKED, study.upload_request(round=300))


def test_two_models_shown_give_masks_that_do_not_cancel() -> None:
    study = ready().to("upload")
    for name in study.names:
        body = b"model A" if name < "site03" else b"model B"
        study.deliver(name, study.upload_request(round=1, body=body_digest(body)), body)
    check_nothing_can_be_signed(study)
    with pytest.raises(RoundAborted):
        study.round()
    assert study.round().survivors == study.names


def test_two_cohorts_shown_with_the_same_survivors_give_masks_that_do_not_cancel() -> None:
    study = ready().to("upload")
    for name in study.names[:5]:
        cohort = study.names if name < "site02" else study.names[:5]
        study.deliver(name, study.upload_request(round=1, participants=cohort))
    check_nothing_can_be_signed(study, study.names[:5])


def test_two_rounds_shown_give_masks_that_do_not_cancel() -> None:
    study = ready().to("upload")
    for name in study.names:
        study.deliver(name, study.upload_request(round=1 if name < "site03" else 2))
    check_nothing_can_be_signed(study)


def test_two_kinds_of_question_shown_give_masks_that_do_not_cancel() -> None:
    study = ready(make_policy(plan=[question(), question(kind="twin")]))
    for name in study.names:
        study.deliver(name, study.upload_request(kind="sum" if name < "site03" else "twin"))
    check_nothing_can_be_signed(study)


def check_nothing_can_be_signed(study: Study, survivors: tuple[str, ...] | None = None) -> None:
    """No statement over these uploads is signed by both halves, so none gets t signatures; keys differ."""
    uploads = study.replies(m.Upload)
    names = survivors or tuple(uploads)
    signed: dict[bytes, set[str]] = {}
    for source in names:
        summary = uploads[source].summary
        statement = study.statement(
            names, round=summary.round, question=summary.question, cohort=summary.cohort
        )
        for name in names:
            with suppress(RequestRefused):
                study.deliver(name, m.ConfirmRequest(statement))
                signed.setdefault(statement.digest, set()).add(name)
    assert all(len(signers) < study.policy.threshold for signers in signed.values())
    commitments = {
        (name, peer): commitment
        for name in names
        for peer, commitment in zip(
            [other for other in participants_of(study, name) if other != name],
            uploads[name].summary.pair_commitments,
            strict=True,
        )
    }
    halves = {name: (uploads[name].summary.question, uploads[name].summary.cohort) for name in names}
    rounds = {name: uploads[name].summary.round for name in names}
    for one in names:
        for other in names:
            if one < other and (halves[one], rounds[one]) != (halves[other], rounds[other]):
                assert commitments[one, other] != commitments[other, one]


def participants_of(study: Study, name: str) -> tuple[str, ...]:
    return study.request(m.UploadRequest, name).participants


def test_uploads_that_answer_another_question_are_refused_by_the_coordinator() -> None:
    study = ready().to("upload")
    reply = study.deliver(ASKED, study.upload_request(round=1, body=body_digest(b"B")), b"B")
    with pytest.raises(PeerError, match="another round") as caught:
        study.coordinator.receive(ASKED, reply.data, reply.payload)
    assert caught.value.peers == (ASKED,)
    assert study.round().dropped == (ASKED,)


# R2: the statement --------------------------------------------------------------------------------------


def wrong_digest(study: Study, name: str) -> m.Statement:
    good = study.statement()
    survivors = tuple(replace(s, upload=bytes(32)) if s.site == name else s for s in good.survivors)
    return replace(good, survivors=survivors)


STATEMENT_LIES: dict[str, Callable[[Study], m.Statement]] = {
    "another session": lambda study: study.statement(session=bytes(32)),
    "another policy": lambda study: study.statement(policy=make_policy(rounds=7).digest),
    "an older round": lambda study: study.statement(round=0),
    "a later round": lambda study: study.statement(round=2),
    "another question": lambda study: study.statement(question=bytes(32)),
    "another cohort": lambda study: study.statement(cohort=bytes(32)),
    "U3 not inside U": lambda study: study.statement([*study.names, "stranger"]),
    "without the asked site": lambda study: study.statement(without(study, ASKED)),
    "the asked site with another digest": lambda study: wrong_digest(study, ASKED),
    "below the cohort minimum": lambda study: study.statement(study.names[:3]),
    "nobody": lambda study: study.statement([]),
    "one survivor twice": lambda study: study.statement(["site01", "site02", "site02", "site03"]),
    "not sorted": lambda study: study.statement(["site03", "site02", "site01", "site00"]),
}


@pytest.mark.parametrize("lie", STATEMENT_LIES)
@pytest.mark.parametrize("step", ["confirm", "unmask", "recover"])
def test_a_lying_statement_is_neither_signed_nor_opened(lie: str, step: str) -> None:
    study = uploaded()
    statement = STATEMENT_LIES[lie](study)
    certificate = study.certificate(statement, study.names)
    messages = {
        "confirm": m.ConfirmRequest(statement),
        "unmask": m.UnmaskRequest(certificate),
        "recover": study.recover_request(ASKED, "site03", certificate),
    }
    if (lie, step) == ("without the asked site", "recover"):
        return  # allowed: that site uploaded, and helps to open those that were certified
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, messages[step])
    assert study.round().survivors == study.names


def test_a_statement_that_leaves_out_more_than_t_dropouts_is_refused() -> None:
    study = ready(make_policy(max_dropouts=1)).to("confirm")
    two_fewer = study.statement(without(study, "site04", "site05"))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="leaves out 2 sites, 1 are tolerated"):
        study.deliver(ASKED, m.ConfirmRequest(two_fewer))
    one_fewer = study.statement(without(study, "site05"))
    study.deliver(ASKED, m.ConfirmRequest(one_fewer))


def test_a_site_called_dead_that_has_uploaded_opens_nothing_of_itself() -> None:
    """Its pair keys may be certified as a dropout's; it then never gives its self seed."""
    study = uploaded()
    statement = study.statement(without(study, "site04"))
    certificate = study.certificate(statement)
    for message in (m.ConfirmRequest(statement), m.UnmaskRequest(certificate)):
        with study.nothing_changes("site04"), pytest.raises(RequestRefused, match="leaves this site out"):
            study.deliver("site04", message)
    for name in statement.names:
        study.deliver(name, m.ConfirmRequest(statement))
        opened = read(study.deliver(name, m.UnmaskRequest(certificate)).data, m.Unmasking)
        assert len(opened.pair_keys) == 1, "only the mask key with the dropped site"
    # And no share of the dropped site's secrets is given by anybody.
    for name in statement.names:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="no survivor"):
            study.deliver(name, study.recover_request(name, "site04", certificate))


def test_two_survivor_sets_in_one_round_the_second_is_refused_whatever_it_is() -> None:
    study = uploaded()
    first = study.statement(without(study, "site05"))
    second = study.statement()
    study.deliver(ASKED, m.ConfirmRequest(first))
    certificate = study.certificate(second)
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, m.ConfirmRequest(second))
    for message in (
        m.UnmaskRequest(certificate),
        study.recover_request(ASKED, "site03", certificate),
    ):
        with study.nothing_changes(), pytest.raises(RequestRefused, match="another statement"):
            study.deliver(ASKED, message)
    study.deliver(ASKED, m.UnmaskRequest(study.certificate(first)))


def test_the_split_of_a_round_between_two_statements_certifies_at_most_one() -> None:
    """Honest sites sign once, so with c colluders no two certificates can both have t signatures."""
    study = uploaded()
    statements = study.statement(without(study, "site05")), study.statement(without(study, "site04"))
    colluder = "site00"
    for split in range(1, 6):
        honest = [name for name in study.names if name != colluder]
        signers = ({colluder, *honest[:split]}, {colluder, *honest[split:]})
        certified = [
            statement
            for statement, names in zip(statements, signers, strict=True)
            if len(names & set(statement.names)) >= study.policy.threshold
        ]
        assert len(certified) <= 1


# R3: the certificate ------------------------------------------------------------------------------------


def certificates(study: Study) -> dict[str, m.Certificate]:
    statement = study.statement(without(study, "site05"))
    good = study.certificate(statement)
    one, *rest = good.endorsements
    other = study.certificate(study.statement())
    return {
        "t - 1 signatures": study.certificate(statement, statement.names[:3]),
        "no signature": study.certificate(statement, ()),
        "one signer twice": replace(good, endorsements=(one, *rest[:-1], one)),
        "one signer twice, and enough besides": replace(good, endorsements=(*good.endorsements, one)),
        "a signer outside U3": study.certificate(statement, ["site00", "site01", "site02", "site05"]),
        "a signer outside U3, and enough besides": study.certificate(statement, study.names),
        "a stranger": study.certificate(statement, ["site00", "site01", "site02", "stranger"]),
        "missing signature": replace(good, endorsements=(replace(one, signature=bytes(64)), *rest)),
        "signatures exchanged": replace(
            good,
            endorsements=(
                replace(one, signature=rest[0].signature),
                replace(rest[0], signature=one.signature),
                *rest[1:],
            ),
        ),
        "signatures on another statement": replace(good, endorsements=other.endorsements),
        "signed as an upload": replace(
            good,
            endorsements=(
                replace(one, signature=identity(one.site).sign("upload", statement.digest)),
                *rest,
            ),
        ),
    }


@pytest.mark.parametrize("lie", list(certificates(uploaded())))
@pytest.mark.parametrize("step", ["unmask", "recover"])
def test_nothing_is_opened_on_a_certificate_that_does_not_hold(lie: str, step: str) -> None:
    study = uploaded()
    certificate = certificates(study)[lie]
    message = (
        m.UnmaskRequest(certificate)
        if step == "unmask"
        else study.recover_request(ASKED, "site03", certificate)
    )
    with study.nothing_changes(), pytest.raises((RequestRefused, BadSignature)):
        study.deliver(ASKED, message)
    # Not even the statement was accepted: the honest one still is.
    assert study.round().survivors == study.names


def test_r3_before_r2_is_refused_without_a_certificate_and_taken_with_one() -> None:
    """A late site may check, sign and unmask in one step."""
    study = uploaded()
    statement = study.statement()
    for signers in ((), ("site02",), study.names[:3]):
        with study.nothing_changes(), pytest.raises(RequestRefused, match="at least 4"):
            study.deliver(ASKED, m.UnmaskRequest(study.certificate(statement, signers)))
    study.deliver(
        ASKED, m.UnmaskRequest(study.certificate(statement, ["site00", "site01", "site03", "site04"]))
    )
    assert study.sites[ASKED].step == "unmasked"
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, m.ConfirmRequest(statement))


def test_r2_and_r3_before_r1_are_refused() -> None:
    study = uploaded()
    statement = study.statement()
    fresh = ready()
    for message in (
        m.ConfirmRequest(statement),
        m.UnmaskRequest(study.certificate(statement)),
        study.recover_request(ASKED, "site03"),
    ):
        with fresh.nothing_changes(), pytest.raises(RequestRefused):
            fresh.deliver(ASKED, message)


def test_nothing_is_opened_twice_differently() -> None:
    study = uploaded().to("unmask")
    certificate = study.certificate(study.statement(), study.names[:4])
    first = study.deliver(ASKED, m.UnmaskRequest(certificate))
    assert study.deliver(ASKED, m.UnmaskRequest(certificate)) == first
    other_signers = study.certificate(study.statement(), study.names[1:])
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, m.UnmaskRequest(other_signers))


# R4: recover --------------------------------------------------------------------------------------------


def test_recover_is_refused_for_whom_it_must_not_be() -> None:
    study = ready().to("confirm", lose={"site05": "upload"})
    statement = study.statement()
    certificate = study.certificate(statement)
    good = study.recover_request(ASKED, "site03", certificate)
    own = study.replies(m.Upload)[ASKED]
    invented = replace(good.vanished, site="site05")
    lies = {
        "itself": replace(good, vanished=own.summary, box=own.boxes[0]),
        "a site that did not upload": replace(good, vanished=invented),
        "a stranger": replace(good, vanished=replace(good.vanished, site="stranger")),
        "another upload": replace(good, vanished=replace(good.vanished, payload=bytes(32))),
        "too few boxes": replace(good, vanished=replace(good.vanished, boxes=good.vanished.boxes[1:])),
        "another's box": replace(good, box=study.recover_request("site01", "site03", certificate).box),
        "an altered box": replace(good, box=good.box[:-1] + bytes([good.box[-1] ^ 1])),
        "no box": replace(good, box=b""),
    }
    for message in lies.values():
        with study.nothing_changes(), pytest.raises(RequestRefused):
            study.deliver(ASKED, message)
    read(study.deliver(ASKED, good).data, m.Recovery)


def test_recover_for_a_colluder_that_certified_an_upload_with_too_few_boxes_is_refused() -> None:
    study = uploaded()
    lie = replace(study.replies(m.Upload)["site05"].summary, boxes=())
    good = study.statement()
    survivors = tuple(replace(s, upload=lie.digest) if s.site == "site05" else s for s in good.survivors)
    certificate = study.certificate(replace(good, survivors=survivors))
    message = replace(study.recover_request(ASKED, "site05", certificate), vanished=lie)
    with study.nothing_changes(), pytest.raises(RequestRefused, match="too few boxes") as caught:
        study.deliver(ASKED, message)
    assert caught.value.peers == ("site05",)


def test_recover_for_a_site_outside_u3_that_uploaded_is_refused_by_all() -> None:
    study = uploaded()
    statement = study.statement(without(study, "site05"))
    certificate = study.certificate(statement)
    for name in without(study, "site05"):
        with study.nothing_changes(), pytest.raises(RequestRefused, match="no survivor"):
            study.deliver(name, study.recover_request(name, "site05", certificate))


def test_a_site_outside_u3_that_uploaded_helps_to_recover_and_shows_nothing_of_itself() -> None:
    study = uploaded()
    statement = study.statement(without(study, "site05"))
    certificate = study.certificate(statement)
    reply = study.deliver("site05", study.recover_request("site05", "site03", certificate))
    recovery = read(reply.data, m.Recovery)
    # The self seed of site03 and its mask key with the dropped site05: what site03 would have revealed.
    assert len(recovery.shares) == 2
    opened = study.sites["site05"].state.open
    for secret in (opened.self_seed, *opened.mask_keys.values()):
        assert secret.reveal() not in reply.data
    with study.nothing_changes("site05"), pytest.raises(RequestRefused):
        study.deliver("site05", m.UnmaskRequest(certificate))


def test_each_vanished_site_is_recovered_once_and_a_repeat_is_byte_identical() -> None:
    study = uploaded().to("unmask")
    certificate = study.certificate(study.statement())
    request = study.recover_request(ASKED, "site03", certificate)
    first = study.deliver(ASKED, request)
    assert study.deliver(ASKED, request) == first
    again = replace(request, certificate=study.certificate(study.statement(), study.names[1:]))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="recovered here already"):
        study.deliver(ASKED, again)
    study.deliver(ASKED, study.recover_request(ASKED, "site04", certificate))


def test_recover_binds_the_site_to_the_statement_as_a_signature_does() -> None:
    study = uploaded()
    study.deliver(ASKED, study.recover_request(ASKED, "site03", study.certificate(study.statement())))
    other = study.statement(without(study, "site05"))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="another statement"):
        study.deliver(ASKED, m.ConfirmRequest(other))


# Repeats and old rounds ---------------------------------------------------------------------------------


def test_the_same_round_asked_twice_gives_identical_bytes_and_a_changed_one_is_refused() -> None:
    study = ready().to("upload")
    request = study.requests()[ASKED]
    first = study.deliver(ASKED, request.data)
    study.vectors[ASKED] += 1  # a retry may bring another vector: it is not sent
    assert study.deliver(ASKED, request.data) == first
    same = read(request.data, m.UploadRequest)
    for changed, body in (
        (replace(same, body=body_digest(b"B")), b"B"),
        (replace(same, participants=study.names[1:]), b""),
    ):
        with study.nothing_changes(), pytest.raises(RequestRefused, match="not after round 1"):
            study.deliver(ASKED, changed, body)


def test_every_step_repeated_is_byte_identical() -> None:
    study = Study()
    study.round(lose={"site00": "unmask"})
    answered = [
        e for e in study.log if e.request.site == ASKED and e.phase in ("upload", "confirm", "unmask")
    ]
    assert len(answered) == 3
    for exchange in answered:
        again = study.deliver(ASKED, exchange.request.data, exchange.request.body)
        assert again == exchange.reply


def test_an_old_round_is_refused_at_every_step() -> None:
    study = ready()
    study.round(lose={"site00": "unmask"})
    old = [e.request for e in study.log if e.request.site == ASKED and e.phase not in ("advertise", "seal")]
    study.to("confirm")
    for request in old:
        with study.nothing_changes(), pytest.raises((RequestRefused, StateError)):
            study.deliver(ASKED, request.data, request.body)
    assert study.round().survivors == study.names


def test_a_new_round_closes_the_one_before_for_good() -> None:
    study = ready().to("unmask")
    statement = study.statement()
    certificate = study.certificate(statement)
    before = study.sites[ASKED].state.open
    study.deliver(ASKED, study.upload_request(round=2))
    assert set(before.self_seed.reveal()) == {0}
    for message in (m.UnmaskRequest(certificate), study.recover_request(ASKED, "site03", certificate)):
        with study.nothing_changes(ASKED), pytest.raises(RequestRefused, match="round"):
            study.deliver(ASKED, message)


def test_close_wipes_the_round_and_final_close_the_session() -> None:
    study = ready().to("unmask")
    site = study.sites[ASKED]
    opened, pairs = site.state.open, dict(site.state.pairs)
    close = m.Close(study.session, final=False)
    study.deliver(ASKED, close)
    assert site.state.open is None
    for secret in (opened.self_seed, *opened.mask_keys.values(), *opened.incoming.values()):
        assert set(secret.reveal()) == {0}
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, m.UnmaskRequest(study.certificate(study.statement())))
    study.deliver(ASKED, m.Close(study.session, final=True))
    assert site.step == "closed"
    assert all(set(secret.reveal()) == {0} for secret in pairs.values())
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, study.upload_request(round=2))


def test_close_of_another_session_is_refused() -> None:
    study = ready()
    for final in (False, True):
        with study.nothing_changes(), pytest.raises(RequestRefused, match="session"):
            study.deliver(ASKED, m.Close(bytes(32), final))


# The semi-honest mode -----------------------------------------------------------------------------------


def test_semi_honest_sites_still_open_one_statement_a_round_only() -> None:
    study = ready(make_policy(consistency=False, threshold=2)).to("unmask")
    first, second = study.statement(without(study, "site05")), study.statement()
    with study.nothing_changes(), pytest.raises(RequestRefused, match="nothing to confirm"):
        study.deliver(ASKED, m.ConfirmRequest(first))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="no signatures"):
        study.deliver(ASKED, m.UnmaskRequest(study.certificate(first, study.names[:4])))
    study.deliver(ASKED, m.UnmaskRequest(study.certificate(first)))
    with study.nothing_changes(), pytest.raises(RequestRefused):
        study.deliver(ASKED, m.UnmaskRequest(study.certificate(second)))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="another statement"):
        study.deliver(ASKED, study.recover_request(ASKED, "site03", study.certificate(second)))


# What the coordinator checks of answers -----------------------------------------------------------------


def test_a_forged_missing_or_replayed_signature_on_an_upload_is_refused() -> None:
    study = ready().to("upload")
    replies = {name: study.ask(request) for name, request in study.requests().items()}
    good = read(replies[ASKED].data, m.Upload)
    other = read(replies["site03"].data, m.Upload)
    digest = good.summary.digest
    lies = {
        "missing": replace(good, signature=bytes(64)),
        "forged": replace(good, signature=identity("site03").sign("upload", digest)),
        "replayed": replace(good, signature=other.signature),
        "another summary": replace(good, summary=replace(good.summary, payload=bytes(32))),
        "as a statement": replace(good, signature=identity(ASKED).sign("statement", digest)),
    }
    for upload in lies.values():
        with pytest.raises(BadSignature) as caught:
            study.coordinator.receive(ASKED, wire.to_bytes(upload), replies[ASKED].payload)
        assert caught.value.peers == (ASKED,)
    assert study.coordinator._state.open.uploads == {}


def signed_upload(upload: m.Upload, **changes: object) -> m.Upload:
    summary = replace(upload.summary, **changes)
    return replace(upload, summary=summary, signature=identity(summary.site).sign("upload", summary.digest))


def test_an_upload_that_is_not_what_was_asked_is_refused() -> None:
    study = ready().to("upload")
    reply = study.ask(study.requests()[ASKED])
    good, payload = read(reply.data, m.Upload), reply.payload
    lies: list[tuple[m.Upload, bytes]] = [
        (signed_upload(good, round=2), payload),
        (signed_upload(good, session=bytes(32)), payload),
        (signed_upload(good, question=bytes(32)), payload),
        (signed_upload(good, cohort=bytes(32)), payload),
        (signed_upload(good, pair_commitments=good.summary.pair_commitments[1:]), payload),
        (signed_upload(good, boxes=good.summary.boxes[1:]), payload),
        (signed_upload(good, chain_end=bytes(32)), payload),
        (replace(good, boxes=good.boxes[1:]), payload),
        (replace(good, boxes=(good.boxes[1], good.boxes[0], *good.boxes[2:])), payload),
        (replace(good, boxes=(good.boxes[0] + b"x", *good.boxes[1:])), payload),
        (good, b""),
        (good, payload[:-1]),
        (good, payload + b"\0"),
        (good, bytes([payload[0] ^ 1]) + payload[1:]),
        (signed_upload(good, payload=body_digest(payload[:-1])), payload[:-1]),
        (signed_upload(good, payload=body_digest(payload + b"\0")), payload + b"\0"),
    ]
    used = len(study.vectors[ASKED]) * study.policy.bits % 8
    assert used, "the last byte has spare bits"
    padded = payload[:-1] + bytes([payload[-1] | 0x80])
    lies.append((signed_upload(good, payload=body_digest(padded)), padded))
    for upload, beside in lies:
        with pytest.raises(PeerError) as caught:
            study.coordinator.receive(ASKED, wire.to_bytes(upload), beside)
        assert caught.value.peers == (ASKED,)
        assert study.coordinator._state.open.uploads == {}
    study.coordinator.receive(ASKED, reply.data, payload)
    again = signed_upload(good, self_commitment=bytes(32))
    with pytest.raises(PeerError, match="twice"):
        study.coordinator.receive(ASKED, wire.to_bytes(again), payload)
    assert study.round().survivors == study.names


def test_an_upload_of_a_site_that_was_not_asked_is_refused() -> None:
    study = ready().to("upload", participants=ready().names[:5])
    asked = read(study.ask(study.requests()["site04"]).data, m.Upload)
    payload = study.log[-1].reply.payload
    with pytest.raises(PeerError, match="no participant") as caught:
        study.coordinator.receive("site05", wire.to_bytes(signed_upload(asked, site="site05")), payload)
    assert caught.value.peers == ("site05",)
    assert study.round().survivors == study.names[:5]


def test_a_wrong_confirmation_is_refused_and_does_not_count() -> None:
    study = ready().to("confirm")
    good = read(study.ask(study.requests()[ASKED]).data, m.Confirmation)
    other = read(study.ask(study.requests()["site03"]).data, m.Confirmation)
    for wrong in (
        replace(good, signature=bytes(64)),
        replace(good, signature=other.signature),
        replace(good, statement=bytes(32)),
        replace(good, signature=identity(ASKED).sign("upload", good.statement)),
    ):
        with pytest.raises(PeerError) as caught:
            study.coordinator.receive(ASKED, wire.to_bytes(wrong))
        assert caught.value.peers == (ASKED,)
    assert study.coordinator._state.open.endorsements == {}
    with pytest.raises(RoundAborted, match="0 sites confirmed"):
        study.coordinator.proceed()


def test_an_unmasking_of_another_round_or_by_no_survivor_is_refused() -> None:
    study = ready().to("unmask", lose={"site05": "upload"})
    good = read(study.ask(study.requests()[ASKED]).data, m.Unmasking)
    for site, wrong in (
        (ASKED, replace(good, round=2)),
        (ASKED, replace(good, session=bytes(32))),
        (ASKED, replace(good, site="site03")),
        ("site05", replace(good, site="site05")),
        (ASKED, replace(good, pair_keys=())),
        (ASKED, replace(good, pair_keys=(*good.pair_keys, bytes(32)))),
        (ASKED, replace(good, link=bytes(32))),
    ):
        with pytest.raises(PeerError) as caught:
            study.coordinator.receive(site, wire.to_bytes(wrong))
        assert caught.value.peers == (site,)
    assert study.coordinator._state.open.openings == {}


@pytest.mark.parametrize("phase", ["advertise", "seal", "upload", "confirm", "unmask", "recover", "done"])
def test_an_answer_to_another_phase_is_refused_and_changes_nothing(phase: str) -> None:
    model = Study()
    model.round(lose={"site00": "unmask"})
    study = Study()
    if phase == "recover":
        study.to("unmask").phase(lose=["site00"])
    elif phase == "done":
        study.round()
    else:
        study.to(phase)
    expected = {"advertise": m.Advertisement, "seal": m.SealedPairs, "upload": m.Upload}
    expected |= {"confirm": m.Confirmation, "unmask": m.Unmasking, "recover": m.Recovery}
    for exchange in model.log:
        message = wire.read_at_coordinator(exchange.reply.data, 6)
        if isinstance(message, expected.get(phase, m.Close)):
            continue
        before = replace(study.coordinator._state, faults=[])
        with pytest.raises(PeerError) as caught:
            study.coordinator.receive(exchange.request.site, exchange.reply.data, exchange.reply.payload)
        assert caught.value.peers == (exchange.request.site,)
        assert replace(study.coordinator._state, faults=[]) == before


def test_a_closed_answer_is_taken_at_any_phase() -> None:
    study = ready()
    study.round()
    for request in study.coordinator.close_requests(final=False):
        study.coordinator.receive(request.site, study.ask(request).data)
    assert study.coordinator.faults == ()
    wrong = m.Closed(bytes(32), ASKED, final=False)
    with pytest.raises(PeerError, match="session"):
        study.coordinator.receive(ASKED, wire.to_bytes(wrong))
