# SPDX-License-Identifier: Apache-2.0

"""What the grid carries gives nobody away, and a server that lies gets no more than one that does not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

import studies
from flower_grid import InProcessGrid, put_together, taken_apart
from flower_hospitals import (
    fedavg,
    model_arrays,
    nodes_of,
    start,
    study_policy,
    training_app,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from studies import MARKED_WEIGHT, MODEL, NAMES, all_seen, markers, secrets_in, seen_in, site_files

from sordino.adapters.flower import plan_question
from sordino.adapters.flower.envelope import body_of, open_reply, seal_request
from sordino.files.settings import read_roster
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator
from sordino.protocol.exchange import run_phase, set_up
from sordino.protocol.policy import plan_policy
from sordino.protocol.transcript import body_digest


def test_nothing_of_a_site_is_in_the_bytes_that_the_grid_relays(tmp_path, marked):
    nodes = nodes_of(site_files(tmp_path))
    grid = InProcessGrid(nodes.values())
    secrets: set[bytes] = set()

    def spy(node, message):
        record = put_together(node.state).config_records.get("sordino", {})
        if "session" in record:
            secrets.update(secrets_in(record["session"]))
        return ""

    grid.fate = spy
    question = plan_question(
        "train", MODEL, sites=6, max_weight=MARKED_WEIGHT, clip=4.0, metrics={"loss": 8.0}
    )
    policy = plan_policy(study="s", sites=6, plan=[question], across_rounds="accept", rounds=9)
    start(grid, fedavg(), policy, tmp_path)
    assert len(grid.relayed) > 100
    assert seen_in(grid.relayed, markers()) == set()
    assert len(secrets) >= 30
    assert seen_in(grid.relayed, {secret.hex(): secret for secret in secrets}) == set()


def test_without_sordino_the_same_search_finds_it_all(tmp_path, marked):
    nodes = nodes_of(dict.fromkeys(NAMES, tmp_path), mods=[])
    grid = InProcessGrid(nodes.values())
    fedavg().start(grid, ArrayRecord(model_arrays()), num_rounds=1, timeout=1.0)
    assert all_seen(seen_in(grid.relayed, markers()))


# A server that lies ----------------------------------------------------------------------------------------


class Liar:
    """A server that drives the protocol by hand, as far as the attack needs it."""

    def __init__(self, folder, **terms):
        self.nodes = nodes_of(site_files(folder))
        self.grid = InProcessGrid(self.nodes.values())
        self.coordinator = Coordinator(read_roster(folder / "aachen" / "roster.toml"), study_policy(**terms))
        self.records = RecordDict(
            {"arrays": ArrayRecord(model_arrays()), "config": ConfigRecord({"server-round": 1})}
        )
        set_up(self.coordinator, self.ask_request)

    def ask_request(self, request):
        return self.ask(request.site, request.data, self.records if request.body else RecordDict())

    def ask(self, name, data, records=None, kind="train"):
        content = seal_request(data, records or RecordDict())
        (number,) = self.grid.push_messages([Message(content, self.nodes[name].number, kind)])
        (answer,) = self.grid.pull_messages([number])
        return open_reply(answer.content)

    def told(self, *asked, **options):
        """What a site answers, decoded."""
        return wire.read_at_coordinator(self.ask(*asked, **options).data, len(NAMES))

    def open(self, until="done", records=None):
        self.records = records or self.records
        self.coordinator.open_round("train", body_of(self.records))
        while self.coordinator.phase != until:
            run_phase(self.coordinator, self.ask_request)

    def request(self, name="aachen"):
        return next(request for request in self.coordinator.requests() if request.site == name)

    def statement(self):
        return wire.read_at_site(self.request().data, len(NAMES)).statement

    def without(self, statement, name):
        return m.Statement(
            **{
                field: getattr(statement, field)
                for field in ("session", "policy", "round", "question", "cohort")
            },
            survivors=tuple(one for one in statement.survivors if one.site != name),
        )


@pytest.fixture
def liar(tmp_path):
    return Liar(tmp_path)


def refused(answer, reason):
    assert isinstance(answer, m.Refusal), answer
    assert reason in answer.reason, answer.reason
    return True


def calls_of(monkeypatch):
    """How often the app was asked."""
    calls = []
    original = studies.target_of
    monkeypatch.setattr(studies, "target_of", lambda *asked: calls.append(asked) or original(*asked))
    return calls


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_question_in_the_clear_never_reaches_the_app(liar, kind, monkeypatch):
    calls = calls_of(monkeypatch)
    message = Message(liar.records, liar.nodes["aachen"].number, kind)
    (answer,) = liar.grid.pull_messages(liar.grid.push_messages([message]))
    assert answer.has_error()
    assert answer.error.reason == "this site cannot take part"
    assert calls == []


def test_a_second_model_in_one_round_is_refused(liar):
    liar.open(until="confirm")
    liar.coordinator.open_round("train", b"")
    fresh = wire.read_at_site(liar.request().data, len(NAMES))
    other = RecordDict({**liar.records, "more": ConfigRecord({"x": 1})})
    again = m.UploadRequest(fresh.session, 1, "train", digest_of(other), fresh.participants)
    assert refused(liar.told("aachen", wire.to_bytes(again), other), "round 1 is not after round 1")


def digest_of(records):
    return body_digest(body_of(records))


def test_records_that_are_not_those_of_the_question_are_refused(liar, monkeypatch):
    liar.coordinator.open_round("train", body_of(liar.records))
    calls = calls_of(monkeypatch)
    other = ArrayRecord({name: Array(array.numpy() + 1) for name, array in model_arrays().items()})
    records = RecordDict({**liar.records, "arrays": other})
    assert refused(liar.told("aachen", liar.request().data, records), "not the one that the request names")
    assert calls == []


def test_a_question_under_another_type_of_message_is_refused(liar, monkeypatch):
    liar.coordinator.open_round("train", body_of(liar.records))
    calls = calls_of(monkeypatch)
    answer = liar.told("aachen", liar.request().data, liar.records, kind="evaluate")
    assert refused(answer, "came as a message of the type 'evaluate'")
    assert calls == []


def test_an_identical_question_gets_identical_bytes_and_no_second_training(liar, monkeypatch):
    liar.coordinator.open_round("train", body_of(liar.records))
    calls = calls_of(monkeypatch)
    data = liar.request().data
    assert liar.ask("aachen", data, liar.records) == liar.ask("aachen", data, liar.records)
    assert len(calls) == 1


def test_one_statement_a_round_is_signed(liar):
    liar.open(until="confirm")
    statement = liar.statement()
    first = liar.told("aachen", wire.to_bytes(m.ConfirmRequest(statement)))
    assert isinstance(first, m.Confirmation)
    other = wire.to_bytes(m.ConfirmRequest(liar.without(statement, "fulda")))
    assert refused(liar.told("aachen", other), "")


def test_a_state_from_before_the_statement_does_not_sign_another(liar):
    liar.open(until="confirm")
    node, statement = liar.nodes["aachen"], liar.statement()
    before = node.state
    assert isinstance(liar.told("aachen", wire.to_bytes(m.ConfirmRequest(statement))), m.Confirmation)
    node.state = before
    other = wire.to_bytes(m.ConfirmRequest(liar.without(statement, "fulda")))
    answer = liar.told("aachen", other)
    assert refused(answer, "this site cannot take part")  # the state is older than the journal
    assert answer.statement == statement


def test_without_certificates_too_a_state_from_before_does_not_unmask_for_others(tmp_path):
    liar = Liar(tmp_path, consistency=False)
    liar.open(until="unmask")
    node = liar.nodes["aachen"]
    statement = wire.read_at_site(liar.request().data, len(NAMES)).certificate.statement
    before = node.state
    first = liar.told("aachen", liar.request().data)
    assert isinstance(first, m.Unmasking)
    other = wire.to_bytes(m.UnmaskRequest(m.Certificate(liar.without(statement, "fulda"), ())))
    assert refused(liar.told("aachen", other), "")
    node.state = before
    assert refused(liar.told("aachen", other), "this site cannot take part")
    assert liar.told("aachen", liar.request().data) == first


def test_a_state_from_before_the_upload_does_not_upload_again(liar, monkeypatch):
    liar.coordinator.open_round("train", body_of(liar.records))
    node = liar.nodes["aachen"]
    before = node.state
    liar.ask("aachen", liar.request().data, liar.records)
    node.state = before
    calls = calls_of(monkeypatch)
    other = RecordDict({**liar.records, "config": ConfigRecord({"server-round": 2})})
    fresh = wire.read_at_site(liar.request().data, len(NAMES))
    again = m.UploadRequest(fresh.session, 1, "train", digest_of(other), fresh.participants)
    assert refused(liar.told("aachen", wire.to_bytes(again), other), "round 1 is not after round 1")
    assert calls == []


def test_a_journal_that_was_rolled_back_stops_the_site(liar, tmp_path):
    path = tmp_path / "aachen" / "journal" / "journal.jsonl"
    before = path.read_bytes()
    liar.open()
    path.write_bytes(before)
    liar.coordinator.open_round("train", body_of(liar.records))
    assert refused(liar.told("aachen", liar.request().data, liar.records), "this site cannot take part")


def test_a_site_whose_state_is_lost_takes_no_question(liar):
    node = liar.nodes["aachen"]
    node.state = taken_apart(RecordDict())
    liar.coordinator.open_round("train", body_of(liar.records))
    answer = liar.told("aachen", liar.request().data, liar.records)
    assert refused(answer, "this site cannot take part")
    assert answer.session == b""


def test_an_offer_below_the_floor_is_refused_without_the_floor(tmp_path):
    settings = site_files(tmp_path, floor='across_rounds = ["accept"]\nmin_cohort = 5')
    nodes = nodes_of(settings)
    grid = InProcessGrid(nodes.values())
    with pytest.raises(Exception, match="the policy is not one that this site accepts"):
        start(grid, fedavg(), study_policy(), tmp_path)
    assert not any(b"min_cohort 4" in part for part in grid.relayed)


def test_another_offer_does_not_cost_a_site_its_session_unless_it_takes_it(liar, tmp_path):
    node = liar.nodes["aachen"]
    before = put_together(node.state)["sordino"]["session"]
    roster = read_roster(tmp_path / "aachen" / "roster.toml")
    poor = Coordinator(roster, study_policy(across_rounds="accept", colluders=0))
    (offer,) = {request.data for request in poor.requests()}
    assert isinstance(liar.told("aachen", offer), m.Refusal)
    assert put_together(node.state)["sordino"]["session"] == before


@pytest.mark.parametrize("what", ["raises", "too large", "no count", "another shape", "an array more"])
def test_what_goes_wrong_in_an_app_stays_at_the_site(tmp_path, what, caplog):
    told = "patient QX-4711-Z has 37.5"

    def change(content):
        if what == "raises":
            raise ValueError(told)
        arrays = content["arrays"]
        if what == "too large":
            arrays["bias"] = Array(np.full(2, 1e9, np.float32))
        elif what == "another shape":
            arrays["bias"] = Array(np.zeros(3, np.float32))
        elif what == "an array more":
            arrays["secret"] = Array(np.zeros(3, np.float32))
        else:
            del content["metrics"]["num-examples"]

    nodes = nodes_of(site_files(tmp_path), bergen=training_app("bergen", change=change))
    grid = InProcessGrid(nodes.values())
    secure, _ = start(grid, fedavg(), study_policy(), tmp_path)
    (done,) = secure.rounds
    assert done.dropped == ("bergen",)
    assert not any(b"QX-4711-Z" in part or b"1e+09" in part or b"secret" in part for part in grid.relayed)
    named = {
        "raises": told,
        "too large": "block 'arrays'",
        "no count": "'num-examples'",
        "another shape": "array 'bias' has the shape (3,), and (2,) was sent",
        "an array more": "['secret']",
    }
    assert named[what] in caplog.text
