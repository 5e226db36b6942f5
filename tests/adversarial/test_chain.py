# SPDX-License-Identifier: Apache-2.0

"""The chain of further secrets: link D + 1 once D dropouts are certified, and not one link before it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, altered, identity, make_policy, ready
from sordino.errors import MalformedMessage, ShareError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.commitment import chain_end
from sordino.protocol.coordinator import Request, Result
from sordino.protocol.journal import Reply
from sordino.protocol.keys import next_link
from sordino.protocol.policy import Policy

SITES = 7


def chained(tolerated: int) -> Policy:
    return make_policy(SITES, colluders=1, chain=True, max_dropouts=tolerated)


def lost(*places: int, step: str = "upload") -> Mapping[str, str]:
    return {f"site{place:02}": step for place in places}


def link(first: bytes, number: int) -> bytes:
    """Link `number` of a chain, counted from 1."""
    for _ in range(number - 1):
        first = next_link(first)
    return first


def check_links(study: Study, result: Result, number: int) -> None:
    """Every survivor's link `number` is out, hashes to the committed end, and no earlier link was sent."""
    tolerated = study.policy.tolerated(len(result.participants))
    uploads = study.replies(m.Upload)
    assert dict(result.links) == {name: link(study.links[name], number) for name in result.survivors}
    for name, shown in result.links.items():
        assert chain_end(shown, tolerated + 1 - number) == uploads[name].summary.chain_end
    check_nothing_earlier_was_sent(study, number)


def check_nothing_earlier_was_sent(study: Study, number: int) -> None:
    sent = b"".join(exchange.reply.data + exchange.reply.payload for exchange in study.log)
    for first in study.links.values():
        assert not any(link(first, earlier) in sent for earlier in range(1, number))


def test_without_links_an_upload_commits_to_none_and_sends_no_link() -> None:
    study = ready(chained(0)).to("confirm")
    assert len(study.links) == SITES
    assert all(upload.summary.chain_end is None for upload in study.replies(m.Upload).values())
    assert study.round().links == {}
    check_nothing_earlier_was_sent(study, 2)


def test_too_small_a_round_for_dropouts_has_no_links_either() -> None:
    study = ready(chained(2))
    assert study.policy.tolerated(5) == 0
    assert study.round(participants=study.names[:5]).links == {}
    assert all(study.replies(m.Upload)[name].summary.chain_end is None for name in study.names[:5])
    check_nothing_earlier_was_sent(study, 2)


@pytest.mark.parametrize(("tolerated", "dropouts"), [(1, 0), (2, 0), (2, 1)])
def test_the_link_after_as_many_as_dropped_is_revealed(tolerated: int, dropouts: int) -> None:
    study = ready(chained(tolerated))
    result = study.round(lose=lost(*range(dropouts)))
    assert len(result.dropped) == dropouts
    check_links(study, result, dropouts + 1)


@pytest.mark.parametrize("tolerated", [1, 2])
def test_with_all_tolerated_dropouts_no_link_is_revealed(tolerated: int) -> None:
    study = ready(chained(tolerated))
    result = study.round(lose=lost(*range(tolerated)))
    assert result.links == {}
    check_nothing_earlier_was_sent(study, tolerated + 1)


@pytest.mark.parametrize(("tolerated", "dropouts"), [(1, 0), (2, 0), (2, 1)])
def test_the_link_of_a_vanished_survivor_is_rebuilt_from_shares(tolerated: int, dropouts: int) -> None:
    study = ready(chained(tolerated))
    result = study.round(lose={**lost(*range(dropouts)), **lost(6, step="unmask")})
    assert result.vanished == ("site06",)
    assert "site06" not in study.replies(m.Unmasking)
    check_links(study, result, dropouts + 1)


def test_a_vanished_survivor_keeps_its_links_where_none_is_surplus() -> None:
    study = ready(chained(1))
    result = study.round(lose={**lost(0), **lost(6, step="unmask")})
    assert (result.vanished, dict(result.links)) == (("site06",), {})
    assert all(len(recovery.shares) == 2 for recovery in study.replies(m.Recovery).values())


def test_the_links_of_two_rounds_have_nothing_in_common() -> None:
    study = ready(chained(1))
    first, second = study.round().links, study.round().links
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("number", [1, 3])
def test_another_link_than_the_surplus_one_is_refused(number: int) -> None:
    """One link too early, or one too late, does not hash to the signed end in the right number of steps."""
    study = ready(chained(2))

    def shifted(request: Request, reply: Reply) -> Reply:
        if request.site != "site03":
            return reply
        return altered(reply, m.Unmasking, lambda u: replace(u, link=link(study.links["site03"], number)))

    result = study.round(lose=lost(0), alter=shifted)
    assert result.vanished == ("site03",)
    assert any(fault.peers == ("site03",) for fault in result.faults)
    assert result.links["site03"] == link(study.links["site03"], 2), "rebuilt from the others' shares"


@pytest.mark.parametrize("given", [True, False])
def test_a_link_is_revealed_exactly_where_it_is_due(given: bool) -> None:
    study = ready(chained(1)).to("unmask", lose=lost(0) if given else {})
    request = study.requests()["site03"]
    reply = study.deliver("site03", request.data)
    other = altered(reply, m.Unmasking, lambda u: replace(u, link=study.links["site03"] if given else None))
    with pytest.raises(ShareError, match="'site03' opened something else"):
        study.coordinator.receive("site03", other.data)
    study.coordinator.receive("site03", reply.data)


@pytest.mark.parametrize(("tolerated", "end"), [(0, bytes(32)), (1, None)])
def test_an_upload_with_a_chain_end_too_many_or_too_few_is_refused(tolerated: int, end: bytes | None) -> None:
    study = ready(chained(tolerated)).to("upload")
    reply = study.deliver("site03", study.requests()["site03"].data)

    def signed(upload: m.Upload) -> m.Upload:
        summary = replace(upload.summary, chain_end=end)
        return replace(upload, summary=summary, signature=identity("site03").sign("upload", summary.digest))

    lie = altered(reply, m.Upload, signed)
    assert wire.read_at_coordinator(lie.data, SITES) != wire.read_at_coordinator(reply.data, SITES)
    with pytest.raises(MalformedMessage, match="incomplete"):
        study.coordinator.receive("site03", lie.data, lie.payload)
