# SPDX-License-Identifier: Apache-2.0

"""A coordinator that forgot what data is frozen to learns it from more than c refusals, never from c."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adversarial.toolkit import Study, make_policy, read, ready
from sordino.errors import RoundAborted
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator, Result
from sordino.protocol.policy import Policy


def frozen_policy(**terms: object) -> Policy:
    return make_policy(7, colluders=1, across_rounds="freeze", **terms)


def rounds_until_sum(study: Study, *, at_most: int) -> tuple[Result, int]:
    for failed in range(at_most):
        try:
            return study.round(), failed
        except RoundAborted:
            continue
    raise AssertionError(f"no sum after {at_most} rounds: {study.coordinator.faults[-1]}")


def tell_frozen(study: Study, name: str, participants: Sequence[str], survivors: Sequence[str]) -> None:
    refusal = m.Refusal(
        site=name,
        session=study.session,
        round=0,
        step="ready",
        reason="the data set is frozen",
        peers=(),
        statement=None,
        signature=None,
        frozen=m.Frozen(tuple(participants), tuple(survivors)),
    )
    study.coordinator.receive(name, wire.to_bytes(refusal))


def test_a_restarted_coordinator_learns_the_frozen_survivors() -> None:
    study = ready(frozen_policy())
    before = study.coordinator.save()
    assert study.round(lose={"site06": "upload"}).survivors == study.names[:6]
    study.round()
    study.round()
    study.coordinator = Coordinator.load(study.roster, before)
    result, failed = rounds_until_sum(study, at_most=3)
    assert result.survivors == study.names[:6]
    assert failed <= 2, "one round to learn where the sites are, one to learn whom they were summed with"


def test_a_restarted_coordinator_learns_survivors_that_were_only_signed() -> None:
    study = ready(frozen_policy())
    before = study.coordinator.save()
    study.to("unmask", lose={"site06": "upload"})
    study.coordinator = Coordinator.load(study.roster, before)
    result, _ = rounds_until_sum(study, at_most=4)
    assert result.survivors == study.names[:6]


def test_a_new_session_learns_the_frozen_participants_and_survivors() -> None:
    first = ready(frozen_policy())
    first.round(participants=first.names[:6], lose={"site05": "upload"})
    second = Study(frozen_policy(), shared=first).set_up()
    result, failed = rounds_until_sum(second, at_most=2)
    assert (result.participants, result.survivors) == (first.names[:6], first.names[:5])
    assert failed == 1


def test_what_data_is_frozen_to_is_told_by_every_refusal_of_that_roster() -> None:
    study = ready(frozen_policy())
    error = RoundAborted("any")
    assert read(study.sites["site01"].refusal(error), m.Refusal).frozen is None
    study.to("confirm", lose={"site06": "upload"})
    told = read(study.sites["site01"].refusal(error), m.Refusal).frozen
    assert told == m.Frozen(study.names, ()), "an upload freezes the participants"
    study.to("unmask")
    told = read(study.sites["site01"].refusal(error), m.Refusal).frozen
    assert told == m.Frozen(study.names, study.names[:6]), "a signature freezes the survivors"


def test_sites_of_another_roster_are_not_told_who_was_asked() -> None:
    seven = ready(frozen_policy())
    seven.round()
    six = Study(make_policy(6, across_rounds="freeze"), shared=seven)
    refusal = read(six.sites["site01"].refusal(RoundAborted("any")), m.Refusal)
    assert refusal.frozen is None


@pytest.mark.parametrize("survivors", [5, 0])
def test_c_liars_cannot_say_what_the_data_is_frozen_to(survivors: int) -> None:
    study = ready(frozen_policy())
    for _ in range(3):
        tell_frozen(study, "site06", study.names[:5], study.names[:survivors])
    assert study.round().survivors == study.names


def test_c_liars_cannot_change_what_a_running_round_is_frozen_to() -> None:
    study = ready(frozen_policy()).to("confirm")
    tell_frozen(study, "site06", study.names[:5], study.names[:5])
    assert study.round().survivors == study.names
    tell_frozen(study, "site06", study.names[1:6], study.names[1:6])
    assert study.round().survivors == study.names


def test_claims_that_differ_are_not_counted_together() -> None:
    study = ready(frozen_policy())
    tell_frozen(study, "site05", study.names[:5], study.names[:5])
    tell_frozen(study, "site06", study.names[:5], ())
    assert study.round().survivors == study.names


def test_one_honest_site_among_more_than_c_is_believed() -> None:
    study = ready(frozen_policy())
    for name in ("site05", "site06"):
        tell_frozen(study, name, study.names[:6], study.names[:5])
    study.coordinator.open_round("sum")
    assert {request.site for request in study.coordinator.requests()} == set(study.names[:6])


def test_a_policy_that_accepts_differences_learns_no_frozen_sites() -> None:
    study = ready(make_policy(7, colluders=1))
    for name in study.names[3:]:
        tell_frozen(study, name, study.names[:5], study.names[:5])
    assert study.round().survivors == study.names
