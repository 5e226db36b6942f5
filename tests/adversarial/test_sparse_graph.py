# SPDX-License-Identifier: Apache-2.0

"""The sparse graph: exact sums whoever is lost, and nothing given to whoever is not a neighbour."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from adversarial.adversary import Adversary
from adversarial.toolkit import (
    Request,
    Study,
    altered,
    identity,
    make_policy,
    random_lanes,
    read,
    ready,
    sparse_policy,
)
from sordino.errors import PeerError, RequestRefused, RoundAborted
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.commitment import commit_mask_key
from sordino.protocol.graph import smallest_cover
from sordino.protocol.harary import Graph
from sordino.protocol.journal import Reply
from sordino.protocol.keys import seal_pair
from sordino.protocol.policy import Policy
from sordino.protocol.secret import Secret
from sordino.protocol.transcript import pair_info

STEPS = ("advertise", "seal", "receipt", "upload", "unmask", "recover")
ME = "site05"


def wide_policy() -> Policy:
    """So many may be missing that a liar could cut the ring, or leave a site without neighbours."""
    return make_policy(
        80, graph="sparse", consistency=False, colluders=0, max_dropouts=50, threshold=None, rounds=50
    )


def graph_of(study: Study) -> Graph:
    graph = study.coordinator._state.graph
    assert graph is not None
    return graph


def stranger_to(study: Study, site: str) -> str:
    """A site that is no neighbour."""
    near = {site, *graph_of(study).neighbours(site)}
    return next(name for name in study.names if name not in near)


def without(names: Iterable[str], *gone: str) -> tuple[str, ...]:
    return tuple(name for name in names if name not in gone)


# Sums ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("chain", [False, True])
def test_the_sum_over_the_survivors_is_exact_whoever_is_lost(step: str, chain: bool) -> None:
    study = Study(sparse_policy(chain=chain))
    random_lanes(study, seed=1)
    if step in ("advertise", "seal", "receipt"):
        lost = ("site03", "site17")
        result = study.set_up(lose=dict.fromkeys(lost, step)).round()
        assert result.participants == result.survivors == without(study.names, *lost)
        return
    study.set_up()
    # Two that are neighbours of each other and of the same others.
    lost = tuple(sorted(graph_of(study).ring[7:9]))
    result = study.round(lose=dict.fromkeys(lost, step))
    dropped, vanished = {"upload": (lost, ()), "unmask": ((), lost), "recover": ((), ())}[step]
    assert (result.dropped, result.vanished) == (dropped, vanished)
    assert study.round().survivors == study.names


def test_sites_lost_at_every_step_of_a_large_study_leave_the_exact_sum() -> None:
    policy = make_policy(100, graph="sparse", consistency=False, rounds=1)
    assert (policy.colluders, policy.max_dropouts, policy.min_cohort) == (33, 10, 90)
    assert (policy.neighbours, policy.threshold) == (42, 32)
    study = Study(policy)
    random_lanes(study, seed=2)
    study.set_up(lose={"site10": "advertise", "site20": "seal", "site30": "receipt"})
    losses = {f"site{place}": ("upload", "unmask", "recover")[place % 3] for place in range(90, 97)}
    result = study.round(lose=losses)
    assert len(result.participants) == 97
    assert (result.dropped, result.vanished) == (("site90", "site93", "site96"), ("site91", "site94"))


def test_a_study_goes_on_from_saved_states_at_every_step() -> None:
    study = Study(sparse_policy())
    for phase in ("seal", "receipt", "upload", "unmask", "recover"):
        lose = {"site03": "unmask"} if phase == "recover" else {}
        study.to(phase, lose=lose)
        study.restart_all()
    result = study.round(lose={"site03": "recover"})
    assert result.vanished == ("site03",)


def test_what_is_sent_opens_the_sum_over_all_honest_survivors_and_no_part_of_it() -> None:
    study = ready(sparse_policy())
    graph = graph_of(study)
    adversary = Adversary(study.policy, graph.ring[:2], graph)
    gone, vanished = graph.ring[4], graph.ring[6]
    study.to("recover", lose={gone: "upload", vanished: "unmask"})
    study.round()
    for exchange in study.log:
        message = wire.read_at_coordinator(exchange.reply.data, len(study.names))
        if exchange.request.site not in adversary.colluders and isinstance(message, m.Upload):
            adversary.sees_upload(exchange.reply.data, study.names)
    for exchange in study.log:
        message = wire.read_at_coordinator(exchange.reply.data, len(study.names))
        if exchange.request.site not in adversary.colluders and isinstance(message, m.Unmasking | m.Recovery):
            request = wire.read_at_site(exchange.request.data, len(study.names))
            assert isinstance(request, m.UnmaskRequest | m.RecoverRequest)
            adversary.sees_answer(exchange.reply.data, request.certificate.statement)
    assert adversary.check() == [frozenset(without(study.names, gone, *adversary.colluders))]


def test_a_site_seals_masks_and_shares_with_its_neighbours_alone() -> None:
    study = ready(sparse_policy())
    study.to("unmask")
    graph = graph_of(study)
    for name in study.names:
        shown = study.request(m.Advertisements, name)
        assert [a.site for a in shown.advertisements] == sorted((name, *graph.neighbours(name)))
        assert study.replies(m.Receipt)[name].peers == graph.neighbours(name)
        boxes = study.replies(m.SealedPairs)[name].boxes
        assert [box.receiver for box in boxes] == [peer for peer in graph.neighbours(name) if peer > name]
        upload = study.replies(m.Upload)[name]
        assert len(upload.boxes) == len(upload.summary.pair_commitments) == study.policy.neighbours


# Set-up -------------------------------------------------------------------------------------------------


def shown_to(study: Study, name: str = ME) -> m.Advertisements:
    return read(study.requests()[name].data, m.Advertisements)


def refuses(study: Study, message: m.Message, match: str, name: str = ME) -> None:
    with study.nothing_changes(name), pytest.raises(RequestRefused, match=match):
        study.deliver(name, message)


def test_another_set_of_neighbours_is_refused() -> None:
    study = Study(sparse_policy()).to("seal")
    good, graph = shown_to(study), graph_of(study)
    every = study.replies(m.Advertisement)
    peer, stranger = graph.neighbours(ME)[2], stranger_to(study, ME)
    sets = {
        "a neighbour is missing": without((a.site for a in good.advertisements), peer),
        "a stranger is added": (*(a.site for a in good.advertisements), stranger),
        "a stranger is in a neighbour's place": (
            *without((a.site for a in good.advertisements), peer),
            stranger,
        ),
        "everyone": study.names,
        "nobody but itself": (ME,),
    }
    for names in sets.values():
        listed = tuple(every[name] for name in sorted(names))
        refuses(study, replace(good, advertisements=listed), "not this site's and its neighbours'")
    assert study.set_up().coordinator.able() == study.names


def test_a_forged_list_of_advertisements_is_refused() -> None:
    study = Study(sparse_policy()).to("seal")
    good, graph = shown_to(study), graph_of(study)

    def listing(*changed: str) -> tuple[m.Listed, ...]:
        return tuple(replace(x, advertisement=bytes(32)) if x.site in changed else x for x in good.listing)

    peer, stranger = graph.neighbours(ME)[0], stranger_to(study, ME)
    outside = m.Listed("stranger", bytes(32))
    wrong = {
        f"advertisements of \\['{peer}'\\] are not those on the list": listing(peer),
        f"advertisements of \\['{ME}'\\] are not": listing(ME),
        "advertisements of .* are not those": good.listing[:5],
        "belongs to the sparse graph": (),
        "not sorted": tuple(reversed(good.listing)),
        "or one site is listed twice": (*good.listing, good.listing[-1]),
        "sites outside the roster: \\['stranger'\\]": (*good.listing, outside),
    }
    for match, lines in wrong.items():
        refuses(study, replace(good, listing=lines), match)
    # Another hash at the name of a site that is no neighbour gives another session, and another graph.
    refuses(study, replace(good, listing=listing(stranger)), "not this site's and its neighbours'")
    gone = without(study.names, ME, *graph.neighbours(ME))[:3]
    fewer = tuple(line for line in good.listing if line.site not in gone)
    refuses(study, replace(good, listing=fewer), "21 sites advertised, at least 22 are needed")
    assert study.set_up().coordinator.able() == study.names


def test_a_list_beside_all_advertisements_is_refused_on_the_complete_graph() -> None:
    study = Study(make_policy()).to("seal")
    good = shown_to(study)
    listing = tuple(advertisement.listed for advertisement in good.advertisements)
    refuses(study, replace(good, listing=listing), "belongs to the sparse graph")


def test_a_box_from_a_site_that_is_no_neighbour_is_refused() -> None:
    study = Study(sparse_policy()).to("receipt")
    graph, me = graph_of(study), study.names[-1]
    stranger = stranger_to(study, me)
    sealed = seal_pair(
        Secret(b"k" * 32),
        me,
        study.replies(m.Advertisement)[me].box_key,
        pair_info(study.session, stranger, me),
    )
    signature = identity(stranger).sign("sealed pair", study.session, stranger, me, sealed)
    request = read(study.requests()[me].data, m.Boxes)
    assert {box.sender for box in request.boxes} == set(graph.neighbours(me))
    added = (*request.boxes, m.SealedPair(stranger, me, sealed, signature))
    refuses(study, replace(request, boxes=added), "has none to seal for this site", me)


def test_the_coordinator_refuses_boxes_for_other_sites_than_the_neighbours() -> None:
    study = Study(sparse_policy()).to("seal")
    me = study.names[0]

    def lie(request: Request, reply: Reply) -> Reply:
        def change(message: m.SealedPairs) -> m.SealedPairs:
            return replace(message, boxes=message.boxes[1:])

        return altered(reply, m.SealedPairs, change) if request.site == me else reply

    study.phase(alter=lie)
    assert me not in study.coordinator._state.sealed
    assert [fault.peers for fault in study.coordinator.faults] == [(me,)]


def test_only_pairs_of_neighbours_decide_who_is_able() -> None:
    study = Study(sparse_policy()).to("receipt")
    one = graph_of(study).ring[0]
    other = graph_of(study).ring[1]
    study.coordinator._state.withheld.add((min(one, other), max(one, other)))
    study.to("ready")
    left_out = smallest_cover([(one, other)], study.coordinator._blame())
    assert study.coordinator.able() == without(study.names, *left_out)
    assert study.round().survivors == study.coordinator.able()
    with pytest.raises(RoundAborted, match="hold pair secrets"):
        study.coordinator.open_round("sum", participants=study.names)
    with pytest.raises(RoundAborted, match="have no part in this session"):
        study.coordinator.open_round("sum", participants=(*study.names, "stranger"))


# Upload -------------------------------------------------------------------------------------------------


def test_a_participant_that_never_advertised_is_no_participant() -> None:
    study = Study(sparse_policy()).set_up(lose={"site09": "advertise"})
    for name in without(study.names, "site09")[:4]:
        with study.nothing_changes(name), pytest.raises(RequestRefused) as caught:
            study.deliver(name, study.upload_request())
        assert caught.value.peers == ("site09",)


def test_a_site_without_a_neighbours_pair_names_it_and_one_further_away_goes_on() -> None:
    study = Study(sparse_policy()).to("receipt")
    one, other = sorted(graph_of(study).ring[:2])
    study.coordinator._state.withheld.add((one, other))
    study.to("ready")
    with study.nothing_changes(other), pytest.raises(RequestRefused) as caught:
        study.deliver(other, study.upload_request())
    assert caught.value.peers == (one,)
    assert other not in graph_of(study).neighbours(stranger_to(study, other))
    study.deliver(stranger_to(study, other), study.upload_request())


def test_a_site_with_too_few_neighbours_in_the_round_does_not_upload() -> None:
    study = ready(wide_policy())
    graph, policy = graph_of(study), study.policy
    assert policy.max_dropouts > policy.neighbours - policy.threshold
    me, peers = graph.ring[0], graph.neighbours(graph.ring[0])
    alone = without(study.names, *peers[1:])
    request = study.upload_request(participants=alone)
    refuses(study, request, "1 neighbours of this site take part, at least 2 are needed", me)
    with pytest.raises(RoundAborted, match="has 1 neighbours, at least 2 are needed"):
        study.coordinator.open_round("sum", participants=alone)
    enough = without(study.names, *peers[2:])
    study.deliver(me, study.upload_request(participants=enough))


@pytest.mark.parametrize("count", [-1, 1])
def test_an_upload_with_more_or_fewer_peers_than_neighbours_is_refused(count: int) -> None:
    study = ready(sparse_policy())

    def change(upload: m.Upload) -> m.Upload:
        wrong = upload.summary.pair_commitments
        wrong = wrong[:count] if count < 0 else (*wrong, wrong[0])
        summary = replace(upload.summary, pair_commitments=wrong)
        return replace(upload, summary=summary, signature=identity(ME).sign("upload", summary.digest))

    def lie(request: Request, reply: Reply) -> Reply:
        return altered(reply, m.Upload, change) if request.site == ME else reply

    result = study.round(alter=lie)
    assert result.dropped == (ME,)
    assert [fault.peers for fault in result.faults] == [(ME,)]


def test_a_liar_about_a_mask_is_left_out_or_its_neighbour_is() -> None:
    study = ready(sparse_policy())
    peer = graph_of(study).neighbours(ME)[3]

    def change(upload: m.Upload) -> m.Upload:
        commitments = list(upload.summary.pair_commitments)
        commitments[3] = bytes(32)
        summary = replace(upload.summary, pair_commitments=tuple(commitments))
        return replace(upload, summary=summary, signature=identity(ME).sign("upload", summary.digest))

    def lie(request: Request, reply: Reply) -> Reply:
        return altered(reply, m.Upload, change) if request.site == ME else reply

    result = study.round(alter=lie)
    assert len(result.dropped) == 1
    assert {frozenset(fault.peers) for fault in result.faults} == {frozenset((ME, peer))}


# Unmask -------------------------------------------------------------------------------------------------


def test_a_site_reveals_its_mask_keys_with_dropped_neighbours_and_no_others() -> None:
    study = ready(sparse_policy())
    graph = graph_of(study)
    me, near, far = graph.ring[0], graph.ring[1], graph.ring[12]
    assert far not in graph.neighbours(me)
    study.to("unmask")
    survivors = without(study.names, near, far)
    certificate = study.certificate(study.statement(survivors))
    answer = read(study.deliver(me, m.UnmaskRequest(certificate)).data, m.Unmasking)
    (key,) = answer.pair_keys
    summary = study.replies(m.Upload)[me].summary
    place = graph.neighbours(me).index(near)
    commitment = commit_mask_key(summary.session, summary.round, me, near, key)
    assert summary.pair_commitments[place] == commitment
    # A statement that makes a surviving neighbour a dropout is another one.
    for gone in without(graph.neighbours(me), near):
        other = study.certificate(study.statement(without(study.names, near, gone)))
        refuses(study, m.UnmaskRequest(other), "takes no UnmaskRequest", me)
    refuses(study, study.recover_request(me, gone, other), "another statement was accepted", me)


def test_a_site_does_not_unmask_among_too_few_neighbours_or_on_a_ring_that_is_cut() -> None:
    study = ready(wide_policy())
    graph = graph_of(study)
    study.to("unmask")
    half = study.policy.neighbours // 2
    me = graph.ring[0]
    alone = without(study.names, *graph.neighbours(me)[1:])
    statement = study.statement(alone)
    assert graph.connected(alone)
    refuses(study, m.UnmaskRequest(study.certificate(statement)), "1 neighbours of this site take part", me)
    # Two runs of k/2 around an arc of a few sites that have each other as neighbours.
    cut = without(study.names, *graph.ring[4 : 4 + half], *graph.ring[-half:])
    refuses(study, m.UnmaskRequest(study.certificate(study.statement(cut))), "parts that share no mask", me)


def test_the_coordinator_gives_up_a_round_whose_survivors_are_not_connected() -> None:
    study = ready(wide_policy())
    graph, half = graph_of(study), study.policy.neighbours // 2
    gone = (*graph.ring[4 : 4 + half], *graph.ring[-half:])
    with pytest.raises(RoundAborted, match="parts that share no mask"):
        study.round(lose=dict.fromkeys(gone, "upload"))
    assert study.round().survivors == study.names


# Recover ------------------------------------------------------------------------------------------------


def test_only_neighbours_are_asked_for_shares_and_others_refuse() -> None:
    study = ready(sparse_policy())
    graph = graph_of(study)
    vanished = ME
    study.to("recover", lose={vanished: "unmask"})
    asked = {request.site for request in study.coordinator.requests()}
    assert asked == set(graph.neighbours(vanished))
    stranger = stranger_to(study, vanished)
    request = study.recover_request(stranger, vanished)
    refuses(study, request, "is no neighbour and has no box here", stranger)
    peer = graph.neighbours(vanished)[0]
    other = study.replies(m.Upload)[vanished].boxes[1]
    refuses(study, replace(study.recover_request(peer, vanished), box=other), "not the one", peer)
    share = m.Recovery(study.session, study.coordinator.round, stranger, vanished, ())
    with pytest.raises(PeerError, match="which nobody asked"):
        study.coordinator.receive(stranger, wire.to_bytes(share))
    assert study.round(lose={vanished: "recover"}).vanished == (vanished,)


def test_shares_of_t_neighbours_recover_a_site_and_fewer_do_not() -> None:
    policy = sparse_policy()
    for silent, recovered in ((policy.neighbours - policy.threshold, True), (4, False)):
        study = ready(policy)
        graph = graph_of(study)
        study.to("recover", lose={ME: "unmask"})
        lose = dict.fromkeys((ME, *graph.neighbours(ME)[:silent]), "recover")
        if recovered:
            assert study.round(lose=lose).vanished == (ME,)
        else:
            with pytest.raises(RoundAborted, match="2 sites gave shares of 'site05', 3 are needed"):
                study.round(lose=lose)


def test_wrong_shares_name_the_pair_and_enough_others_recover_the_site() -> None:
    study = ready(sparse_policy())
    liar = graph_of(study).neighbours(ME)[0]
    study.to("recover", lose={ME: "unmask"})

    def lie(request: Request, reply: Reply) -> Reply:
        def change(message: m.Recovery) -> m.Recovery:
            return replace(message, shares=message.shares[:-1])

        return altered(reply, m.Recovery, change) if request.site == liar else reply

    result = study.round(alter=lie, lose={ME: "recover"})
    assert result.vanished == (ME,)
    assert [fault.peers for fault in result.faults] == [(liar, ME)]
