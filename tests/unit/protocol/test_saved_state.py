# SPDX-License-Identifier: Apache-2.0

"""Saved states: what was damaged on disk is told as damage, and never half believed."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator

import pytest

from adversarial.toolkit import Study, make_policy, ready
from sordino.errors import StateError
from sordino.protocol.coordinator import Coordinator
from sordino.protocol.state import dump_state, load_state

SITE = "site02"


@functools.cache
def saved() -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """States of a session with an open round, and what reads each."""
    study = ready(make_policy(chain=True)).to("unmask")
    return {
        "site": (study.saved(SITE), study.new_site(SITE).load),
        "coordinator": (
            study.coordinator.save(),
            functools.partial(Coordinator.load, study.roster),
        ),
    }


def flips(data: bytes, count: int = 600) -> Iterator[bytes]:
    """The data with one bit other: each bit of the first bytes, and a sample of all others."""
    generator = random.Random(7)
    places = {*range(40 * 8), *generator.sample(range(len(data) * 8), count)}
    for place in sorted(places):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)


@pytest.mark.parametrize("whose", ["site", "coordinator"])
def test_every_flipped_bit_of_a_saved_state_is_told(whose: str) -> None:
    data, load = saved()[whose]
    load(data)
    for damaged in flips(data):
        with pytest.raises(StateError):
            load(damaged)


@pytest.mark.parametrize("whose", ["site", "coordinator"])
def test_a_saved_state_that_was_cut_or_lengthened_is_told(whose: str) -> None:
    data, load = saved()[whose]
    for length in (0, 1, 2, 32, 33, 34, len(data) // 2, len(data) - 1):
        with pytest.raises(StateError):
            load(data[:length])
    with pytest.raises(StateError, match="damaged"):
        load(data + b"\x00")


@pytest.mark.parametrize("whose", ["site", "coordinator"])
def test_a_state_of_another_version_is_told_by_its_version(whose: str) -> None:
    data, load = saved()[whose]
    with pytest.raises(StateError, match="must have version 3, got 02"):
        load(b"\x02" + data[1:])
    with pytest.raises(StateError, match="must have version 3, got nothing"):
        load(b"")


@pytest.mark.parametrize(("mine", "other"), [("site", "coordinator"), ("coordinator", "site")])
def test_the_state_of_another_role_is_told(mine: str, other: str) -> None:
    with pytest.raises(StateError, match="damaged"):
        saved()[mine][1](saved()[other][0])


def test_a_state_that_cannot_be_loaded_leaves_the_site_as_it_was() -> None:
    study = ready()
    before = study.saved(SITE)
    for data in (b"", before[:-1], study.saved("site03")):
        with pytest.raises(StateError):
            study.sites[SITE].load(data)
        assert study.saved(SITE) == before


def test_what_was_saved_is_what_is_loaded() -> None:
    data, _ = saved()["site"]
    assert dump_state(load_state(data)) == data
    study = ready().to("unmask")
    data = study.coordinator.save()
    assert Coordinator.load(study.roster, data).save() == data


def test_a_site_before_any_offer_has_no_state_to_save() -> None:
    with pytest.raises(StateError, match="taken no offer"):
        Study().sites[SITE].save()
