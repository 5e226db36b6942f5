# SPDX-License-Identifier: Apache-2.0

"""States restored from backups, states that two processes share, journals that were cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adversarial.toolkit import Study, make_policy, read, ready
from sordino.errors import JournalError, RequestRefused, RoundAborted, StateError
from sordino.files.journal import FileJournal
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.policy import Policy

ASKED = "site02"


def on_disk(tmp_path: Path, policy: Policy | None = None, **terms: object) -> Study:
    def journal(name: str) -> FileJournal:
        return FileJournal(tmp_path / name)

    return Study(policy or make_policy(), journals=journal, **terms)


def lines(tmp_path: Path) -> list[bytes]:
    return (tmp_path / ASKED / "journal.jsonl").read_bytes().splitlines(keepends=True)


def write(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ASKED / "journal.jsonl").write_bytes(content)


# A state from a backup ----------------------------------------------------------------------------------


def test_a_state_from_before_r1_gives_the_stored_upload_or_skips_the_round() -> None:
    study = ready().to("upload")
    before = study.saved(ASKED)
    request = study.requests()[ASKED]
    first = study.deliver(ASKED, request.data)
    study.restore(ASKED, before)
    assert study.deliver(ASKED, request.data) == first, "the identical request gets the identical bytes"
    other = study.upload_request(round=1, participants=study.names[1:])
    with study.nothing_changes(), pytest.raises(RequestRefused, match="not after round 1"):
        study.deliver(ASKED, other)
    # Its keys of round 1 are gone, so it drops out of the rest of the round and is back in the next.
    result = study.round()
    assert (result.survivors, result.vanished) == (study.names, (ASKED,))
    assert study.round().vanished == ()


def test_a_state_from_before_r1_steps_to_the_same_keys_in_the_next_round() -> None:
    study = ready()
    before = study.saved(ASKED)
    study.round()
    study.restore(ASKED, before)
    assert study.round().survivors == study.names


def test_a_state_from_before_r2_signs_no_second_statement() -> None:
    study = ready().to("confirm")
    before = study.saved(ASKED)
    statement, other = study.statement(), study.statement(study.names[:5])
    first = study.deliver(ASKED, m.ConfirmRequest(statement))
    study.restore(ASKED, before)
    assert study.deliver(ASKED, m.ConfirmRequest(statement)) == first
    for message in (
        m.ConfirmRequest(other),
        m.UnmaskRequest(study.certificate(other)),
        m.UnmaskRequest(study.certificate(statement)),
        study.recover_request(ASKED, "site03", study.certificate(other)),
    ):
        with study.nothing_changes(), pytest.raises(StateError, match="older than the journal"):
            study.deliver(ASKED, message)
    assert study.round().vanished == (ASKED,)
    assert study.round().vanished == ()


def test_a_state_from_before_r3_opens_nothing_but_the_stored_answer() -> None:
    study = ready().to("unmask")
    before = study.saved(ASKED)
    request = study.requests()[ASKED]
    first = study.deliver(ASKED, request.data)
    study.restore(ASKED, before)
    assert study.deliver(ASKED, request.data) == first
    other = study.certificate(study.statement(), study.names[-4:])
    with study.nothing_changes(), pytest.raises(StateError, match="older than the journal"):
        study.deliver(ASKED, m.UnmaskRequest(other))
    assert study.round().survivors == study.names


def test_a_state_from_before_r4_gives_each_share_once() -> None:
    study = ready().to("unmask")
    before = study.saved(ASKED)
    request = study.recover_request(ASKED, "site03")
    first = study.deliver(ASKED, request)
    study.restore(ASKED, before)
    assert study.deliver(ASKED, request) == first
    with study.nothing_changes(), pytest.raises(StateError):
        study.deliver(ASKED, study.recover_request(ASKED, "site04"))


def test_a_state_of_an_earlier_round_does_not_open_it_again() -> None:
    study = ready().to("unmask")
    before = study.saved(ASKED)
    certificate = study.certificate(study.statement())
    study.deliver(ASKED, study.upload_request(round=2))
    study.restore(ASKED, before)
    assert study.sites[ASKED].state.open is not None
    with study.nothing_changes(ASKED), pytest.raises(StateError):
        study.deliver(ASKED, m.UnmaskRequest(certificate))


@pytest.mark.parametrize("phase", ["advertise", "seal", "receipt"])
def test_a_state_from_set_up_cannot_upload_once_the_journal_is_ahead(phase: str) -> None:
    study = Study().to(phase)
    before = study.saved(ASKED) if phase != "advertise" else None
    study.set_up()
    study.restore(ASKED, before)
    with study.nothing_changes(), pytest.raises(StateError):
        study.deliver(ASKED, study.upload_request())
    if phase != "advertise":
        with study.nothing_changes(), pytest.raises(StateError, match="older than the journal"):
            study.deliver(ASKED, m.Boxes(study.session, ()))


def test_a_finally_closed_session_is_not_opened_by_an_older_state() -> None:
    study = ready()
    before = study.saved(ASKED)
    session = study.session
    study.deliver(ASKED, m.Close(session, final=True))
    study.restore(ASKED, before)
    with study.nothing_changes(), pytest.raises((RequestRefused, StateError), match="closed"):
        study.deliver(ASKED, study.upload_request())


def test_a_state_of_another_site_or_a_damaged_one_is_refused() -> None:
    study = ready()
    saved = study.saved("site03")
    fresh = study.new_site(ASKED)
    with pytest.raises(StateError, match="of site 'site03'"):
        fresh.load(saved)
    for damaged in (b"", b"\x02" + saved[1:], saved[:-1], saved[:40], saved + b"\0", b"\x01", b"\x01\xc1"):
        with pytest.raises(StateError):
            fresh.load(damaged)
    assert fresh.state is None


# Two processes, two sessions ----------------------------------------------------------------------------


def test_two_processes_on_one_state_answer_a_round_once(tmp_path: Path) -> None:
    study = on_disk(tmp_path).to("upload")
    first, second = study.sites[ASKED], study.new_site(ASKED, study.saved(ASKED))
    second._journal = FileJournal(tmp_path / ASKED)  # as another process opens it
    request = study.requests()[ASKED]
    reply = study.upload(first, request.data, b"")
    assert study.upload(second, request.data, b"") == reply
    study.sites[ASKED] = second
    with study.nothing_changes(ASKED), pytest.raises(RequestRefused, match="not after round"):
        study.deliver(ASKED, study.upload_request(round=1, participants=study.names[1:]))
    # The second process has none of the round's keys, and says so; the first still has.
    study.sites[ASKED] = first
    assert study.round().vanished == ()


def test_two_processes_cannot_sign_two_statements(tmp_path: Path) -> None:
    study = on_disk(tmp_path).to("confirm")
    first, second = study.sites[ASKED], study.new_site(ASKED, study.saved(ASKED))
    second._journal = FileJournal(tmp_path / ASKED)
    study.deliver(ASKED, m.ConfirmRequest(study.statement()))
    study.sites[ASKED] = second
    with study.nothing_changes(ASKED), pytest.raises(StateError):
        study.deliver(ASKED, m.ConfirmRequest(study.statement(study.names[:5])))
    study.sites[ASKED] = first
    study.round()


def test_two_sessions_on_one_data_set_share_one_freeze(tmp_path: Path) -> None:
    first = on_disk(tmp_path, make_policy(across_rounds="freeze")).set_up()
    second = Study(make_policy(across_rounds="freeze"), shared=first).set_up()
    first.to("confirm")
    with second.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        second.deliver(ASKED, second.upload_request(participants=second.names[:5]))
    second.to("confirm")
    first.round()
    with second.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
        second.deliver(ASKED, m.ConfirmRequest(second.statement(second.names[:5])))
    second.round()


def test_interleaved_sessions_do_not_disturb_each_other() -> None:
    one = Study().to("receipt")
    two = Study(make_policy(rounds=9), shared=one).to("seal")
    for phase in ("upload", "confirm", "unmask"):
        one.to(phase)
        two.to(phase)
    assert one.round().survivors == two.round().survivors == one.names
    two.round(lose={"site01": "unmask"})
    one.round(lose={"site02": "upload"})


def test_messages_of_one_session_are_refused_in_the_other() -> None:
    one = ready()
    two = Study(make_policy(), shared=one).set_up()
    one.to("unmask")
    two.to("unmask")
    for exchange in [e for e in two.log if e.request.site == ASKED]:
        with one.nothing_changes(ASKED), pytest.raises(RequestRefused):
            one.deliver(ASKED, exchange.request.data, exchange.request.body)
    assert one.round().survivors == two.round().survivors == one.names


# A journal that was cut ---------------------------------------------------------------------------------


CUTS: dict[str, Callable[[list[bytes]], bytes]] = {
    "the last line": lambda found: b"".join(found[:-1]),
    "all but one line": lambda found: found[0],
    "everything": lambda _: b"",
    "the end of the last line": lambda found: b"".join(found)[:-1],
    "half of the last line": lambda found: b"".join(found)[: -len(found[-1]) // 2],
}
DAMAGES: dict[str, Callable[[list[bytes]], bytes]] = {
    "a line in the middle missing": lambda found: b"".join(found[:1] + found[2:]),
    "two lines exchanged": lambda found: b"".join([found[1], found[0], *found[2:]]),
    "a line twice": lambda found: b"".join([*found, found[-1]]),
    "a foreign line": lambda found: b"".join([*found, b"{}\n"]),
    "an altered byte": lambda found: b"".join(found).replace(b'"round":0', b'"round":1', 1),
    "another data set": lambda found: b"".join(found).replace(b"default", b"defau1t", 1),
    "a line break in a line": lambda found: b"".join(found).replace(b"default", b"defau\rt", 1),
    "not utf-8": lambda found: b"".join(found).replace(b"default", b"defau\xfft", 1),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_truncated_journal_stops_the_site(tmp_path: Path, cut: str, restarted: bool) -> None:
    study = on_disk(tmp_path).to("confirm")
    write(tmp_path, CUTS[cut](lines(tmp_path)))
    check_stopped(study, tmp_path, restarted=restarted)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_stops_a_site_that_reads_it(tmp_path: Path, damage: str) -> None:
    study = on_disk(tmp_path).to("confirm")
    damaged = DAMAGES[damage](lines(tmp_path))
    write(tmp_path, damaged)
    check_stopped(study, tmp_path, restarted=True)
    assert b"".join(lines(tmp_path)) == damaged, "what is damaged stays for whoever looks into it"


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_deleted_journal_stops_the_site(tmp_path: Path, restarted: bool) -> None:
    study = on_disk(tmp_path).to("confirm")
    (tmp_path / ASKED / "journal.jsonl").unlink()
    check_stopped(study, tmp_path, restarted=restarted)


def check_stopped(study: Study, tmp_path: Path, *, restarted: bool) -> None:
    statement = study.statement()
    if restarted:
        study.journals[ASKED] = FileJournal(tmp_path / ASKED)
        study.restore(ASKED, study.saved(ASKED))
    before = study.saved(ASKED)
    for message in (m.ConfirmRequest(statement), m.UnmaskRequest(study.certificate(statement))):
        with pytest.raises(JournalError):
            study.sites[ASKED].handle(wire.to_bytes(message))
    with pytest.raises(JournalError):
        study.upload(study.sites[ASKED], wire.to_bytes(study.upload_request(round=2)), b"")
    assert study.saved(ASKED) == before


def test_the_study_goes_on_without_a_site_whose_journal_is_gone(tmp_path: Path) -> None:
    study = on_disk(tmp_path).set_up()
    (tmp_path / ASKED / "journal.jsonl").unlink()
    study.journals[ASKED] = FileJournal(tmp_path / ASKED)
    study.restore(ASKED, study.saved(ASKED))
    study.to("upload")
    with pytest.raises(JournalError):
        study.deliver(ASKED, study.requests()[ASKED].data)
    assert study.round(lose={ASKED: "upload"}).dropped == (ASKED,)


def test_an_altered_stored_answer_is_never_sent(tmp_path: Path) -> None:
    study = on_disk(tmp_path).to("confirm")
    (kept,) = (tmp_path / ASKED / "replies").iterdir()
    for path in kept.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    request = next(e.request for e in study.log if e.request.site == ASKED and e.phase == "upload")
    with pytest.raises(JournalError, match="altered"):
        study.sites[ASKED].upload(request.data, b"", study.vectors[ASKED].copy())


def test_an_upload_too_large_to_keep_is_not_repeated(tmp_path: Path) -> None:
    study = Study(journals=lambda name: FileJournal(tmp_path / name, keep_bytes=4)).to("confirm")
    request = next(e.request for e in study.log if e.request.site == ASKED and e.phase == "upload")
    with study.nothing_changes(), pytest.raises(RequestRefused, match="too large to keep"):
        study.deliver(ASKED, request.data)
    assert study.round().survivors == study.names


def test_a_state_restored_together_with_its_journal_is_all_that_goes_unnoticed(tmp_path: Path) -> None:
    """What docs/threat-model.md says: such a site counts among the colluders. A certificate still needs t."""
    study = on_disk(tmp_path).to("confirm")
    state, kept = study.saved(ASKED), b"".join(lines(tmp_path))
    study.deliver(ASKED, m.ConfirmRequest(study.statement()))
    write(tmp_path, kept)
    study.journals[ASKED] = FileJournal(tmp_path / ASKED)
    study.restore(ASKED, state)
    second = study.statement(study.names[:5])
    read(study.deliver(ASKED, m.ConfirmRequest(second)).data, m.Confirmation)
    for name in study.names:
        if name != ASKED:
            study.deliver(name, m.ConfirmRequest(study.statement()))
    with pytest.raises(RequestRefused):
        study.deliver("site01", m.UnmaskRequest(study.certificate(second)))


def test_a_frozen_round_after_a_rollback_is_still_frozen(tmp_path: Path) -> None:
    study = on_disk(tmp_path, make_policy(across_rounds="freeze")).set_up()
    before = {name: study.saved(name) for name in study.names}
    study.round(lose={"site05": "upload"})
    for name in study.names:
        study.restore(name, before[name])
    with study.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        study.deliver(ASKED, study.upload_request(participants=study.names[:5]))
    with pytest.raises(RoundAborted):
        study.round(lose={"site04": "upload"})
    assert study.round().survivors == study.names[:5]
