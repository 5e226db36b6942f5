# SPDX-License-Identifier: Apache-2.0

"""What the coordinator sees is flat: no class, byte or difference of uploads tells of the input.

All entropy comes from a fixed seed, so each test gives the same verdict every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from scipy.stats import chi2

from adversarial.toolkit import Study, make_policy, question
from sordino import _core
from sordino.protocol.keys import RoundContext, pair_keys
from sordino.protocol.lanes import empty_lanes
from sordino.protocol.policy import Block, Question
from sordino.protocol.secret import Secret

P_VALUE = 1e-4


def fixed_entropy(name: str) -> Callable[[int], bytes]:
    """Uniform bytes that are the same in every run: SHA-256 of a name and a counter."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        blocks = (size + 31) // 32
        stream = (hashlib.sha256(f"{name}/{count}/{block}".encode()).digest() for block in range(blocks))
        return b"".join(stream)[:size]

    return draw


def lanes_of(payload: bytes, count: int, bits: int) -> NDArray[np.uint64]:
    lanes = empty_lanes(count, bits)
    _core.unpack_add(payload, lanes, bits=bits)
    return lanes.astype(np.uint64)


def uploads(bits: int, rounds: int, length: int) -> NDArray[np.uint64]:
    """What one site uploads, round after round, of one constant vector; shape (rounds, lanes)."""
    study = flat_study(bits, rounds, length)
    seen = []
    for _ in range(rounds):
        study.coordinator.open_round("sum")
        reply = study.deliver("site01", study.requests()["site01"].data)
        seen.append(lanes_of(reply.payload, length + 1, bits))
    return np.stack(seen)


def flat_study(bits: int, rounds: int, length: int) -> Study:
    policy = make_policy(4, plan=[question(length, clip=1.0)], bits=bits, rounds=rounds, colluders=0)
    study = Study(policy, entropy=fixed_entropy).set_up()
    for lanes in study.vectors.values():
        lanes[:] = 1
    return study


def check_flat(counts: NDArray[np.int64]) -> None:
    """Chi-square against the uniform distribution, both tails: too even is as suspicious as uneven."""
    expected = counts.sum() / counts.size
    assert expected >= 20
    statistic = float(((counts - expected) ** 2 / expected).sum())
    tail = chi2.sf(statistic, counts.size - 1)
    assert P_VALUE < tail < 1 - P_VALUE, f"chi-square {statistic:.1f} on {counts.size - 1} degrees"


@pytest.mark.parametrize(("bits", "rounds"), [(4, 20), (8, 20), (11, 40), (12, 60)])
def test_every_residue_class_of_a_constant_vector_occurs_and_equally_often(bits: int, rounds: int) -> None:
    seen = uploads(bits, rounds, 2_000)
    counts = np.bincount(seen.ravel(), minlength=2**bits)
    assert counts.size == 2**bits
    assert counts.min() > 0
    assert counts[-1] > 0, "the top class too"
    check_flat(counts)


@pytest.mark.parametrize("bits", [13, 16, 24, 31, 32, 33, 48, 63, 64])
def test_every_byte_value_of_every_byte_of_a_lane_occurs_equally_often(bits: int) -> None:
    seen = uploads(bits, 6, 2_500)
    for shift in {*range(0, bits - 7, 8), bits - 8}:
        counts = np.bincount((seen.ravel() >> np.uint64(shift)) & np.uint64(255), minlength=256)
        assert counts.min() > 0
        check_flat(counts)
    low = np.bincount(seen.ravel() & np.uint64(1), minlength=2)
    check_flat(low)
    check_flat(np.bincount(seen.ravel() >> np.uint64(bits - 1), minlength=2))


def test_each_lane_of_its_own_is_flat_over_the_rounds() -> None:
    seen = uploads(4, 400, 3)
    for lane in seen.T:
        check_flat(np.bincount(lane, minlength=16))


def test_the_differences_of_two_rounds_and_of_two_lanes_are_flat() -> None:
    """Masks that repeat, or run into each other, would show here: the input is constant."""
    bits = 8
    seen = uploads(bits, 12, 2_000)
    for one, other in combinations(range(12), 2):
        check_flat(np.bincount((seen[one] - seen[other]) % 2**bits, minlength=2**bits).reshape(32, -1).sum(1))
    for shift in (1, 2, 4, 16, 64):
        differences = (seen[:, shift:] - seen[:, :-shift]) % 2**bits
        check_flat(np.bincount(differences.ravel(), minlength=2**bits))


def test_the_differences_of_two_sites_are_flat() -> None:
    study = flat_study(8, 1, 2_000).to("confirm")
    payloads = study.coordinator._state.open.payloads
    lanes = [lanes_of(payload, 2_001, 8) for payload in payloads.values()]
    for one, other in combinations(lanes, 2):
        for combined in (one - other, one + other):
            check_flat(np.bincount(combined % 256, minlength=256).reshape(32, -1).sum(1))


# Keystreams ---------------------------------------------------------------------------------------------


def keys_of(study: Study) -> dict[tuple[str, ...], bytes]:
    """Every key of the open round, by who derived it and for what."""
    found: dict[tuple[str, ...], bytes] = {}
    for name, site in study.sites.items():
        opened = site.state.open
        number = str(opened.context.round)
        found[number, name, "self"] = opened.self_seed.reveal()
        for peer, key in opened.mask_keys.items():
            if name < peer:
                found[number, name, peer, "mask"] = key.reveal()
            else:
                assert found[number, peer, name, "mask"] == key.reveal(), "both ends derive one mask key"
        for peer, key in opened.incoming.items():
            found[number, peer, name, "box"] = key.reveal()
    return found


def test_no_two_pairs_rounds_directions_or_uses_share_a_key() -> None:
    study = Study(make_policy(plan=[question(), question(kind="twin")])).set_up()
    everything: dict[tuple[str, ...], bytes] = {}
    pairs: set[bytes] = set()
    for kind in ("sum", "twin", "sum"):
        study.coordinator.open_round(kind)
        study.phase()
        everything |= keys_of(study)
        pairs |= {s.reveal() for site in study.sites.values() for s in site.state.pairs.values()}
    # Six self seeds, fifteen mask keys and thirty box keys in each of three rounds.
    assert len(everything) == 3 * (6 + 15 + 30)
    assert len(set(everything.values())) == len(everything)
    assert not pairs & set(everything.values())
    assert len(pairs) == 3 * 15, "the pair secrets step forward"


def test_every_part_of_the_round_s_context_changes_every_key() -> None:
    pair = Secret(b"p" * 32)
    context = RoundContext(b"s" * 32, 1, b"p" * 32, b"q" * 32, b"c" * 32)
    base = pair_keys(pair, context, "site01", "site02")
    assert base.outgoing != base.incoming
    mirrored = pair_keys(pair, context, "site02", "site01")
    assert (mirrored.mask, mirrored.outgoing, mirrored.incoming) == (base.mask, base.incoming, base.outgoing)
    others = [pair_keys(pair, context, "site01", "site03"), pair_keys(Secret(b"o" * 32), context, *"ab")]
    for field in context._fields:
        changed = context._replace(**{field: 2 if field == "round" else bytes(32)})
        others.append(pair_keys(pair, changed, "site01", "site02"))
    revealed = [key.reveal() for keys in (base, *others) for key in keys]
    assert len(set(revealed)) == len(revealed)


def test_the_pair_secret_of_a_round_is_wiped_at_upload() -> None:
    study = Study().set_up()
    pairs = list(study.sites["site01"].state.pairs.values())
    study.to("confirm")
    assert all(set(pair.reveal()) == {0} for pair in pairs)


def test_two_tensors_of_one_question_share_no_keystream() -> None:
    """Blocks lie one after the other in one vector, so each has a part of the keystream to itself."""
    blocks = (Block("one", 500, 1.0, 0), Block("two", 500, 1.0, 0))
    policy = make_policy(4, plan=[Question("sum", blocks)], bits=32, rounds=3, colluders=0)
    study = Study(policy, entropy=fixed_entropy).set_up()
    study.to("confirm")
    payload = study.coordinator._state.open.payloads["site01"]
    lanes = lanes_of(payload, 1001, 32)
    one, two = lanes[:500], lanes[500:1000]
    assert not set(one.tolist()) & set(two.tolist())
    assert len(set(lanes.tolist())) == 1001


def test_masks_are_the_plain_aes_keystream_and_cancel() -> None:
    """The upload less the keystreams of its seeds, by another AES, is the vector that went in."""
    study = Study(make_policy(4, colluders=0, bits=32)).to("confirm")
    site = study.sites["site01"]
    opened = site.state.open
    count = study.policy.plan[0].lanes

    def stream(seed: bytes) -> NDArray[np.uint32]:
        encryptor = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
        return np.frombuffer(encryptor.update(bytes(4 * count)), "<u4")

    lanes = lanes_of(study.coordinator._state.open.payloads["site01"], count, 32).astype(np.uint32)
    lanes -= stream(opened.self_seed.reveal())
    for peer, key in opened.mask_keys.items():
        lanes = lanes - stream(key.reveal()) if peer > "site01" else lanes + stream(key.reveal())
    assert lanes.tolist() == study.vectors["site01"].tolist()
