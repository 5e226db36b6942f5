# SPDX-License-Identifier: Apache-2.0

"""Noise that must stay is never given away: whoever asks, and whatever they say about dropouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from adversarial.test_charging import Purse, noisy
from adversarial.toolkit import Study, make_policy
from sordino.aggregation import ends
from sordino.aggregation.base import Contribution, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import RequestRefused
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol import messages as m
from sordino.protocol.keys import next_link, noise_seed
from sordino.protocol.policy import Block, Question
from sordino.protocol.site import Site

SITES = 7
NAMES = tuple(f"site{place:02}" for place in range(SITES))
GONE, ASKED = "site01", "site03"


def begun(tolerated: int = 2) -> Study:
    """Seven sites with noise, each a base and two components by default."""
    policy = make_policy(
        SITES, plan=[noisy()], across_rounds="noise", chain=True, colluders=1, max_dropouts=tolerated
    )
    assert policy.tolerated(SITES) == tolerated
    return Study(policy, guard=Purse(100)).set_up()


@pytest.mark.parametrize("lost", [(), ("site01",), ("site01", "site05")])
@pytest.mark.parametrize("step", ["unmask", "confirm"])
def test_no_byte_that_leaves_a_site_leads_to_noise_that_stays(
    monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...], step: Step
) -> None:
    seeds: list[tuple[bytes, bytes]] = []
    sent: list[bytes] = []
    add_noise, upload, handle = ends.add_noise, Site.upload, Site.handle

    def watched_noise(lanes: Any, plan: Any, base: bytes, link: bytes | None) -> None:
        assert link is not None
        seeds.append((base, link))
        add_noise(lanes, plan, base, link)

    def watched_upload(site: Site, *arguments: Any, **options: Any) -> Any:
        reply = upload(site, *arguments, **options)
        sent.append(reply.data + reply.payload)
        return reply

    def watched_handle(site: Site, data: bytes) -> bytes:
        answer = handle(site, data)
        sent.append(answer)
        return answer

    monkeypatch.setattr(ends, "add_noise", watched_noise)
    monkeypatch.setattr(Site, "upload", watched_upload)
    monkeypatch.setattr(Site, "handle", watched_handle)
    question = Question("sum", (Block("vector", 5, 1.0, 8),), max_weight=10)
    policy = plan_with_noise([question], "patient", {"sum": 2.0}, study="noise", sites=SITES, colluders=1)
    tolerated = policy.tolerated(SITES)
    with MaskedAggregator(policy, NAMES) as aggregator:
        rows = {name: lambda _: Contribution({"vector": np.zeros((1, 5))}) for name in NAMES}
        lose: dict[str, Step] = dict.fromkeys(lost, "upload")
        if len(lost) < tolerated:
            lose["site06"] = step  # a survivor whose secrets the others rebuild
        total = aggregator.aggregate("sum", b"", rows, lose=lose)
    assert total.vanished == (("site06",) if len(lost) < tolerated else ())
    everything = b"".join(sent)
    revealed = 0
    for base, first in seeds:
        links = [first]
        for _ in range(tolerated):
            links.append(next_link(links[-1]))
        assert base not in everything
        for link in links[: len(lost)]:  # those of the components 1 .. D, which stay
            assert link not in everything
            assert noise_seed(link) not in everything
        revealed += any(link in everything for link in links[len(lost) : tolerated])
    # The rebuilt one's link travels in shares; all other survivors send theirs where one is surplus.
    assert revealed == (SITES - len(lost) - 1 if len(lost) < tolerated else 0)


def test_a_site_outside_the_survivors_reveals_none_of_its_noise() -> None:
    study = begun().to("confirm", lose={GONE: "confirm"})
    statement = study.statement([name for name in study.names if name != GONE])
    certificate = study.certificate(statement)
    with study.nothing_changes(), pytest.raises(RequestRefused, match="leaves this site out"):
        study.deliver(GONE, m.UnmaskRequest(certificate))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="is no survivor"):
        study.deliver(ASKED, study.recover_request(ASKED, GONE, certificate))


def test_one_more_dropout_than_there_are_components_is_refused_at_every_step() -> None:
    study = begun(tolerated=1).to("confirm")
    beyond = study.statement(study.names[2:])
    requests = [
        m.ConfirmRequest(beyond),
        m.UnmaskRequest(study.certificate(beyond)),
        study.recover_request(ASKED, "site04", study.certificate(beyond)),
    ]
    for request in requests:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="leaves out 2 sites, 1 are"):
            study.deliver(ASKED, request)


def test_a_smaller_round_has_fewer_components_and_tolerates_fewer_dropouts() -> None:
    study = begun()
    smaller = study.names[:6]
    study.to("confirm", participants=smaller)
    beyond = study.statement(smaller[2:])
    for request in (m.ConfirmRequest(beyond), m.UnmaskRequest(study.certificate(beyond))):
        with study.nothing_changes(*smaller), pytest.raises(RequestRefused, match="at least 5 are needed"):
            study.deliver(ASKED, request)
    result = study.round(lose={"site02": "unmask"})
    assert set(result.links) == set(smaller)


def test_a_round_with_too_few_sites_is_refused_before_it_is_paid_for() -> None:
    study = begun().to("upload")
    too_few = replace(study.upload_request(round=1), participants=study.names[:4])
    with study.nothing_changes(), pytest.raises(RequestRefused, match="has 4 participants, at least 5"):
        study.deliver("site00", too_few)
