# SPDX-License-Identifier: Apache-2.0

"""Secrets and weights stay where they belong: not on the wire, in a print, in a pickle, in a journal."""

from __future__ import annotations

import base64
import copy
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adversarial.toolkit import Study, make_policy, question
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import ShareError
from sordino.files.journal import FileJournal
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.keys import BoxKey, RoundContext, pair_keys
from sordino.protocol.secret import Secret

WEIGHT = 0x5EC4E7A1B3
"""So long that no random bytes look like it."""


def spellings(data: bytes) -> Iterator[bytes]:
    """The ways in which bytes could be found in a text or a message."""
    yield data
    yield data.hex().encode()
    yield base64.b64encode(data)
    yield repr(data)[2:-1].encode()
    yield str(list(data))[1:-1].encode()


def assert_absent(data: bytes, text: bytes | str) -> None:
    text = text.encode() if isinstance(text, str) else text
    for spelling in spellings(data):
        assert spelling not in text


# On the wire --------------------------------------------------------------------------------------------


def on_the_wire(study: Study) -> bytes:
    return b"|".join(
        part for e in study.log for part in (e.request.data, e.request.body, e.reply.data, e.reply.payload)
    )


def keys_now(study: Study) -> dict[tuple[str, str], bytes]:
    """Each key of the open round by (site, what it is)."""
    found: dict[tuple[str, str], bytes] = {}
    for name, site in study.sites.items():
        opened = site.state.open
        if opened is None:
            continue
        found[name, "self"] = opened.self_seed.reveal()
        found |= {(name, peer): key.reveal() for peer, key in opened.mask_keys.items()}
        found |= {(name, f"box of {peer}"): key.reveal() for peer, key in opened.incoming.items()}
        if opened.link is not None:
            found[name, "link"] = opened.link.reveal()
        found |= {(name, f"pair {peer}"): key.reveal() for peer, key in site.state.pairs.items()}
    return found


def test_a_round_shows_the_survivors_self_seeds_and_their_keys_with_the_dropped_and_nothing_else() -> None:
    study = Study(make_policy(chain=True)).to("receipt")
    private = {name: site.state.box_key.reveal() for name, site in study.sites.items()}
    study.set_up()
    pairs = [secret.reveal() for site in study.sites.values() for secret in site.state.pairs.values()]
    study.to("unmask", lose={"site05": "upload"})
    before = on_the_wire(study)
    keys = keys_now(study)
    for key in (*keys.values(), *pairs):
        assert key not in before
    study.round(lose={"site04": "unmask"})
    seen = on_the_wire(study)
    shown = {what for what, key in keys.items() if key in seen}
    survivors = study.names[:4]
    assert shown == {(name, what) for name in survivors for what in ("self", "site05")}
    for key in (*pairs, *private.values()):
        assert key not in seen
        assert key[:32] not in seen
        assert key[-32:] not in seen


@pytest.mark.parametrize("end", ["close", "next round"])
def test_a_state_stolen_later_holds_no_key_of_a_closed_round(end: str) -> None:
    study = Study(make_policy(chain=True)).set_up()
    before = {name: site.save() for name, site in study.sites.items()}
    pairs = [secret.reveal() for site in study.sites.values() for secret in site.state.pairs.values()]
    study.to("unmask", lose={"site05": "upload"})
    keys = [*pairs, *(key for (_, what), key in keys_now(study).items() if not what.startswith("pair"))]
    study.round()
    if end == "close":
        for name in study.names[:5]:
            study.deliver(name, m.Close(study.session, final=False))
    else:
        study.to("confirm", lose={"site05": "upload"})
    for name in study.names[:5]:
        stolen = study.sites[name].save()
        assert not [key for key in keys if key in stolen]
        assert any(key in before[name] for key in pairs), "a saved state does hold pair secrets as they are"


def test_the_coordinator_s_own_state_holds_no_secret_of_a_site_before_r3() -> None:
    study = Study().to("unmask")
    saved = study.coordinator.save()
    for key in keys_now(study).values():
        assert key not in saved


@pytest.mark.parametrize("bits", [48, 64])
def test_the_weight_appears_in_no_message_in_clear(bits: int) -> None:
    policy = make_policy(plan=[question(3, clip=1.0, max_weight=2**40)], bits=bits)
    study = Study(policy)
    for lanes in study.vectors.values():
        lanes[-1] = WEIGHT
    study.round(lose={"site01": "unmask", "site05": "upload"})
    check_weight_absent(on_the_wire(study))
    check_weight_absent(study.coordinator.save())


def check_weight_absent(seen: bytes) -> None:
    for size in (5, 6, 8):
        assert WEIGHT.to_bytes(size, "little") not in seen
        assert WEIGHT.to_bytes(size, "big") not in seen
    varint = bytes(WEIGHT >> shift & 0x7F | 0x80 for shift in range(0, 35, 7)) + bytes([WEIGHT >> 35])
    for spelling in (varint, str(WEIGHT).encode(), f"{WEIGHT:x}".encode(), f"{WEIGHT:X}".encode()):
        assert spelling not in seen


def test_the_aggregator_sends_and_keeps_no_weight_and_no_value_in_clear(tmp_path: Path) -> None:
    policy = make_policy(plan=[question(3, clip=1.0, max_weight=2**40)])
    names = Study(policy).names
    with MaskedAggregator(policy, names, directory=tmp_path) as aggregator:
        contribution = Contribution({"vector": np.array([1.0, -1.0, 0.0])}, WEIGHT)
        result = aggregator.aggregate("sum", b"", {name: lambda _: contribution for name in names})
    assert result.weights == {"all": 6 * WEIGHT}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 6
    check_weight_absent(b"|".join(path.read_bytes() for path in files))


def test_the_journal_itself_holds_no_key(tmp_path: Path) -> None:
    study = Study(journals=lambda name: FileJournal(tmp_path / name)).to("receipt")
    private = study.sites["site03"].state.box_key.reveal()
    study.to("unmask")
    keys = [key for (name, _), key in keys_now(study).items() if name == "site03"]
    study.round()
    journal = (tmp_path / "site03" / "journal.jsonl").read_bytes()
    for key in (*keys, private[:32], private[-32:]):
        assert_absent(key, journal)


# In prints ----------------------------------------------------------------------------------------------


def printed(study: Study) -> str:
    """Everything that a careless log line could show of the objects that hold secrets."""
    site = study.sites["site02"]
    coordinator = study.coordinator
    things: list[object] = [
        site,
        site.state,
        site.state.open,
        site.state.pairs,
        site.__dict__,
        coordinator,
        coordinator._state,
        coordinator._state.open,
        *(coordinator._state.open.openings.values() if coordinator._state.open else ()),
        *study.replies(m.Unmasking).values(),
        *study.replies(m.Recovery).values(),
        *study.journals.values(),
    ]
    return "\n".join(f"{thing!r} {thing!s} {thing}" for thing in things)


def test_no_secret_prints() -> None:
    study = Study(make_policy(chain=True)).to("unmask", lose={"site05": "upload"})
    for name in ("site00", "site01", "site02"):
        study.coordinator.receive(name, study.ask(study.requests()[name]).data)
    unmasked = printed(study)
    secrets = list(keys_now(study).values())
    study.phase(lose=["site00", "site01", "site02", "site04"])
    for name in study.names[:3]:
        for request in study.coordinator.requests():
            if request.site == name:
                study.coordinator.receive(name, study.ask(request).data)
    recovering = printed(study)
    shares = [s.share for r in study.replies(m.Recovery).values() for s in r.shares]
    revealed = [key for u in study.replies(m.Unmasking).values() for key in (u.self_seed, *u.pair_keys)]
    assert shares
    assert revealed
    for text in (unmasked, recovering):
        for secret in (*secrets, *shares, *revealed):
            assert_absent(secret, text)
    assert "Secret(32 bytes)" in unmasked


def test_the_keys_of_set_up_do_not_print() -> None:
    study = Study().to("receipt")
    site = study.sites["site03"]
    private = site.state.box_key.reveal()
    box_key = BoxKey.from_private_bytes(private)
    pair = Secret(b"\x5a" * 32)
    keys = pair_keys(pair, RoundContext(bytes(32), 1, *[bytes(32)] * 3), "a", "b")
    identity = study.sites["site03"]._identity
    text = repr((site.state, box_key, pair, keys, identity, identity.__dict__, box_key.__dict__))
    for secret in (
        private[:32],
        private[32:64],
        private[-32:],
        pair.reveal(),
        *(key.reveal() for key in keys),
        identity.private_key.private_bytes_raw(),
        *(secret.reveal() for secret in site.state.pairs.values()),
    ):
        assert_absent(secret, text)


def test_the_result_of_a_round_does_not_print_its_links() -> None:
    study = Study(make_policy(chain=True))
    result = study.round()
    for link in result.links.values():
        assert_absent(link, repr(result))


def test_no_secret_is_in_the_error_of_a_wrong_opening_or_in_its_locals() -> None:
    study = Study().to("unmask")
    request = study.requests()["site02"]
    good = study.ask(request)
    message = wire.read_at_coordinator(good.data, 6)
    other = study.ask(study.requests()["site03"])
    swapped = m.Unmasking(
        message.session,
        message.round,
        "site02",
        wire.read_at_coordinator(other.data, 6).self_seed,
        message.pair_keys,
        None,
    )
    with pytest.raises(ShareError) as caught:
        study.coordinator.receive("site02", wire.to_bytes(swapped))
    assert_absent(swapped.self_seed, "".join(traceback.format_exception(caught.value)))
    assert_absent(swapped.self_seed, repr(study.coordinator.faults))


# In pickles and copies ----------------------------------------------------------------------------------


def test_what_holds_secrets_is_not_pickled_or_copied_by_accident() -> None:
    study = Study().to("receipt")
    site = study.sites["site03"]
    box_key = BoxKey.from_private_bytes(site.state.box_key.reveal())
    holders: list[object] = [site.state.box_key, site.state, site, box_key, site._identity]
    study.to("confirm")
    holders += [site.state.open, site.state.open.mask_keys, Secret(b"k" * 32)]
    for holder in holders:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises((TypeError, pickle.PicklingError)):
                pickle.dumps(holder, protocol)
    for holder in (site.state, site.state.open, Secret(b"k" * 32)):
        with pytest.raises(TypeError, match="not pickled"):
            copy.deepcopy(holder)
