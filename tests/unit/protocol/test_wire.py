# SPDX-License-Identifier: Apache-2.0

"""The wire: a version byte and msgpack, nothing else, and nothing too long."""

from __future__ import annotations

import msgspec
import pytest

from adversarial.toolkit import Study, make_policy
from sordino.errors import MalformedMessage
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.policy import MAX_ROUNDS

CLOSE = m.Close(bytes(32), final=True)
REFUSAL = m.Refusal("lyon", b"", 0, "new", "no", (), None, None)


def packed(*fields: object) -> bytes:
    return b"\x01" + msgspec.msgpack.encode(fields)


def test_a_message_is_a_version_a_name_and_its_fields_in_order() -> None:
    assert wire.to_bytes(CLOSE) == packed("Close", bytes(32), True)
    assert wire.read_at_site(packed("Close", bytes(32), True), 3) == CLOSE


def test_every_message_of_a_study_is_read_as_it_was_written() -> None:
    study = Study(make_policy(chain=True))
    study.round(lose={"site04": "unmask"})
    for exchange in study.log:
        request = wire.read_at_site(exchange.request.data, 6)
        reply = wire.read_at_coordinator(exchange.reply.data, 6)
        assert wire.to_bytes(request) == exchange.request.data
        assert wire.to_bytes(reply) == exchange.reply.data


def test_each_side_reads_only_what_the_other_sends() -> None:
    with pytest.raises(MalformedMessage):
        wire.read_at_coordinator(wire.to_bytes(CLOSE), 3)
    with pytest.raises(MalformedMessage):
        wire.read_at_site(wire.to_bytes(REFUSAL), 3)


@pytest.mark.parametrize(
    "data",
    [
        packed(),
        packed("Close"),
        packed("Close", bytes(32)),
        packed("Close", bytes(32), True, None),
        packed("Close", bytes(31), True),
        packed("Close", bytes(33), True),
        packed("Close", "0" * 32, True),
        packed("Close", bytes(32), 1),
        packed("Close", None, True),
        packed("close", bytes(32), True),
        packed("Message"),
        packed(1, bytes(32), True),
        b"\x01" + msgspec.msgpack.encode({"type": "Close", "session": bytes(32), "final": True}),
        packed("UploadRequest", bytes(32), -1, "sum", bytes(32), ("a",)),
        packed("UploadRequest", bytes(32), MAX_ROUNDS + 1, "sum", bytes(32), ("a",)),
        packed("UploadRequest", bytes(32), 1.0, "sum", bytes(32), ("a",)),
        packed("UploadRequest", bytes(32), True, "sum", bytes(32), ("a",)),
        packed("UploadRequest", bytes(32), 1, "", bytes(32), ("a",)),
        packed("UploadRequest", bytes(32), 1, "sum", bytes(32), ("a b",)),
        packed("UploadRequest", bytes(32), 1, "sum", bytes(32), ("x" * 65,)),
        packed("UploadRequest", bytes(32), 1, "sum", bytes(32), "ab"),
        packed("UploadRequest", bytes(32), 1, "sum", bytes(32), ["a"] * 5000),
    ],
)
def test_a_field_too_many_too_few_or_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        wire.read_at_site(data, 6)


def test_an_offer_whose_policy_contradicts_itself_is_refused() -> None:
    study = Study()
    parts = msgspec.msgpack.decode(study.requests()["site01"].data[1:])
    for field, wrong in (("threshold", 2), ("bits", 3), ("sites", 2), ("clip", float("nan")), ("unknown", 1)):
        changed = {**parts[3]}
        if field == "clip":
            blocks = [{**changed["plan"][0]["blocks"][0], "clip": wrong}]
            changed["plan"] = [{**changed["plan"][0], "blocks": blocks}]
        else:
            changed[field] = wrong
        with pytest.raises(MalformedMessage):
            wire.read_at_site(packed(*parts[:3], changed), 6)
    assert isinstance(wire.read_at_site(packed(*parts), 6), m.Offer)


def test_the_limit_grows_with_the_roster_and_is_checked_first() -> None:
    assert wire.size_limit(3) < wire.size_limit(6) < wire.size_limit(100)
    with pytest.raises(MalformedMessage, match="longer than"):
        wire.read_at_site(bytes(wire.size_limit(3) + 1), 3)
    with pytest.raises(MalformedMessage, match="version 0"):
        wire.read_at_site(bytes(wire.size_limit(3)), 3)
