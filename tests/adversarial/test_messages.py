# SPDX-License-Identifier: Apache-2.0

"""Truncated, altered, oversized, foreign and random bytes: a `PeerError`, nothing changed, bounded memory."""

from __future__ import annotations

import copy
import random
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adversarial.toolkit import Study, make_policy
from sordino.errors import MalformedMessage, PeerError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator
from sordino.protocol.journal import Journal

SITES = 6
ASKED = "site02"
LOST = "site04"
PHASES = ("advertise", "seal", "receipt", "upload", "confirm", "unmask", "recover")
TO_SITE = {kind.__name__: kind for kind in get_args(m.ToSite)}
TO_COORDINATOR = {kind.__name__: kind for kind in get_args(m.ToCoordinator)}


class Sample(NamedTuple):
    """A captured message, and who was to take it, as they were just before."""

    data: bytes
    beside: bytes
    study: Study
    state: bytes | None
    journal: Journal

    def put_back(self) -> None:
        """Whoever took a fair question is as before."""
        self.study.journals[ASKED] = copy.deepcopy(self.journal)
        self.study.restore(ASKED, self.state)


def sample_of(study: Study, data: bytes, beside: bytes = b"") -> Sample:
    site = study.sites[ASKED]
    state = site.save() if site.state is not None else None
    return Sample(data, beside, study, state, copy.deepcopy(study.journals[ASKED]))


def at(phase: str) -> Study:
    """A study that has just come to a phase; in R4, LOST has vanished."""
    study = Study(make_policy(chain=True))
    if phase == "recover":
        study.to("unmask").phase(lose=[LOST])
        return study
    return study.to(phase)


@cache
def to_site(kind: str) -> Sample:
    phase = dict(zip(TO_SITE, PHASES, strict=False)).get(kind, "unmask")
    study = at(phase)
    if kind == "Close":
        return sample_of(study, wire.to_bytes(m.Close(study.session, final=False)))
    request = study.requests()[ASKED]
    assert type(wire.read_at_site(request.data, SITES)).__name__ == kind
    return sample_of(study, request.data, request.body)


@cache
def to_coordinator(kind: str) -> Sample:
    phases = dict(zip(TO_COORDINATOR, PHASES, strict=False))
    study = at(phases.get(kind, "unmask"))
    if kind == "Closed":
        return sample_of(study, wire.to_bytes(m.Closed(study.session, ASKED, final=False)))
    if kind == "Refusal":
        refusal = study.sites[ASKED].refusal(PeerError("no", peers=("site01",)))
        return sample_of(study, refusal)
    reply = study.ask(study.requests()[ASKED])
    assert type(wire.read_at_coordinator(reply.data, SITES)).__name__ == kind
    return sample_of(study, reply.data, reply.payload)


def check_site(sample: Sample, data: bytes) -> None:
    """The site refuses with an error of the other side and stays as it was, or answers as the table says."""
    study = sample.study
    if data == sample.data:
        return
    before = study.fingerprint(ASKED)
    try:
        reply = study.deliver(ASKED, data, sample.beside)
    except PeerError:
        assert study.fingerprint(ASKED) == before
    else:
        # Another session or round is a fair question too, and is answered once.
        wire.read_at_coordinator(reply.data, SITES)
        assert study.fingerprint(ASKED)[1] <= before[1] + 1
        sample.put_back()


def check_coordinator(sample: Sample, data: bytes, beside: bytes | None = None) -> None:
    coordinator = sample.study.coordinator
    before = bare(coordinator)
    try:
        coordinator.receive(ASKED, data, sample.beside if beside is None else beside)
    except PeerError:
        assert bare(coordinator) == before
        assert any(ASKED in fault.peers for fault in coordinator.faults)
        return
    saved = coordinator.save()
    Coordinator.load(sample.study.roster, saved)
    sample.study.coordinator._state = msgspec.msgpack.decode(before, type=type(coordinator._state))


def bare(coordinator: Coordinator) -> bytes:
    return msgspec.msgpack.encode(replace(coordinator._state, faults=[]))


CHECKS: list[object] = [
    *(pytest.param(to_site, check_site, kind, id=f"to-site-{kind}") for kind in TO_SITE),
    *(
        pytest.param(to_coordinator, check_coordinator, kind, id=f"to-coordinator-{kind}")
        for kind in TO_COORDINATOR
    ),
]
Take = Callable[[str], Sample]
Check = Callable[[Sample, bytes], None]


def places(length: int, count: int, seed: int) -> list[int]:
    """The first and last bytes of a message, and a sample of those between."""
    near = {*range(min(length, 12)), *range(max(0, length - 12), length)}
    chance = random.Random(seed)
    return sorted(near | {chance.randrange(length) for _ in range(count)})


@pytest.mark.parametrize(("take", "check", "kind"), CHECKS)
def test_a_message_cut_anywhere_is_refused(take: Take, check: Check, kind: str) -> None:
    sample = take(kind)
    for place in places(len(sample.data), 60, seed=1):
        check(sample, sample.data[:place])
        check(sample, sample.data[place:])


@pytest.mark.parametrize(("take", "check", "kind"), CHECKS)
def test_a_message_with_any_bit_flipped_is_refused_or_another_fair_message(
    take: Take, check: Check, kind: str
) -> None:
    sample = take(kind)
    for place in places(len(sample.data), 60, seed=2):
        for bit in (0, 7) if place > 20 else range(8):
            data = bytearray(sample.data)
            data[place] ^= 1 << bit
            check(sample, bytes(data))


@pytest.mark.parametrize(("take", "check", "kind"), CHECKS)
def test_a_message_with_more_behind_it_or_of_another_version_is_refused(
    take: Take, check: Check, kind: str
) -> None:
    sample = take(kind)
    read = wire.read_at_site if check is check_site else wire.read_at_coordinator
    wrong = [sample.data + b"\xc0", sample.data * 2, b"", sample.data[1:], b"\x01"]
    wrong += [bytes([version]) + sample.data[1:] for version in (0, 2, 3, 127, 255)]
    for data in wrong:
        with pytest.raises(MalformedMessage):
            read(data, SITES)
        check(sample, data)


@pytest.mark.parametrize(("take", "check", "kind"), CHECKS)
def test_a_declared_length_takes_no_memory_before_its_bytes_are_there(
    take: Take, check: Check, kind: str
) -> None:
    sample = take(kind)
    check(sample, sample.data[:-1])
    huge = (
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    )
    tracemalloc.start()
    try:
        for place in places(len(sample.data), 20, seed=3):
            for header in huge:
                data = sample.data[:place] + header + sample.data[place + 1 :]
                tracemalloc.reset_peak()
                start = tracemalloc.get_traced_memory()[0]
                check(sample, data)
                assert tracemalloc.get_traced_memory()[1] - start < 4 * wire.size_limit(SITES)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("take", "check", "kind"), CHECKS)
def test_an_oversized_message_is_refused_before_it_is_decoded(take: Take, check: Check, kind: str) -> None:
    sample = take(kind)
    data = sample.data + bytes(wire.size_limit(SITES))
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        with pytest.raises(MalformedMessage, match="longer than"):
            (wire.read_at_site if check is check_site else wire.read_at_coordinator)(data, SITES)
        assert tracemalloc.get_traced_memory()[1] - start < 100_000
    finally:
        tracemalloc.stop()
    check(sample, data)


def test_the_largest_honest_messages_are_within_the_limit() -> None:
    study = Study(make_policy(chain=True))
    study.round(lose={LOST: "unmask"})
    assert max(len(e.request.data) for e in study.log) < wire.size_limit(SITES)
    assert max(len(e.reply.data) for e in study.log) < wire.size_limit(SITES)


def test_a_payload_of_another_size_is_refused() -> None:
    sample = to_coordinator("Upload")
    for beside in (b"", sample.beside[:-1], sample.beside + b"\0", bytes(10_000_000)):
        check_coordinator(sample, sample.data, beside)
        assert ASKED not in sample.study.coordinator._state.open.uploads


def test_a_body_that_is_not_the_named_one_is_refused() -> None:
    sample = to_site("UploadRequest")
    for body in (b"x", bytes(10_000_000)):
        with sample.study.nothing_changes(ASKED), pytest.raises(MalformedMessage, match="body"):
            sample.study.deliver(ASKED, sample.data, body)


# Random bytes -------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
BYTES = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda data: b"\x01" + data),
    st.tuples(st.sampled_from([*TO_SITE, *TO_COORDINATOR]), st.lists(ANYTHING, max_size=9)).map(
        lambda made: b"\x01" + msgspec.msgpack.encode([made[0], *made[1]])
    ),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(BYTES)
def test_random_bytes_are_refused_at_the_site(data: bytes) -> None:
    sample = to_site("ConfirmRequest")
    with sample.study.nothing_changes(ASKED), pytest.raises(PeerError):
        sample.study.deliver(ASKED, data)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(BYTES)
def test_random_bytes_are_refused_at_the_coordinator(data: bytes) -> None:
    sample = to_coordinator("Unmasking")
    before = bare(sample.study.coordinator)
    with pytest.raises(PeerError):
        sample.study.coordinator.receive(ASKED, data)
    assert bare(sample.study.coordinator) == before


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.sampled_from(list(TO_SITE)), st.integers(0, 5), ANYTHING)
def test_a_message_with_anything_in_one_field_is_refused_or_fair(
    kind: str, place: int, value: object
) -> None:
    sample = to_site(kind)
    parts = msgspec.msgpack.decode(sample.data[1:])
    parts[1 + place % (len(parts) - 1)] = value
    check_site(sample, b"\x01" + msgspec.msgpack.encode(parts))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.sampled_from(list(TO_COORDINATOR)), st.integers(0, 8), ANYTHING)
def test_an_answer_with_anything_in_one_field_is_refused_or_fair(
    kind: str, place: int, value: object
) -> None:
    sample = to_coordinator(kind)
    parts = msgspec.msgpack.decode(sample.data[1:])
    parts[1 + place % (len(parts) - 1)] = value
    check_coordinator(sample, b"\x01" + msgspec.msgpack.encode(parts))


def test_deep_nesting_is_refused() -> None:
    for depth in (100, 10_000, 500_000):
        for opening in (b"\x91", b"\x81\xa1a"):
            data = b"\x01" + b"\x93\xa6Closed" + opening * depth
            if len(data) < wire.size_limit(SITES):
                with pytest.raises(MalformedMessage):
                    wire.read_at_coordinator(data, SITES)
