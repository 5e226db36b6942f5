# SPDX-License-Identifier: Apache-2.0

"""The one table of steps: every pair in it is exercised, every pair outside it is refused."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, make_policy, read
from sordino.errors import RequestRefused, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.transitions import STEPS, TABLE, transition

ASKED = "site02"
REQUESTS = get_args(m.ToSite)
PAIRS = {(line.step, line.request): line for line in TABLE}


def at(step: str) -> Study:
    """A study whose site ASKED stands at a step."""
    study = Study(make_policy())
    if step == "new":
        return study
    if step == "advertised":
        return study.to("seal")
    if step == "sealed":
        return study.to("receipt")
    if step == "ready":
        return study.to("upload")
    if step == "uploaded":
        return study.to("confirm")
    study.to("unmask")
    if step == "unmasked":
        study.deliver(ASKED, m.UnmaskRequest(study.certificate(study.statement(), study.names[:4])))
    if step == "closed":
        study.deliver(ASKED, m.Close(study.session, final=True))
    return study


def request(study: Study, kind: type[m.Message]) -> m.Message:
    """A request of this kind that the site has not been asked yet, and would take in its turn."""
    model = study
    if kind is m.Offer:
        offer = read(Study(study.policy).requests()[ASKED].data, m.Offer)
        return replace(offer, session_id=study.coordinator._state.session_id, policy=make_policy(rounds=9))
    if kind is m.Advertisements:
        if study.coordinator.phase == "advertise":
            study = at("advertised")
        listed = tuple(study.coordinator._state.advertisements.values())
        fewer = tuple(a for a in sorted(listed, key=lambda a: a.site) if a.site != "site05")
        return m.Advertisements(study.coordinator._state.session_id, fewer)
    if kind is m.Boxes:
        held = study.coordinator._state.sealed.get("site00", {})
        return m.Boxes(study.coordinator._state.session or bytes(32), (held[ASKED],) if held else ())
    later = study if study.replies(m.Upload) else at("uploaded")
    session = study.coordinator._state.session or bytes(32)
    statement = replace(later.statement(), session=session)
    match kind:
        case m.UploadRequest:
            number = model.coordinator.round + (1 if study.replies(m.Upload) else 0)
            return replace(later.upload_request(), session=session, round=max(number, 1))
        case m.ConfirmRequest:
            # At "confirmed" the full statement was signed, and is a repeat.
            fewer = statement.survivors[:5] if study.sites[ASKED].step in ("confirmed", "unmasked") else None
            return m.ConfirmRequest(statement if fewer is None else replace(statement, survivors=fewer))
        case m.UnmaskRequest:
            return m.UnmaskRequest(later.certificate(statement, study.names[1:]))
        case m.RecoverRequest:
            certificate = later.certificate(statement)
            return later.recover_request(ASKED, "site04", certificate)
        case _:
            return m.Close(session, final=False)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: f"{line.step}-{line.request.__name__}")
def test_every_line_of_the_table_is_taken(line: object) -> None:
    study = at(line.step)
    assert study.sites[ASKED].step == line.step
    if line.request in (m.Offer, m.Advertisements, m.Boxes):
        data = study.requests()[ASKED].data
    else:
        data = wire.to_bytes(request(study, line.request))
    reply = study.deliver(ASKED, data)
    read(reply.data, line.reply)
    # A close with nothing open leaves everything as it is.
    idle = line.request is m.Close and line.step == "ready"
    assert study.sites[ASKED].step == ("ready" if idle else line.then)


@pytest.mark.parametrize(
    ("step", "kind"),
    [(step, kind) for step in STEPS for kind in REQUESTS if (step, kind) not in PAIRS],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_pair_outside_the_table_is_refused(step: str, kind: type[m.Message]) -> None:
    study = at(step)
    assert study.sites[ASKED].step == step
    message = request(study, kind)
    refused = pytest.raises((RequestRefused, StateError), match="takes no|no session|another session")
    with study.nothing_changes(ASKED), refused as caught:
        study.deliver(ASKED, message)
    # Before set-up is over there is no session yet that a close could be about.
    assert "another session" not in str(caught.value) or kind is m.Close


def test_a_final_close_is_taken_at_every_step_of_the_session() -> None:
    for step in ("ready", "uploaded", "confirmed", "unmasked"):
        study = at(step)
        study.deliver(ASKED, m.Close(study.session, final=True))
        assert study.sites[ASKED].step == "closed"


def test_the_table_has_one_line_for_a_pair_and_knows_every_message_and_step() -> None:
    assert len(PAIRS) == len(TABLE)
    assert {line.request for line in TABLE} == set(REQUESTS)
    assert {line.reply for line in TABLE} == set(get_args(m.ToCoordinator)) - {m.Refusal}
    assert {line.step for line in TABLE} | {line.then for line in TABLE} | {"closed"} == set(STEPS)


def test_a_pair_that_the_table_has_not_is_an_error() -> None:
    with pytest.raises(RequestRefused, match="'new' takes no Close"):
        transition("new", m.Close(bytes(32), final=True))


def test_an_upload_request_and_the_rest_have_each_their_own_way_in() -> None:
    study = at("ready")
    site, close = study.sites[ASKED], wire.to_bytes(m.Close(study.session, final=False))
    upload = study.requests()[ASKED].data
    with study.nothing_changes(ASKED):
        with pytest.raises(StateError, match="call `read` and `upload`"):
            site.handle(upload)
        with pytest.raises(StateError, match="call `handle`"):
            site.read(close)
        with pytest.raises(StateError, match="call `handle`"):
            site.upload(close, b"", study.vectors[ASKED].copy())
