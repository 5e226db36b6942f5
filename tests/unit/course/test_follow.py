# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest

from hospitals import NAMES, hospitals, masked, plain
from sordino.course.arrays import pack_arrays, unpack_arrays
from sordino.course.follow import ATTEMPTS, Aborted, Summed, Turn, follow
from sordino.errors import MalformedMessage, RoundAborted
from sordino.federated.training import Training

TRAINING = Training(columns=3, sites=4, max_patients=100, rounds=5, learning_rate=0.2, standardise=False)


@pytest.mark.parametrize("aggregator", [plain, masked])
def test_aborted_round_is_asked_again_with_the_lost_sites_back(aggregator):
    def lose(_, number):
        return {"north": "upload", "south": "upload"} if number == 2 else {}

    events = []
    with aggregator(TRAINING) as sums:
        state = follow(
            TRAINING.turns(), sums, hospitals(), TRAINING.initial(), lose=lose, notify=events.append
        )
    aborted = [event for event in events if isinstance(event, Aborted)]
    assert [(event.turn.number, sorted(event.lost)) for event in aborted] == [(2, ["north", "south"])]
    summed = [event for event in events if isinstance(event, Summed)]
    assert [event.turn.number for event in summed] == [1, 2, 3, 4, 5]
    assert summed[1].total.survivors == NAMES
    with plain(TRAINING) as sums:
        undisturbed = follow(TRAINING.turns(), sums, hospitals(), TRAINING.initial())
    np.testing.assert_array_equal(state["parameters"], undisturbed["parameters"])


def test_sum_that_fails_again_and_again_ends_the_course():
    sites = {name: site for name, site in hospitals().items() if name in ("east", "north")}
    events = []
    with plain(TRAINING) as sums, pytest.raises(RoundAborted, match=f"fedavg 1 was aborted {ATTEMPTS} times"):
        follow(TRAINING.turns(), sums, sites, TRAINING.initial(), notify=events.append)
    assert len(events) == ATTEMPTS


def test_course_goes_on_from_any_position_as_if_it_had_not_stopped():
    states = {}
    with masked(TRAINING) as sums:
        whole = follow(
            TRAINING.turns(),
            sums,
            hospitals(),
            TRAINING.initial(),
            notify=lambda event: states.update({event.position: event.state}),
        )
    for position, state in states.items():
        kept = unpack_arrays(pack_arrays(state))
        with plain(TRAINING) as sums:
            rest = follow(TRAINING.turns(), sums, hospitals(), kept, position=position + 1)
        np.testing.assert_array_equal(rest["parameters"], whole["parameters"])


@dataclass(frozen=True)
class Slow:
    """A stage at which one site takes its time."""

    stage: object
    site: str

    def __getattr__(self, name):
        return getattr(self.stage, name)

    def contribute(self, site, known):
        time.sleep(0.3 if site.name == self.site else 0.0)
        return self.stage.contribute(site, known)


def test_what_sites_gave_is_not_kept_where_nobody_wants_it():
    events = []
    with masked(TRAINING) as sums:
        follow(TRAINING.turns(), sums, hospitals(), TRAINING.initial(), keep=False, notify=events.append)
    assert [len(event.contributions) for event in events] == [0] * 5
    assert all(set(event.work) == set(NAMES) for event in events)


def test_deadline_that_nobody_can_meet_is_named():
    with (
        plain(TRAINING) as sums,
        pytest.raises(RoundAborted, match=r"deadline of 1e-09 s: east, north, south"),
    ):
        follow(TRAINING.turns(), sums, hospitals(), TRAINING.initial(), deadline=1e-9)


@pytest.mark.parametrize("aggregator", [plain, masked])
def test_site_that_misses_the_deadline_is_left_out_of_that_round_only(aggregator):
    turns = [Turn(Slow(TRAINING.fedavg, "south"), 1), Turn(TRAINING.fedavg, 2)]
    events = []
    with aggregator(TRAINING) as sums:
        follow(turns, sums, hospitals(), TRAINING.initial(), deadline=0.2, notify=events.append)
    first, second = events
    assert first.late == ("south",)
    assert first.total.survivors == ("east", "north", "west")
    assert second.late == ()
    assert second.total.survivors == NAMES


def test_error_of_a_sites_own_work_passes_through():
    class Broken(Slow):
        def contribute(self, site, _):
            raise ArithmeticError(site.name)

    with masked(TRAINING) as sums, pytest.raises(ArithmeticError):
        follow([Turn(Broken(TRAINING.fedavg, ""), 1)], sums, hospitals(), TRAINING.initial())


def test_states_are_never_changed_in_place():
    seen = []
    with plain(TRAINING) as sums:
        follow(
            TRAINING.turns(),
            sums,
            hospitals(),
            TRAINING.initial(),
            notify=lambda event: seen.append((event.state, pack_arrays(event.state))),
        )
    assert all(pack_arrays(state) == packed for state, packed in seen)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x92\x01", pack_arrays({"a": np.ones(2)})[:-1], b"\x93\x01\x80\x01"]
)
def test_bytes_that_are_no_packed_arrays_are_refused(data):
    with pytest.raises(MalformedMessage):
        unpack_arrays(data)


def test_packed_arrays_of_another_version_or_of_half_numbers_are_refused():
    import msgspec

    for wrong in ([2, {}], [1, {"a": b"1234567"}], [1, {"a" * 65: b""}]):
        with pytest.raises(MalformedMessage):
            unpack_arrays(msgspec.msgpack.encode(wrong))
