# SPDX-License-Identifier: Apache-2.0

"""Closing: keys are wiped, the journal says so once, and whoever closes again and again fills no disk."""

from __future__ import annotations

import pytest

from adversarial.toolkit import Study, make_policy, ready
from sordino.errors import RequestRefused
from sordino.protocol import messages as m
from sordino.protocol import wire

ASKED = "site02"


def encodings(study: Study, *, final: bool) -> tuple[bytes, bytes]:
    """Two encodings of one `Close`: the session's length in one byte, and in two."""
    plain = wire.to_bytes(m.Close(study.session, final))
    at = plain.index(b"\xc4\x20" + study.session)
    longer = plain[:at] + b"\xc5\x00\x20" + plain[at + 2 :]
    sites = len(study.names)
    assert wire.read_at_site(longer, sites) == wire.read_at_site(plain, sites)
    return plain, longer


def entries(study: Study, name: str = ASKED) -> int:
    with study.journals[name].open() as book:
        return book.index.length


def test_closing_with_nothing_open_writes_no_journal_entry() -> None:
    study = ready()
    before, state = entries(study), study.saved(ASKED)
    for data in encodings(study, final=False) * 20:
        assert study.deliver(ASKED, data).data == wire.to_bytes(m.Closed(study.session, ASKED, final=False))
    assert (entries(study), study.saved(ASKED)) == (before, state)
    assert study.round().survivors == study.names


def test_closing_a_round_is_written_once_however_often_it_is_asked() -> None:
    study = ready()
    study.round()
    before = entries(study)
    for data in encodings(study, final=False) * 20:
        study.deliver(ASKED, data)
    assert entries(study) == before + 1
    assert study.sites[ASKED].state.open is None
    assert study.round().survivors == study.names


def test_closing_for_good_is_written_once_however_often_it_is_asked() -> None:
    study = ready()
    study.round()
    before = entries(study)
    for data in encodings(study, final=True) * 20:
        assert study.deliver(ASKED, data).data == wire.to_bytes(m.Closed(study.session, ASKED, final=True))
    assert entries(study) == before + 1
    assert study.sites[ASKED].step == "closed"


@pytest.mark.parametrize("again", [0, 1])
def test_closing_for_good_again_wipes_a_state_that_was_restored(again: int) -> None:
    study = ready().to("confirm")
    old = study.saved(ASKED)
    closing = encodings(study, final=True)
    first = study.deliver(ASKED, closing[0])
    before = entries(study)
    study.restore(ASKED, old)
    state = study.sites[ASKED].state
    secrets = [*state.pairs.values(), *state.open.mask_keys.values(), state.open.self_seed]
    assert all(any(secret.reveal()) for secret in secrets)
    assert study.deliver(ASKED, closing[again]) == first
    assert (state.pairs, state.box_key, state.open) == ({}, None, None)
    assert not any(any(secret.reveal()) for secret in secrets), "the bytes themselves are overwritten"
    assert entries(study) == before


def test_a_state_restored_after_closing_for_good_uploads_nothing() -> None:
    study = ready(make_policy(7, colluders=1))
    old = study.saved(ASKED)
    study.deliver(ASKED, m.Close(study.session, final=True))
    study.restore(ASKED, old)
    with study.nothing_changes(ASKED), pytest.raises(RequestRefused, match="closed for good"):
        study.deliver(ASKED, study.upload_request())
    others = tuple(name for name in study.names if name != ASKED)
    assert study.round(lose={ASKED: "upload"}).survivors == others
