# SPDX-License-Identifier: Apache-2.0

"""Processes that die between writing and sending, and processes that share a journal."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from adversarial.site_process import start
from adversarial.toolkit import Study, make_policy, read
from sordino.files.journal import FileJournal
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.transcript import body_digest

ASKED = "site02"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    def journal(name: str) -> FileJournal:
        return FileJournal(tmp_path / name)

    return Study(make_policy(), journals=journal)


def kill(study: Study, tmp_path: Path, request: bytes, dies: str) -> None:
    answer = start(study, tmp_path / ASKED, ASKED, request, dies=dies).wait()
    assert (answer.reply, answer.code) == (None, -signal.SIGKILL)


def come_back(study: Study, tmp_path: Path) -> None:
    """The operator starts the site again: from the state that was saved last, before it died."""
    study.journals[ASKED] = FileJournal(tmp_path / ASKED)
    study.restore(ASKED, study.saved(ASKED))


@pytest.mark.parametrize("dies", ["before anything", "between reply and line", "within the line"])
def test_an_upload_that_was_not_in_the_journal_was_not_sent_and_is_made_anew(
    study: Study, tmp_path: Path, dies: str
) -> None:
    study.to("upload")
    kill(study, tmp_path, study.requests()[ASKED].data, dies)
    come_back(study, tmp_path)
    assert (tmp_path / ASKED / "journal.jsonl").read_bytes().endswith(b"\n") or dies == "within the line"
    result = study.round()
    assert (result.survivors, result.vanished) == (study.names, ())
    assert len(list((tmp_path / ASKED).glob("torn-*"))) == (dies == "within the line")


def test_an_upload_that_was_in_the_journal_is_sent_as_it_was_and_its_site_recovered(
    study: Study, tmp_path: Path
) -> None:
    study.to("upload")
    request = study.requests()[ASKED]
    kill(study, tmp_path, request.data, "after the line")
    come_back(study, tmp_path)
    first = study.deliver(ASKED, request.data)
    # Another process, from the same state and with another vector, gives the same bytes.
    study.vectors[ASKED] += 1
    again = start(study, tmp_path / ASKED, ASKED, request.data).wait()
    assert again.reply == first
    study.vectors[ASKED] -= 1
    changed = wire.to_bytes(study.upload_request(round=1, body=body_digest(b"B")))
    other = start(study, tmp_path / ASKED, ASKED, changed, body=b"B").wait()
    assert (other.reply, other.error) == (None, "RequestRefused")
    # Its round keys died with the process, so the others open its upload; the next round needs nobody's help.
    assert study.round().vanished == (ASKED,)
    assert study.round().vanished == ()


@pytest.mark.parametrize("step", ["confirm", "unmask", "recover"])
def test_an_answer_that_was_in_the_journal_is_sent_as_it_was_after_a_kill(
    study: Study, tmp_path: Path, step: str
) -> None:
    study.to("confirm" if step == "confirm" else "unmask")
    statement = study.statement()
    request = {
        "confirm": m.ConfirmRequest(statement),
        "unmask": m.UnmaskRequest(study.certificate(statement)),
        "recover": study.recover_request(ASKED, "site04"),
    }[step]
    data = wire.to_bytes(request)
    kill(study, tmp_path, data, "after the line")
    come_back(study, tmp_path)
    first = study.deliver(ASKED, data)
    assert study.deliver(ASKED, data) == first
    kind = {"confirm": m.Confirmation, "unmask": m.Unmasking, "recover": m.Recovery}[step]
    read(first.data, kind)
    other = {
        "confirm": m.ConfirmRequest(study.statement(study.names[:5])),
        "unmask": m.UnmaskRequest(study.certificate(statement, study.names[1:])),
        "recover": study.recover_request(ASKED, "site05"),
    }[step]
    answer = start(study, tmp_path / ASKED, ASKED, wire.to_bytes(other)).wait()
    assert (answer.reply, answer.error) == (None, "StateError")
    assert study.round().survivors == study.names


def test_processes_that_race_for_one_round_give_one_upload_between_them(study: Study, tmp_path: Path) -> None:
    study.to("upload")
    gate = tmp_path / "gate"
    bodies = [b"A", b"A", b"B"]
    racing = [
        start(
            study,
            tmp_path / ASKED,
            ASKED,
            wire.to_bytes(study.upload_request(round=1, body=body_digest(body))),
            body=body,
            gate=str(gate),
        )
        for body in bodies
    ]
    gate.touch()
    answers = [running.wait() for running in racing]
    sent = [answer.reply for answer in answers if answer.reply is not None]
    assert sent
    assert all(reply == sent[0] for reply in sent)
    questions = {read(reply.data, m.Upload).summary.question for reply in sent}
    assert len(questions) == 1
    for body, answer in zip(bodies, answers, strict=True):
        winner = next(b for b, a in zip(bodies, answers, strict=True) if a.reply is not None)
        assert (answer.reply is not None) == (body == winner)
        assert answer.error == ("" if body == winner else "RequestRefused")
    entries = (tmp_path / ASKED / "journal.jsonl").read_bytes().count(b"UploadRequest")
    assert entries == 1


def test_a_process_waits_while_another_holds_the_journal(study: Study, tmp_path: Path) -> None:
    study.to("confirm")
    data = wire.to_bytes(m.ConfirmRequest(study.statement()))
    with study.journals[ASKED].open() as book:
        waiting = start(study, tmp_path / ASKED, ASKED, data)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.process.wait(timeout=1.5)
        length = book.index.length
    assert read(waiting.wait().reply.data, m.Confirmation).site == ASKED
    with study.journals[ASKED].open() as book:
        assert book.index.length == length + 1
