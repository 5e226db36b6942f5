# SPDX-License-Identifier: Apache-2.0

"""Lane groups that too few sites have, alone or as a difference: no sum shows fewer than min_cohort sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from unittest.mock import patch

import numpy as np
import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, altered, ready
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import RequestRefused, RoundAborted
from sordino.protocol import messages as m
from sordino.protocol.coordinator import Coordinator, Request
from sordino.protocol.journal import Reply
from sordino.protocol.policy import Block, Policy, Question, plan_policy


def policy_of(sites: int, *groups: str) -> Policy:
    blocks = (Block("basic", 2, 100.0, 0), *(Block(group, 2, 100.0, 0, group) for group in groups))
    return plan_policy(
        study="groups",
        sites=sites,
        plan=[Question("sum", blocks, max_weight=9)],
        across_rounds="accept",
        rounds=50,
        colluders=0,
        threshold=sites // 2 + 1,
        min_cohort=3,
    )


def having(study_sites: int, **groups: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """For each site, the groups whose list of places it is in."""
    return {
        f"site{place:02}": tuple(group for group, places in groups.items() if place in places)
        for place in range(study_sites)
    }


def check_refused(policy: Policy, groups: Mapping[str, Sequence[str]], match: str) -> Study:
    """Neither does the coordinator ask for such a sum, nor does any site sign or open it for a liar."""
    with pytest.raises(RoundAborted, match=match):
        ready(policy, groups=groups).to("upload")
    with patch.object(Coordinator, "_thin_group", return_value=None):
        study = ready(policy, groups=groups).to("confirm")
    statement = study.statement()
    certificate = study.certificate(statement, study.names)
    for name in study.names:
        for message in (m.ConfirmRequest(statement), m.UnmaskRequest(certificate)):
            with study.nothing_changes(), pytest.raises(RequestRefused, match=match):
                study.deliver(name, message)
    return study


def test_a_group_that_fewer_than_min_cohort_survivors_have_is_refused() -> None:
    check_refused(policy_of(6, "ct"), having(6, ct=[0, 1]), "'ct' has 2 survivors")


def test_a_group_that_all_but_one_have_is_refused() -> None:
    check_refused(policy_of(6, "ct"), having(6, ct=range(5)), "1 survivors have lane group 'all'")


def test_a_group_that_all_but_two_have_is_refused() -> None:
    check_refused(policy_of(6, "ct"), having(6, ct=range(4)), "2 survivors have lane group 'all'")


def test_two_groups_that_differ_by_one_site_are_refused() -> None:
    groups = having(9, ct=[0, 1, 2, 3], mr=[0, 1, 2])
    check_refused(policy_of(9, "ct", "mr"), groups, "1 survivors have .* not 'mr'")


def test_three_groups_of_which_only_a_combination_shows_few_are_refused() -> None:
    """Three sites have each group alone, one has all: all - ct - mr - pet is minus twice that one site."""
    groups = having(10, ct=[0, 1, 2, 9], mr=[3, 4, 5, 9], pet=[6, 7, 8, 9])
    for pair in (("ct", "mr"), ("ct", "pet"), ("mr", "pet")):
        two = {name: [group for group in has if group in pair] for name, has in groups.items()}
        ready(policy_of(10, *pair), groups=two).round()
    check_refused(policy_of(10, "ct", "mr", "pet"), groups, "show 1 of 10 survivors")


def test_dropouts_can_make_a_legal_group_too_thin() -> None:
    groups = having(8, ct=range(4))
    study = ready(policy_of(8, "ct"), groups=groups)
    study.round()
    with pytest.raises(RoundAborted, match="lane group 'ct' has 2 survivors"):
        study.round(lose={"site00": "upload", "site01": "upload"})
    study.to("confirm")
    thin = study.statement(study.names[2:])
    with study.nothing_changes(), pytest.raises(RequestRefused, match="'ct' has 2 survivors"):
        study.deliver("site05", m.ConfirmRequest(thin))
    assert study.round().survivors == study.names


def test_groups_of_another_planned_question_count_too() -> None:
    """Sums of different questions over the same survivors can be subtracted as well."""
    plan = [
        Question("one", (Block("basic", 2, 100.0, 0), Block("ct", 2, 100.0, 0, "ct")), max_weight=9),
        Question("two", (Block("basic", 2, 100.0, 0), Block("mr", 2, 100.0, 0, "mr")), max_weight=9),
    ]
    policy = plan_policy(
        study="groups", sites=9, plan=plan, across_rounds="accept", rounds=9, colluders=0, min_cohort=3
    )
    check_refused(policy, having(9, ct=range(4), mr=range(3)), "1 survivors have .* not 'mr'")


def test_a_group_that_nobody_has_is_no_harm() -> None:
    ready(policy_of(6, "ct")).round()


def test_the_groups_are_those_of_the_signed_advertisement() -> None:
    """The coordinator cannot say later that a site has a group, or has it not."""
    groups = having(8, ct=range(4))

    def lie(request: Request, reply: Reply) -> Reply:
        if request.site != "site00":
            return reply
        return altered(reply, m.Advertisement, lambda a: replace(a, groups=("all",)))

    study = Study(policy_of(8, "ct"), groups=groups).set_up(alter=lie)
    assert "site00" not in study.coordinator.able()
    assert any(fault.peers == ("site00",) for fault in study.coordinator.faults)


def test_groups_that_no_question_asks_are_not_advertised() -> None:
    study = Study(policy_of(6, "ct"), groups=having(6, ct=range(3), secret=[0])).to("seal")
    assert study.replies(m.Advertisement)["site00"].groups == ("all", "ct")


def test_a_legal_case_is_exact_and_sites_without_the_block_have_weight_zero_in_it() -> None:
    policy = policy_of(7, "ct")
    groups = having(7, ct=range(4))
    generator = np.random.default_rng(8)
    values = {name: generator.integers(-100, 101, (2, 2)).astype(float) for name in groups}
    weights = {name: {"all": 1 + place, "ct": 2} for place, name in enumerate(groups)}

    def contributor(name: str) -> Contribution:
        blocks = {"basic": values[name][0]}
        if groups[name]:
            return Contribution({**blocks, "ct": values[name][1]}, weights[name])
        return Contribution(blocks, {"all": weights[name]["all"]})

    with MaskedAggregator(policy, list(groups), groups=groups) as aggregator:
        result = aggregator.aggregate(
            "sum", b"", {name: lambda _, name=name: contributor(name) for name in groups}
        )
    with_ct = [name for name in groups if groups[name]]
    assert result.weights == {"all": 28, "ct": 8}
    assert result.sums["ct"].tolist() == sum(2 * values[name][1] for name in with_ct).tolist()
    assert (
        result.sums["basic"].tolist()
        == sum(weights[name]["all"] * values[name][0] for name in groups).tolist()
    )
