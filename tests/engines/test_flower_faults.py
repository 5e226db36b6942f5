# SPDX-License-Identifier: Apache-2.0

"""Nodes and servers that come late, twice, again, with another's key: a finished study, or a reason."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

import flwr.app.message.message as flower_message
import httpx
from flower_grid import InProcessGrid, Node
from flower_hospitals import arrays_of, fedavg, nodes_of, request_in, start, study_policy, survivors
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from studies import NAMES, Killed, assert_same, give_key_of, give_old_roster, site_files, uploads

from sordino.adapters.flower.envelope import open_request, seal_reply
from sordino.errors import RoundAborted, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.enrolment import advertise
from sordino.protocol.journal import Reply
from sordino.protocol.keys import Identity

# Nodes -----------------------------------------------------------------------------------------------------


def test_a_node_that_joins_late_waits_for_the_next_session(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    late = nodes["fulda"]
    grid = InProcessGrid(node for node in nodes.values() if node is not late)

    def comes(node, message):
        if isinstance(request_in(message), m.UploadRequest):
            grid.nodes[late.number] = late
        return ""

    grid.fate = comes
    secure, _ = start(grid, fedavg(), study_policy(), tmp_path, rounds=2)
    assert survivors(secure) == ["abcde", "abcde"]
    assert late.handled == 0
    secure, _ = start(grid, fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["abcdef"]


def test_a_site_that_comes_as_two_nodes_takes_part_as_one(tmp_path, caplog):
    settings = site_files(tmp_path)
    nodes = nodes_of(settings)
    twin = nodes_of(settings)["bergen"]
    twin.number = 99
    secure, _ = start(InProcessGrid([*nodes.values(), twin]), fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["abcdef"]
    assert twin.handled == 1
    assert "another node is site 'bergen' already" in caplog.text
    assert uploads(tmp_path, "bergen") == [1]


def impostor(name: str, identity: Identity) -> ClientApp:
    """A node that takes an offer in the name of another site, by a key of its own."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        data, _ = open_request(message.content)
        offer = wire.read_at_site(data, len(NAMES))
        _, advertisement = advertise(identity, offer, ("all",), os.urandom)
        return Message(seal_reply(Reply(wire.to_bytes(advertisement))), reply_to=message)

    return app


def test_a_node_that_signs_for_another_site_has_no_part(tmp_path, caplog):
    settings = site_files(tmp_path)
    nodes = nodes_of(settings, bergen=impostor("bergen", Identity.generate("bergen")))
    secure, _ = start(InProcessGrid(nodes.values()), fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["acdef"]
    assert "node 11 has no part in the session" in caplog.text


def test_a_node_with_anothers_key_file_is_stopped_by_its_own_roster(tmp_path, caplog):
    settings = site_files(tmp_path)
    give_key_of(settings, "bergen", "essen")
    secure, _ = start(InProcessGrid(nodes_of(settings).values()), fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["acdef"]
    assert "the roster does not have site 'bergen' with the key in ../essen/essen.key" in caplog.text


def test_a_node_with_an_old_roster_refuses_and_the_others_go_on(tmp_path, caplog):
    settings = site_files(tmp_path)
    give_old_roster(tmp_path, "bergen")
    secure, _ = start(InProcessGrid(nodes_of(settings).values()), fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["acdef"]
    assert "the offer is for another roster than the one pinned here" in caplog.text


def test_too_few_nodes_end_the_study_with_what_they_said(tmp_path):
    settings = site_files(tmp_path, floor='across_rounds = ["freeze"]')
    with pytest.raises(
        RoundAborted, match=r"0 sites advertised, at least 4 .* not one that this site accepts"
    ):
        start(InProcessGrid(nodes_of(settings).values()), fedavg(), study_policy(), tmp_path)


def test_a_node_without_a_site_says_what_its_configuration_lacks(tmp_path, caplog):
    nodes = nodes_of(site_files(tmp_path))
    nodes["bergen"].config.clear()
    start(InProcessGrid(nodes.values()), fedavg(), study_policy(), tmp_path)
    assert "the node's configuration lacks 'sordino-site'" in caplog.text


@pytest.mark.parametrize("side", ["node", "server"])
def test_another_version_of_the_wire_is_told_and_left_out(tmp_path, side, caplog):
    nodes = nodes_of(site_files(tmp_path))
    other = nodes["bergen"]
    app = other.app

    def speaks_version_2(message: Message, context: Context) -> Message:
        if side == "server":
            record = message.content["sordino"]
            record["request"] = b"\x02" + record["request"][1:]
        reply = app(message, context)
        if side == "node" and reply.has_content():
            record = reply.content["sordino"]
            record["answer"] = b"\x02" + record["answer"][1:]
        return reply

    other.app = speaks_version_2
    secure, _ = start(InProcessGrid(nodes.values()), fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["acdef"]
    assert "a message has version 2, this side speaks 1" in caplog.text


def test_a_node_that_lost_its_state_comes_back_with_the_next_session(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    forgetful = [nodes[name] for name in NAMES[:3]]
    grid = InProcessGrid(nodes.values())

    def forgets(node, message):
        asked = request_in(message)
        if isinstance(asked, m.UploadRequest) and asked.round == 2 and node in forgetful:
            forgetful.remove(node)
            node.state = Node(0, node.app, {}).state
        return ""

    grid.fate = forgets
    secure, _ = start(grid, fedavg(), study_policy(), tmp_path, rounds=2)
    assert survivors(secure) == ["abcdef", "", "abcdef"]
    assert [done.number for done in secure.rounds] == [1, 2, 1]


# Clocks -------------------------------------------------------------------------------------------------


def test_clocks_an_hour_apart_change_nothing(tmp_path, monkeypatch):
    nodes = nodes_of(site_files(tmp_path))
    offset = timedelta()
    true_now = flower_message.now
    monkeypatch.setattr(flower_message, "now", lambda: true_now() + offset)
    for place, node in enumerate(nodes.values()):

        def handle(message, node=node, hours=(-1, 0, 1)[place % 3]):
            nonlocal offset
            offset = timedelta(hours=hours)
            try:
                return Node.handle(node, message)
            finally:
                offset = timedelta()

        node.handle = handle
    secure, _ = start(InProcessGrid(nodes.values()), fedavg(), study_policy(), tmp_path)
    assert survivors(secure) == ["abcdef"]


# The way ---------------------------------------------------------------------------------------------------


def test_connections_that_break_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("sordino.adapters.flower.line._POLL_SECONDS", 0.001)
    nodes = nodes_of(site_files(tmp_path))

    class Breaking(InProcessGrid):
        """Every third push breaks, before it or after it has gone out; so does every second pull."""

        pushes = pulls = 0

        def push_messages(self, messages):
            self.pushes += 1
            if self.pushes % 6 == 2:
                raise httpx.ConnectError("cut")
            numbers = super().push_messages(messages)
            if self.pushes % 6 == 5:
                raise httpx.ReadTimeout("cut")
            return numbers

        def pull_messages(self, message_ids):
            self.pulls += 1
            if self.pulls % 2:
                raise httpx.RemoteProtocolError("cut")
            return super().pull_messages(message_ids)

    grid = Breaking(nodes.values())
    secure, _ = start(grid, fedavg(), study_policy(), tmp_path, rounds=3, answer_within=5.0)
    assert survivors(secure) == ["abcdef"] * 3
    assert uploads(tmp_path, "bergen") == [1, 2, 3]


def test_a_superlink_that_is_gone_ends_the_study_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("sordino.adapters.flower.line._POLL_SECONDS", 0.001)
    grid = InProcessGrid(nodes_of(site_files(tmp_path)).values())

    def gone(messages):
        raise httpx.ConnectError("connection refused")

    grid.push_messages = gone
    with pytest.raises(RoundAborted, match="the SuperLink takes no messages: connection refused"):
        start(grid, fedavg(), study_policy(), tmp_path)


# The server -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [m.UploadRequest, m.ConfirmRequest, m.UnmaskRequest])
@pytest.mark.parametrize("across_rounds", ["accept", "freeze"])
def test_a_server_that_is_killed_in_a_round_goes_on_with_the_next(tmp_path, at, across_rounds):
    nodes = nodes_of(site_files(tmp_path))
    grid = InProcessGrid(nodes.values())
    asked: list[int] = []

    def kills(node, message):
        request = request_in(message)
        if isinstance(request, m.UploadRequest):
            asked.append(request.round)
        if asked and asked[-1] == 2 and isinstance(request, at) and node is nodes["delft"]:
            raise Killed
        return ""

    policy, directory = study_policy(across_rounds=across_rounds), tmp_path / "server"
    grid.fate = kills
    with pytest.raises(Killed):
        start(grid, fedavg(), policy, tmp_path, rounds=3, directory=directory)
    grid.fate = lambda node, message: ""
    secure, result = start(grid, fedavg(), policy, tmp_path, rounds=3, directory=directory)
    assert [(done.number, done.lost) for done in secure.rounds] == [(3, ""), (4, "")]
    assert uploads(tmp_path, "aachen") == [1, 2, 3, 4]
    whole_folder = tmp_path / "whole"
    whole = InProcessGrid(nodes_of(site_files(whole_folder)).values())
    _, expected = start(whole, fedavg(), policy, whole_folder, rounds=3)
    assert_same(arrays_of(result), arrays_of(expected))


def test_a_study_that_is_over_asks_nothing_more(tmp_path):
    grid = InProcessGrid(nodes_of(site_files(tmp_path)).values())
    directory = tmp_path / "server"
    _, first = start(grid, fedavg(), study_policy(), tmp_path, rounds=2, directory=directory)
    secure, again = start(grid, fedavg(), study_policy(), tmp_path, rounds=2, directory=directory)
    assert secure.rounds == ()
    assert_same(arrays_of(again), arrays_of(first))


def test_a_disk_that_is_full_at_the_server_stops_it_before_it_asks(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    grid, directory = InProcessGrid(nodes.values()), tmp_path / "server"
    directory.mkdir()
    (directory / "session.state.new").symlink_to("/dev/full")
    with pytest.raises(StateError, match=r"session.state cannot be written: No space left on device"):
        start(grid, fedavg(), study_policy(), tmp_path, directory=directory)
    assert uploads(tmp_path, "aachen") == []
    (directory / "session.state.new").unlink()
    secure, _ = start(grid, fedavg(), study_policy(), tmp_path, directory=directory)
    assert survivors(secure) == ["abcdef"]


@pytest.mark.parametrize("file", ["session.state", "model.state"])
def test_a_damaged_file_of_the_server_is_named(tmp_path, file):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / file).write_bytes(b"\x01" + bytes(40))
    grid = InProcessGrid(nodes_of(site_files(tmp_path)).values())
    with pytest.raises(StateError, match=f"{file}: the saved state is damaged"):
        start(grid, fedavg(), study_policy(), tmp_path, directory=tmp_path / "server")


def test_a_strategy_that_asks_nodes_differently_is_told_so(tmp_path):
    class Personal(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            for node in grid.get_node_ids():
                own = ConfigRecord({"node": node})
                yield Message(RecordDict({"arrays": arrays, "config": own}), node, "train")

    grid = InProcessGrid(nodes_of(site_files(tmp_path)).values())
    with pytest.raises(ValueError, match="one sum has one question"):
        start(grid, Personal(fraction_evaluate=0.0), study_policy(), tmp_path)
