# SPDX-License-Identifier: Apache-2.0

"""Wrong shares, boxes, seeds and commitments: the liar is named, and the sum is right or there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from itertools import combinations

import numpy as np
import pytest
from msgspec.structs import replace

from adversarial.toolkit import Study, altered, identity, make_policy, random_lanes, read, ready
from reference import merkle
from sordino import _core
from sordino.errors import PeerError, RoundAborted, ShareError
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Fault, Request
from sordino.protocol.journal import Reply
from sordino.protocol.keys import next_link, open_shares, pair_keys, seal_shares
from sordino.protocol.secret import Secret
from sordino.protocol.transcript import body_digest, box_header

VANISHED = "site03"


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def blamed(faults: Sequence[Fault]) -> set[tuple[str, ...]]:
    return {fault.peers for fault in faults}


# What shares are worth ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [4, 6])
def test_t_shares_rebuild_all_of_a_sites_secrets_and_one_fewer_rebuild_none(sites: int) -> None:
    """The boxes are opened by their holders' own keys, as colluders and the sites asked in R4 could."""
    study = Study(make_policy(sites, chain=True)).to("unmask")
    opened, upload = study.sites[VANISHED].state.open, study.replies(m.Upload)[VANISHED]
    shares = {}
    for peer, box in zip(opened.peers, upload.boxes, strict=True):
        key = study.sites[peer].state.open.incoming[VANISHED]
        vector = open_shares(key, box_header(opened.context, VANISHED, peer), box)
        shares[study.roster.point(peer)] = np.frombuffer(vector, np.uint8).reshape(-1, 32)
    links = [study.links[VANISHED]]
    while len(links) < study.policy.links(sites):
        links.append(next_link(links[-1]))
    secrets = [key.reveal() for key in (opened.self_seed, *opened.mask_keys.values())] + links
    for count, found in ((study.policy.threshold, True), (study.policy.threshold - 1, False)):
        for points in combinations(shares, count):
            together = bytes(_core.shamir_combine(points, np.stack([shares[point] for point in points])))
            rebuilt = [together[at : at + 32] for at in range(0, len(together), 32)]
            assert [one == other for one, other in zip(rebuilt, secrets, strict=True)] == [found] * len(
                secrets
            )


# Responders that lie ------------------------------------------------------------------------------------


def wrong_share(message: m.Recovery) -> m.Recovery:
    first, *rest = message.shares
    return replace(message, shares=(replace(first, share=flip(first.share)), *rest))


def wrong_path(message: m.Recovery) -> m.Recovery:
    first, *rest = message.shares
    return replace(message, shares=(replace(first, path=(bytes(32), *first.path[1:])), *rest))


def short_path(message: m.Recovery) -> m.Recovery:
    return replace(message, shares=tuple(replace(share, path=share.path[:-1]) for share in message.shares))


def long_path(message: m.Recovery) -> m.Recovery:
    return replace(message, shares=tuple(replace(s, path=(*s.path, bytes(32))) for s in message.shares))


def no_shares(message: m.Recovery) -> m.Recovery:
    return replace(message, shares=())


def one_share_more(message: m.Recovery) -> m.Recovery:
    return replace(message, shares=(*message.shares, message.shares[-1]))


def claims_a_bad_box(message: m.Recovery) -> m.Recovery:
    return replace(message, shares=(), fault="box")


def claims_a_bad_root(message: m.Recovery) -> m.Recovery:
    return replace(message, shares=(), fault="root")


LIES = [
    wrong_share,
    wrong_path,
    short_path,
    long_path,
    no_shares,
    one_share_more,
    claims_a_bad_box,
    claims_a_bad_root,
]


def liars(names: Collection[str], change: Callable[[m.Recovery], m.Recovery]) -> Callable[..., Reply | None]:
    def alter(request: Request, reply: Reply) -> Reply:
        return altered(reply, m.Recovery, change) if request.site in names else reply

    return alter


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("who", [("site00",), ("site05",)], ids="+".join)
def test_a_responder_that_lies_is_named_with_the_dealer_and_the_sum_is_right(
    lie: Callable[[m.Recovery], m.Recovery], who: tuple[str, ...]
) -> None:
    study = ready()
    random_lanes(study, seed=2)
    result = study.round(lose={VANISHED: "unmask"}, alter=liars(who, lie))
    assert result.vanished == (VANISHED,)
    assert blamed(result.faults) == {(name, VANISHED) for name in who}


@pytest.mark.parametrize("lie", LIES)
def test_too_many_lying_responders_are_a_clear_abort_and_the_next_round_works(
    lie: Callable[[m.Recovery], m.Recovery],
) -> None:
    study = ready()
    with pytest.raises(RoundAborted, match="3 sites gave shares of 'site03', 4 are needed") as caught:
        study.round(lose={VANISHED: "unmask"}, alter=liars(("site00", "site05"), lie))
    assert caught.value.peers == (VANISHED,)
    assert blamed(study.coordinator.faults) == {("site00", VANISHED), ("site05", VANISHED)}
    assert study.round().survivors == study.names


def test_a_share_in_the_place_of_another_is_wrong() -> None:
    """The leaf binds dealer, holder and which secret it is of, so no good share passes elsewhere."""
    study = ready().to("unmask", lose={"site05": "upload"})
    study.phase(lose=["site03", "site04"])
    replies = {
        (request.site, read(request.data, m.RecoverRequest).vanished.site): study.ask(request)
        for request in study.coordinator.requests()
    }
    good = {key: read(reply.data, m.Recovery) for key, reply in replies.items()}
    mine = good["site00", "site03"]
    assert len(mine.shares) == 2
    for wrong in (
        replace(mine, shares=tuple(reversed(mine.shares))),
        replace(mine, shares=good["site01", "site03"].shares),
        replace(mine, shares=good["site00", "site04"].shares),
        replace(mine, shares=(mine.shares[0], mine.shares[0])),
    ):
        with pytest.raises(ShareError) as caught:
            study.coordinator.receive("site00", wire.to_bytes(wrong))
        assert caught.value.peers == ("site00", "site03")
    study.check_sum(study.round())


def test_shares_that_nobody_asked_for_are_refused() -> None:
    study = ready().to("unmask")
    study.phase(lose=[VANISHED])
    good = read(study.ask(study.requests()["site00"]).data, m.Recovery)
    for wrong in (
        replace(good, vanished="site04"),
        replace(good, vanished="site00"),
        replace(good, vanished="stranger"),
        replace(good, round=2),
        replace(good, session=bytes(32)),
    ):
        with pytest.raises(PeerError, match="gave shares of") as caught:
            study.coordinator.receive("site00", wire.to_bytes(wrong))
        assert caught.value.peers == ("site00",)
    assert study.coordinator._state.open.shares == {VANISHED: {}}


def test_31_sites_with_15_lying_responders_are_named_in_bounded_time() -> None:
    policy = make_policy(31, colluders=0, threshold=16, min_cohort=16)
    study = ready(policy)
    lying = [name for name in study.names[:15] if name != VANISHED]
    study.to("unmask")
    started = time.process_time()
    result = study.round(lose={VANISHED: "unmask"}, alter=liars(lying, wrong_share))
    assert time.process_time() - started < 10
    assert blamed(result.faults) == {(name, VANISHED) for name in lying}
    assert result.survivors == study.names


def test_all_responders_but_one_lying_about_two_sites_is_a_clear_abort_in_bounded_time() -> None:
    policy = make_policy(31, colluders=0, threshold=16, min_cohort=16)
    study = ready(policy).to("unmask")
    started = time.process_time()
    with pytest.raises(RoundAborted, match="1 sites gave shares"):
        study.round(
            lose=dict.fromkeys(("site03", "site04"), "unmask"), alter=liars(study.names[1:], wrong_share)
        )
    assert time.process_time() - started < 10


# Unmasking with something else --------------------------------------------------------------------------


def test_a_wrong_self_seed_in_r3_is_named_and_recovered_by_shares() -> None:
    study = ready()
    random_lanes(study, seed=3)

    def alter(request: Request, reply: Reply) -> Reply:
        if request.site != VANISHED:
            return reply
        return altered(reply, m.Unmasking, lambda u: replace(u, self_seed=bytes(32)))

    result = study.round(alter=alter)
    assert (result.survivors, result.vanished) == (study.names, (VANISHED,))
    assert blamed(result.faults) == {(VANISHED,)}


def test_a_wrong_pair_key_or_link_in_r3_is_named_and_recovered_by_shares() -> None:
    study = ready(make_policy(chain=True))
    random_lanes(study, seed=4)

    def alter(request: Request, reply: Reply) -> Reply:
        if request.site == "site01":
            return altered(reply, m.Unmasking, lambda u: replace(u, pair_keys=(bytes(32),)))
        if request.site == "site02":
            return altered(reply, m.Unmasking, lambda u: replace(u, link=bytes(32)))
        return reply

    result = study.round(alter=alter, lose={"site05": "upload"})
    assert result.vanished == ("site01", "site02")
    assert blamed(result.faults) == {("site01",), ("site02",)}
    assert set(result.links) == set(result.survivors)


def test_a_site_may_unmask_again_rightly_after_a_wrong_answer() -> None:
    study = ready().to("unmask")
    reply = study.ask(study.requests()[VANISHED])
    with pytest.raises(ShareError):
        study.coordinator.receive(
            VANISHED, altered(reply, m.Unmasking, lambda u: replace(u, self_seed=bytes(32))).data
        )
    study.coordinator.receive(VANISHED, reply.data)
    assert study.round().vanished == ()


# Dealers that lie in their upload -----------------------------------------------------------------------


def sign(summary: m.UploadSummary, upload: m.Upload) -> m.Upload:
    return replace(upload, summary=summary, signature=identity(summary.site).sign("upload", summary.digest))


def dealer(change: Callable[[Study, m.Upload], m.Upload]) -> Callable[[Study], Callable[..., Reply]]:
    """A site that signs a changed upload, and says in R2 that its own digest is that one."""

    def alter_in(study: Study) -> Callable[..., Reply]:
        def alter(request: Request, reply: Reply) -> Reply:
            if request.site != VANISHED:
                return reply
            return altered(reply, m.Upload, lambda upload: change(study, upload))

        return alter

    return alter_in


@dealer
def another_secret_than_committed(_: Study, upload: m.Upload) -> m.Upload:
    return sign(replace(upload.summary, self_commitment=bytes(32)), upload)


@dealer
def boxes_of_rubbish(_: Study, upload: m.Upload) -> m.Upload:
    boxes = tuple(bytes(len(box)) for box in upload.boxes)
    return with_boxes(upload, boxes, [reference.root for reference in upload.summary.boxes])


@dealer
def roots_of_other_shares(_: Study, upload: m.Upload) -> m.Upload:
    return with_boxes(upload, upload.boxes, [bytes(32)] * len(upload.boxes))


def with_boxes(upload: m.Upload, boxes: Sequence[bytes], roots: Sequence[bytes]) -> m.Upload:
    references = tuple(m.BoxReference(body_digest(box), root) for box, root in zip(boxes, roots, strict=True))
    return replace(sign(replace(upload.summary, boxes=references), upload), boxes=tuple(boxes))


def reseal(study: Study, upload: m.Upload, vectors: dict[str, bytes]) -> m.Upload:
    """The colluder seals other share vectors to some peers, with roots that fit them."""
    site = study.sites[VANISHED]
    context, opened = site.state.open.context, site.state.open
    boxes, roots = list(upload.boxes), [reference.root for reference in upload.summary.boxes]
    for peer, vector in vectors.items():
        place = opened.peers.index(peer)
        # The round's box keys were derived from the pair secret, which the test kept.
        key = pair_keys(Secret(study.kept[peer]), context, VANISHED, peer).outgoing
        boxes[place] = seal_shares(key, box_header(context, VANISHED, peer), vector, lambda n: bytes(n))
        roots[place], _ = merkle.root_and_paths(
            merkle.leaves(context.session, context.round, VANISHED, peer, vector)
        )
    return with_boxes(upload, boxes, roots)


@dealer
def shares_of_another_secret(study: Study, upload: m.Upload) -> m.Upload:
    peers = study.sites[VANISHED].state.open.peers
    count = 1 + len(peers)
    shares = _core.shamir_split(
        bytes(32 * count),
        [study.roster.point(peer) for peer in peers],
        threshold=study.policy.threshold,
        seed=b"s" * 32,
    )
    return reseal(study, upload, {p: row.tobytes() for p, row in zip(peers, shares, strict=True)})


@dealer
def too_few_shares_in_the_boxes(study: Study, upload: m.Upload) -> m.Upload:
    """The box has the right size on the wire only if it has the right number of shares."""
    return reseal(study, upload, {"site00": bytes(32 * 3)})


@dealer
def one_box_of_rubbish(_: Study, upload: m.Upload) -> m.Upload:
    boxes = (bytes(len(upload.boxes[0])), *upload.boxes[1:])
    return with_boxes(upload, boxes, [reference.root for reference in upload.summary.boxes])


@dealer
def one_root_of_other_shares(_: Study, upload: m.Upload) -> m.Upload:
    roots = [bytes(32), *(reference.root for reference in upload.summary.boxes[1:])]
    return with_boxes(upload, upload.boxes, roots)


def lying_dealer(lie: Callable[[Study], Callable[..., Reply]]) -> tuple[Study, Callable[..., Reply]]:
    study = ready()
    pairs = study.sites[VANISHED].state.pairs
    study.kept = {peer: secret.reveal() for peer, secret in pairs.items()}
    return study, lie(study)


@pytest.mark.parametrize("lie", [another_secret_than_committed, shares_of_another_secret])
def test_a_dealer_whose_secret_does_not_match_its_commitment_is_named_alone(
    lie: Callable[[Study], Callable[..., Reply]],
) -> None:
    study, alter = lying_dealer(lie)
    with pytest.raises(RoundAborted, match="shared something else than it committed to") as caught:
        study.round(lose={VANISHED: "confirm"}, alter=alter)
    assert caught.value.peers == (VANISHED,)
    assert blamed(study.coordinator.faults) == {(VANISHED,)}
    assert study.round().survivors == study.names


@pytest.mark.parametrize(("lie", "reason"), [(boxes_of_rubbish, "box"), (roots_of_other_shares, "root")])
def test_a_dealer_whose_boxes_are_wrong_is_named_with_each_responder(
    lie: Callable[[Study], Callable[..., Reply]], reason: str
) -> None:
    study, alter = lying_dealer(lie)
    with pytest.raises(RoundAborted, match="0 sites gave shares"):
        study.round(lose={VANISHED: "confirm"}, alter=alter)
    others = [name for name in study.names if name != VANISHED]
    assert blamed(study.coordinator.faults) == {(name, VANISHED) for name in others}
    assert all(f"is wrong ({reason})" in fault.reason for fault in study.coordinator.faults)
    assert study.round().survivors == study.names


@pytest.mark.parametrize("lie", [one_box_of_rubbish, one_root_of_other_shares])
def test_a_dealer_with_one_wrong_box_is_named_with_its_holder_and_the_sum_is_right(
    lie: Callable[[Study], Callable[..., Reply]],
) -> None:
    study, alter = lying_dealer(lie)
    result = study.round(lose={VANISHED: "confirm"}, alter=alter)
    assert result.vanished == (VANISHED,)
    assert blamed(result.faults) == {("site00", VANISHED)}


def test_a_dealer_with_too_short_a_box_is_refused_at_upload() -> None:
    study, alter = lying_dealer(too_few_shares_in_the_boxes)
    result = study.round(alter=alter)
    assert result.dropped == (VANISHED,)
    assert blamed(result.faults) == {(VANISHED,)}


def test_a_responder_does_not_open_a_box_that_is_not_the_certified_one() -> None:
    """Nobody can be made to decrypt for another round, dealer or holder: the box key and header bind them."""
    study = ready().to("unmask")
    upload = study.replies(m.Upload)[VANISHED]
    opened = study.sites["site00"].state.open
    header = box_header(opened.context, VANISHED, "site00")
    box = upload.boxes[0]
    key = opened.incoming[VANISHED]
    assert len(open_shares(key, header, box)) == 6 * 32
    later = opened.context._replace(round=2)
    for wrong_key, wrong_header, wrong_box in (
        (key, box_header(later, VANISHED, "site00"), box),
        (key, box_header(opened.context, "site00", VANISHED), box),
        (key, box_header(opened.context, VANISHED, "site01"), box),
        (opened.incoming["site04"], header, box),
        (study.sites[VANISHED].state.open.incoming["site00"], header, box),
        (key, header, box[:-1] + bytes([box[-1] ^ 1])),
        (key, header, flip(box)),
        (key, header, box[:20]),
        (key, header, b""),
    ):
        with pytest.raises(PeerError, match="does not open"):
            open_shares(wrong_key, wrong_header, wrong_box)


# Pair commitments that differ ---------------------------------------------------------------------------


def with_commitments(upload: m.Upload, participants: Sequence[str], wrong: Collection[str]) -> m.Upload:
    peers = [name for name in participants if name != upload.summary.site]
    commitments = tuple(
        flip(commitment) if peer in wrong else commitment
        for peer, commitment in zip(peers, upload.summary.pair_commitments, strict=True)
    )
    return sign(replace(upload.summary, pair_commitments=commitments), upload)


def commits_wrongly(study: Study, lies: dict[str, Collection[str]]) -> Callable[..., Reply]:
    def alter(request: Request, reply: Reply) -> Reply:
        wrong = lies.get(request.site, ())
        return altered(reply, m.Upload, lambda upload: with_commitments(upload, study.names, wrong))

    return alter


def test_a_site_whose_commitments_differ_from_all_others_is_left_out_alone() -> None:
    study = ready()
    result = study.round(alter=commits_wrongly(study, {"site02": study.names}))
    assert (result.dropped, result.vanished) == (("site02",), ())
    assert blamed(result.faults) == {
        tuple(sorted(("site02", name))) for name in study.names if name != "site02"
    }
    assert study.round().survivors == study.names


def test_two_bad_pairs_cost_two_sites() -> None:
    study = ready()
    result = study.round(alter=commits_wrongly(study, {"site01": ["site04"], "site02": ["site05"]}))
    assert result.dropped == ("site01", "site02")
    assert blamed(result.faults) == {("site01", "site04"), ("site02", "site05")}


def test_pairs_with_one_site_in_common_cost_that_site() -> None:
    study = ready()
    result = study.round(alter=commits_wrongly(study, {"site04": ["site01", "site02"]}))
    assert result.dropped == ("site04",)


def test_more_bad_pairs_than_tolerated_are_an_abort_before_anything_is_opened() -> None:
    study = ready()
    lies = {"site00": ["site01"], "site02": ["site03"], "site04": ["site05"]}
    with pytest.raises(RoundAborted, match="3 of 6 sites dropped out"):
        study.round(alter=commits_wrongly(study, lies))
    assert not study.replies(m.Unmasking)
    assert not study.replies(m.Confirmation)
    assert study.round().survivors == study.names


@pytest.mark.parametrize(
    ("lies", "dropped"),
    [({"site01": ["site04"]}, "site04"), ({"site04": ["site01"]}, "site01")],
    ids=["about a dropout", "and the honest one of the pair is left out"],
)
def test_a_survivor_that_committed_wrongly_to_a_mask_that_must_be_opened_is_named_alone(
    lies: dict[str, Collection[str]], dropped: str
) -> None:
    study = ready()
    (liar,) = lies
    lose = {dropped: "upload"} if liar < dropped else {}
    with pytest.raises(RoundAborted, match="than it committed to") as caught:
        study.round(lose=lose, alter=commits_wrongly(study, lies))
    assert caught.value.peers == (liar,)
    assert study.round().survivors == study.names
