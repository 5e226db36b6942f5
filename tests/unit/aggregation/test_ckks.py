# SPDX-License-Identifier: Apache-2.0

"""CKKS passes the suite of every aggregator, and its sums are exact under keys that no coordinator sees."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from math import log2

import msgspec
import numpy as np
import pytest

from aggregators import SITES, AggregatorSuite, contributors, policy_for, vectors

pytest.importorskip("tenseal")

from sordino.aggregation.base import Aggregator
from sordino.aggregation.ckks.aggregator import CkksAggregator
from sordino.aggregation.ckks.ciphertext import Total, decrypt, encrypt, tenseal
from sordino.aggregation.ckks.limbs import join, split
from sordino.aggregation.ckks.member import KeyDelivery, Member, new_context
from sordino.aggregation.ckks.parameters import (
    SLOTS,
    STANDARD_BITS,
    Parameters,
    choose_parameters,
    noise_spread,
)
from sordino.errors import BadSignature, ConfigError, MalformedMessage, PeerError, RequestRefused, StateError
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.lanes import empty_lanes
from sordino.protocol.policy import Block, Policy, Question, plan_policy


class TestCkks(AggregatorSuite):
    def make(
        self, policy: Policy, groups: Mapping[str, Collection[str]] | None = None, **extra: object
    ) -> Aggregator:
        return CkksAggregator(policy, SITES, groups=groups, **extra)

    def make_for(self, policy: Policy, sites: Sequence[str]) -> Aggregator:
        return CkksAggregator(policy, sites)

    def test_the_coordinator_holds_no_key_and_cannot_open_a_sum(self) -> None:
        with self.make(policy_for()) as aggregator:
            context = aggregator._adding
            assert not context.is_private()
            assert not context.has_relin_keys()
            assert not context.has_galois_keys()
            member = aggregator._members["lyon"]
            upload = member.upload(1, b"q", np.arange(5, dtype=np.uint32))
            with pytest.raises((ValueError, RuntimeError)):
                decrypt(context, upload.ciphertext)
            assert decrypt(member._keyed, upload.ciphertext)[:5].round().tolist() == [0, 1, 2, 3, 4]

    def test_equal_lanes_give_other_ciphertexts(self) -> None:
        with self.make(policy_for()) as aggregator:
            member, lanes = aggregator._members["oslo"], np.arange(5, dtype=np.uint32)
            assert member.upload(1, b"q", lanes).ciphertext != member.upload(1, b"q", lanes).ciphertext

    def test_closing_forgets_the_key(self) -> None:
        aggregator = self.make(policy_for())
        aggregator.close()
        with pytest.raises(StateError, match="closed"):
            aggregator.aggregate("sum", b"", contributors(vectors(4)))

    def test_traffic_is_what_was_encrypted(self) -> None:
        with self.make(policy_for(4000)) as aggregator:
            result = aggregator.aggregate("sum", b"x" * 50, contributors(vectors(4000)))
            most = 4001 * aggregator.parameters.bytes_per_lane
        opener, *others = (result.traffic[name] for name in SITES)
        for traffic in others:
            assert 0.7 * most < traffic.sent < 1.05 * most + 8192 * 16
            assert traffic.received == 50
        assert opener.received > 50 + 0.7 * most
        assert opener.sent > others[0].sent

    def test_without_the_extra_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tenseal", None)
        with pytest.raises(ConfigError, match=r"pip install 'sordino\[ckks\]'"):
            self.make(policy_for())


def policy_of(sites: int, bits: int) -> Policy:
    plan = [Question("sum", (Block("vector", 4, 1.0, 0),), max_weight=1)]
    return plan_policy(
        study="parameters", sites=sites, plan=plan, bits=bits, across_rounds="accept", rounds=1, colluders=0
    )


@pytest.mark.parametrize("sites", [3, 10, 100, 1000])
@pytest.mark.parametrize("bits", [12, 20, 27, 32, 33, 48, 64])
def test_parameters_are_secure_and_their_bounds_hold_with_every_limb_at_its_largest(
    sites: int, bits: int
) -> None:
    parameters = choose_parameters(policy_of(sites, bits))
    assert sum(parameters.prime_bits) <= STANDARD_BITS
    assert parameters.limbs * parameters.limb_bits >= bits
    # The largest sum, scaled, stays below half of the prime, of which the highest bit is always one.
    largest = sites * (2**parameters.limb_bits - 1) * 2**parameters.scale_bits
    assert largest < 2 ** (parameters.prime_bits[0] - 1)
    context = new_context(parameters)
    lanes = empty_lanes(600, bits)
    lanes[:] = np.random.default_rng(bits).integers(0, 2**bits, 600, dtype=np.uint64)
    lanes[:300] = 2**bits - 1
    total = Total(context, 600 * parameters.limbs)
    for _ in range(min(sites, 30)):
        total.add(encrypt(context, split(lanes, parameters)))
    opened = join(decrypt(context, total.serialise()), parameters, sites=sites, bits=bits)
    expected = lanes.astype(np.uint64) * np.uint64(min(sites, 30)) & np.uint64(2**bits - 1)
    assert opened.astype(np.uint64).tolist() == expected.tolist()


@pytest.mark.parametrize("sites", [3, 30])
def test_the_noise_is_what_the_parameters_were_chosen_for(sites: int) -> None:
    parameters = choose_parameters(policy_of(sites, 30))
    context = new_context(parameters)
    limbs = np.random.default_rng(1).integers(0, 2**parameters.limb_bits, 4 * SLOTS).astype(np.float64)
    total = Total(context, len(limbs))
    for _ in range(sites):
        total.add(encrypt(context, limbs))
    noise = decrypt(context, total.serialise()) - sites * limbs
    expected = noise_spread(sites) / 2**parameters.scale_bits
    assert float(np.std(noise)) == pytest.approx(expected, rel=0.05)
    assert 0.5 / expected >= 9.0
    assert log2(0.5 / expected) < log2(18.0)  # and the scale wastes less than a bit


def test_a_scale_that_is_too_small_does_not_pass_unseen() -> None:
    good = choose_parameters(policy_of(6, 30))
    poor = Parameters(good.prime_bits, good.scale_bits - 5, good.limb_bits, good.limbs)
    context = new_context(poor)
    data = encrypt(context, split(np.arange(2000, dtype=np.uint32), poor))
    with pytest.raises(PeerError, match="no sum"):
        join(decrypt(context, data), poor, sites=6, bits=30)


def test_a_sum_of_more_than_was_said_is_refused() -> None:
    parameters = choose_parameters(policy_of(6, 30))
    context, limbs = new_context(parameters), np.full(10, 2.0**30 - 1)
    total = Total(context, 10)
    for _ in range(6):
        total.add(encrypt(context, limbs))
    limbs_opened = decrypt(context, total.serialise())
    join(limbs_opened, parameters, sites=6, bits=30)
    with pytest.raises(PeerError, match="add up"):
        join(limbs_opened, parameters, sites=5, bits=30)


def test_limbs_come_back_as_the_lanes_they_were() -> None:
    for bits in (1, 31, 32, 33, 63, 64):
        parameters = choose_parameters(policy_of(6, max(bits, 12)))
        lanes = empty_lanes(100, bits)
        lanes[:] = np.random.default_rng(bits).integers(0, 2**bits, 100, dtype=np.uint64)
        assert join(split(lanes, parameters), parameters, sites=1, bits=bits).tolist() == lanes.tolist()


@pytest.fixture
def members() -> dict[str, Member]:
    identities = {name: Identity.generate(name) for name in SITES}
    roster = Roster({name: identity.public_key for name, identity in identities.items()})
    return {name: Member(identity, roster, policy_for()) for name, identity in identities.items()}


def test_set_up_refuses_what_is_forged_or_for_somebody_else(members: dict[str, Member]) -> None:
    advertisements = [member.advertise() for member in members.values()]
    delivery = members["berlin"].make_key(advertisements)
    given = msgspec.msgpack.decode(delivery, type=KeyDelivery)
    swapped = {**given.sealed, "lyon": given.sealed["oslo"]}
    for changed in (
        msgspec.structs.replace(given, sealed=swapped),
        msgspec.structs.replace(given, encrypted=given.encrypted[:-1] + b"x"),
        msgspec.structs.replace(given, signature=b"s" * 64),
    ):
        with pytest.raises(BadSignature):
            members["lyon"].take_key(advertisements, msgspec.msgpack.encode(changed))
    with pytest.raises(RequestRefused, match="first of the roster"):
        members["lyon"].take_key(
            advertisements, msgspec.msgpack.encode(msgspec.structs.replace(given, maker="oslo"))
        )
    with pytest.raises(MalformedMessage):
        members["lyon"].take_key(advertisements, delivery[:100])
    # Other advertisements are another session, in which neither the signature nor the boxes hold.
    with pytest.raises(PeerError):
        members["lyon"].take_key(advertisements[:-1], delivery)
    members["lyon"].take_key(advertisements, delivery)


def test_an_advertisement_is_signed_and_its_key_is_the_member_s_own(members: dict[str, Member]) -> None:
    advertisements = [member.advertise() for member in members.values()]
    forged = advertisements[2][:-5] + b"12345"
    with pytest.raises(BadSignature):
        members["berlin"].make_key([*advertisements[:2], forged, *advertisements[3:]])
    with pytest.raises(RequestRefused, match="twice"):
        members["berlin"].make_key([*advertisements, advertisements[0]])
    with pytest.raises(RequestRefused, match="or more"):
        members["berlin"].make_key(advertisements[:2])


@pytest.mark.parametrize(
    ("degree", "prime_bits", "encryption"),
    [(4096, (40, 40), "SYMMETRIC"), (8192, None, "SYMMETRIC"), (4096, None, "ASYMMETRIC")],
)
def test_a_maker_with_other_parameters_is_refused(
    members: dict[str, Member],
    monkeypatch: pytest.MonkeyPatch,
    degree: int,
    prime_bits: tuple[int, int] | None,
    encryption: str,
) -> None:
    advertisements = [member.advertise() for member in members.values()]
    weak = tenseal().context(
        tenseal().SCHEME_TYPE.CKKS,
        degree,
        coeff_mod_bit_sizes=list(prime_bits or members["berlin"].parameters.prime_bits),
        encryption_type=tenseal().ENCRYPTION_TYPE[encryption],
    )
    weak.global_scale = 2.0**20
    monkeypatch.setattr("sordino.aggregation.ckks.member.new_context", lambda _: weak)
    delivery = members["berlin"].make_key(advertisements)
    monkeypatch.undo()
    with pytest.raises(PeerError, match="other parameters"):
        members["lyon"].take_key(advertisements, delivery)


def test_parameters_are_compared_without_a_key_of_one_s_own(
    members: dict[str, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    advertisements = [member.advertise() for member in members.values()]
    delivery = members["berlin"].make_key(advertisements)
    monkeypatch.setattr("sordino.aggregation.ckks.member.new_context", None)
    members["lyon"].take_key(advertisements, delivery)
    assert members["lyon"].public_context() == members["berlin"].public_context()


def test_the_secret_key_is_in_no_message_of_set_up(members: dict[str, Member]) -> None:
    advertisements = [member.advertise() for member in members.values()]
    delivery = members["berlin"].make_key(advertisements)
    context = members["berlin"]._keyed
    secret = context.serialize(
        save_public_key=False, save_secret_key=True, save_galois_keys=False, save_relin_keys=False
    )
    middle = secret[len(secret) // 2 :][:32]
    assert middle in secret
    for message in (*advertisements, delivery, members["berlin"].public_context()):
        assert middle not in message
    assert len(members["berlin"].public_context()) < 200


def ready(members: dict[str, Member]) -> None:
    advertisements = [member.advertise() for member in members.values()]
    maker, *others = members.values()
    delivery = maker.make_key(advertisements)
    for member in others:
        member.take_key(advertisements, delivery)


def test_a_site_opens_one_sum_a_round_over_enough_sites(members: dict[str, Member]) -> None:
    ready(members)
    lanes = np.arange(5, dtype=np.uint32)
    data = members["oslo"].upload(1, b"q", lanes).ciphertext
    lyon = members["lyon"]
    for survivors in (SITES[:2], ("berlin", "delft", "oslo", "turin"), (*SITES[:4], "paris"), SITES[2:3] * 5):
        with pytest.raises(RequestRefused, match="or more"):
            lyon.open(1, survivors, data)
    assert lyon.open(1, SITES, data).tolist() == lanes.tolist()
    for number in (1, 0):
        with pytest.raises(RequestRefused, match="already"):
            lyon.open(number, SITES, data)
    assert lyon.open(2, SITES[:5], data).tolist() == lanes.tolist()


def test_an_upload_of_another_length_or_of_nonsense_is_refused(members: dict[str, Member]) -> None:
    ready(members)
    member = members["turin"]
    context = tenseal().context_from(member.public_context())
    total = Total(context, 3000)
    for lanes in (np.zeros(2999, np.uint32), np.zeros(3001, np.uint32), np.zeros(5000, np.uint32)):
        with pytest.raises(MalformedMessage, match="3000"):
            total.add(member.upload(1, b"q", lanes).ciphertext)
    for data in (b"", b"\x00", msgspec.msgpack.encode([b"abc", b"def"])):
        with pytest.raises(MalformedMessage):
            total.add(data)
