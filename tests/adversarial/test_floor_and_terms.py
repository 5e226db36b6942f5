# SPDX-License-Identifier: Apache-2.0

"""What a site holds a policy to, what it tells of that, and what data once asked about is frozen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from adversarial.toolkit import FLOOR, Study, identity, make_policy, read, ready
from sordino.errors import LocalError, PolicyRefused, RequestRefused, RoundAborted, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.journal import MemoryJournal
from sordino.protocol.policy import Block, Floor, Policy, Question, plan_policy
from sordino.protocol.site import Site

ASKED = "site02"
DATASET = "registry-of-rare-diseases"


# Lane groups of frozen data ---------------------------------------------------------------------------


def asking(*groups: str) -> Policy:
    """Twelve sites, frozen, asked for one block a lane group."""
    blocks = tuple(Block(f"volume-{group}", 3, 40.0, 0, group) for group in groups)
    return plan_policy(
        study="groups",
        sites=12,
        plan=[Question("sum", blocks)],
        across_rounds="freeze",
        rounds=9,
        colluders=1,
        threshold=7,
        min_cohort=5,
    )


def having(**groups: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """For each of twelve sites, the groups whose list of places it is in."""
    return {
        f"site{place:02}": tuple(group for group, places in groups.items() if place in places)
        for place in range(12)
    }


OWN = having(ct=range(6), mri=range(1, 7))


def again(first: Study, policy: Policy, groups: Mapping[str, Sequence[str]] = OWN) -> Study:
    """Another session over the same data, set up by a coordinator that says nothing of the first."""
    return Study(policy, shared=first, groups=groups).set_up()


def check_all_refuse(study: Study) -> None:
    request = study.upload_request()
    for name in study.names:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
            study.deliver(name, request)
    with pytest.raises(RoundAborted):
        study.round()


def test_frozen_data_summed_in_one_lane_group_is_not_summed_in_another() -> None:
    """Either sum is legal alone, yet mri - ct is one site's values minus another's."""
    first = ready(asking("ct"), groups=OWN)
    assert first.round().survivors == first.names
    check_all_refuse(again(first, asking("mri")))
    check_all_refuse(again(first, asking("ct", "all")))


def test_frozen_data_is_not_summed_again_once_one_site_declares_other_groups() -> None:
    first = ready(asking("ct"), groups=OWN)
    first.round()
    check_all_refuse(again(first, asking("ct"), having(ct=range(7))))
    check_all_refuse(again(first, asking("ct"), having(ct=range(1, 7))))


def test_frozen_data_is_summed_again_in_the_same_groups_of_the_same_sites() -> None:
    first = ready(asking("ct"), groups=OWN)
    first.round()
    assert again(first, asking("ct")).round().survivors == first.names
    unasked = having(ct=range(6), mri=range(3))
    assert again(first, asking("ct"), unasked).round().survivors == first.names, "only asked groups count"


# The floor ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [4, 6, 7, 9, 10, 31])
def test_default_floor_refuses_fewer_colluders_than_a_third(sites: int) -> None:
    third = (sites - 1) // 3
    Floor().check(make_policy(sites, colluders=third, across_rounds="freeze"))
    fewer = make_policy(sites, colluders=third - 1, across_rounds="freeze")
    with pytest.raises(PolicyRefused, match=f"colluders {third - 1} < {third}"):
        Floor().check(fewer)
    Floor(min_colluders=third - 1).check(fewer)


def test_an_operator_may_ask_for_more_colluders_than_a_third() -> None:
    with pytest.raises(PolicyRefused, match="colluders 2 < 3"):
        Floor(min_colluders=3).check(make_policy(7, colluders=2, across_rounds="freeze"))


def test_sites_with_the_default_floor_take_no_offer_that_counts_on_nobody_colluding() -> None:
    study = Study(make_policy(7, colluders=0, across_rounds="freeze"), floor=Floor())
    with pytest.raises(RoundAborted, match="0 sites advertised"):
        study.set_up()
    assert {site.step for site in study.sites.values()} == {"new"}


# What a refusal tells ---------------------------------------------------------------------------------


def guarded(floor: Floor, **site: object) -> Site:
    roster = Study(make_policy()).roster
    return Site(identity(ASKED), roster, floor, MemoryJournal(), dataset=DATASET, **site)


@pytest.mark.parametrize(
    "floor",
    [
        Floor(min_cohort=6, across_rounds=("accept",)),
        Floor(min_threshold=6, across_rounds=("accept",)),
        Floor(min_colluders=4, across_rounds=("accept",)),
        Floor(max_rounds=17, across_rounds=("accept",)),
        Floor(max_lanes=3, across_rounds=("accept",)),
        Floor(across_rounds=("freeze",)),
        Floor(questions=("secret-registry",), across_rounds=("accept",)),
    ],
)
def test_a_refused_policy_is_told_without_the_floor_or_the_data_set(floor: Floor) -> None:
    site, study = guarded(floor), Study()
    with pytest.raises(PolicyRefused) as caught:
        site.handle(study.requests()[ASKED].data)
    data = site.refusal(caught.value)
    assert read(data, m.Refusal) == m.Refusal(
        site=ASKED,
        session=b"",
        round=0,
        step="new",
        reason="the policy is not one that this site accepts",
        peers=(),
        statement=None,
        signature=None,
    )


@pytest.mark.parametrize("kind", LocalError.__subclasses__())
def test_trouble_on_the_sites_own_side_is_not_told(kind: type[LocalError]) -> None:
    site = guarded(FLOOR)
    data = site.refusal(kind(f"{DATASET} in /srv/patients is broken"))
    assert read(data, m.Refusal).reason == "this site cannot take part"
    assert DATASET.encode() not in data


def test_no_refusal_of_a_whole_dispute_names_the_data_set() -> None:
    """Frozen terms, frozen survivors, a foreign data set: the operator's name for the data stays here."""
    policy = make_policy(across_rounds="freeze")
    study = Study(policy, dataset=DATASET).set_up()
    study.round(lose={"site05": "upload"})
    study.to("confirm")
    fewer = study.names[:5]
    messages = [
        study.upload_request(participants=fewer),
        m.ConfirmRequest(study.statement()),
        m.UnmaskRequest(study.certificate(study.statement(), study.names)),
    ]
    for name in fewer:
        for message in messages:
            with pytest.raises(RequestRefused):
                study.deliver(name, message)
    refusals = [exchange.reply.data for exchange in study.log[-len(fewer) * len(messages) :]]
    assert all("frozen" in read(data, m.Refusal).reason for data in refusals)
    assert not any(DATASET.encode() in exchange.reply.data for exchange in study.log)


# A state under another data set's name ----------------------------------------------------------------


def test_a_session_begun_over_one_data_set_does_not_go_on_over_another() -> None:
    """Otherwise an operator's mistake, or a lie about the name, would ask frozen data anew."""
    study = ready(make_policy(across_rounds="freeze"))
    study.round(lose={"site05": "upload"})
    study.to("confirm")
    requests = study.requests()
    moved = Site(identity(ASKED), study.roster, FLOOR, study.journals[ASKED], dataset="other", groups=())
    moved.load(study.saved(ASKED))
    before = moved.save(), study.fingerprint(ASKED)
    with pytest.raises(StateError, match="another data set"):
        moved.handle(requests[ASKED].data)
    with pytest.raises(StateError, match="another data set"):
        moved.read(wire.to_bytes(study.upload_request()))
    assert (moved.save(), study.fingerprint(ASKED)) == before
    study.deliver(ASKED, requests[ASKED].data)
