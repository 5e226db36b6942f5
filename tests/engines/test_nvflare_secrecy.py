# SPDX-License-Identifier: Apache-2.0

"""What NVFlare's server receives gives nobody away, and noise comes as it was planned."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip(
    "nvflare", reason="NVFlare is not installed here; `make engines` runs these tests with it"
)
pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

import nvflare_clients
from flower_hospitals import MODEL, NAMES, change_of, count_of, site_files, target_of
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare_clients import Run, Trainer, controller_of, lose

from sordino.adapters import session
from sordino.adapters.nvflare import SecureExecutor, made_with, plan_question
from sordino.aggregation.ends import read_total
from sordino.errors import RoundAborted
from sordino.files.journal import FileJournal
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.policy import plan_policy
from sordino.protocol.state import load_state

COUNT = 123_456_789_012
"""A number of examples that no other bytes look like."""


@pytest.fixture
def marked(monkeypatch):
    monkeypatch.setattr(nvflare_clients, "count_of", lambda name: COUNT + NAMES.index(name))
    monkeypatch.setattr(nvflare_clients, "loss_of", marked_loss)


def marked_loss(name: str) -> float:
    return 0.1234567890123 + NAMES.index(name) / 7


def markers() -> dict[str, bytes]:
    """Every way in which a site's numbers could lie in bytes."""
    found = {}
    for name in NAMES:
        change, target = change_of(name, 1), target_of(name, 1)
        for key, value in MODEL.items():
            found[f"{name}'s {key}"] = (value + target[key]).tobytes()
        for place in range(len(change) - 1):
            pair = change[place : place + 2]
            found[f"{name}'s change at {place}, float32"] = pair.tobytes()
            found[f"{name}'s change at {place}, float64"] = pair.astype(np.float64).tobytes()
        found[f"{name}'s loss"] = struct.pack(">d", marked_loss(name))  # as MessagePack has it
        found[f"{name}'s loss, little-endian"] = struct.pack("<d", marked_loss(name))
        found[f"{name}'s count"] = struct.pack(">Q", COUNT + NAMES.index(name))
        found[f"{name}'s count, little-endian"] = struct.pack("<Q", COUNT + NAMES.index(name))
        found[f"{name}'s count as float64"] = struct.pack("<d", COUNT + NAMES.index(name))
    return found


def seen_in(received: list[bytes], patterns: dict[str, bytes]) -> set[str]:
    stream = b"\n".join(received)
    return {name for name, pattern in patterns.items() if pattern in stream}


def test_nothing_of_a_site_is_in_what_the_server_receives(tmp_path, marked):
    pairs: set[bytes] = set()

    def spies(name, message):
        if (tmp_path / name / "session.state").exists():
            state = load_state((tmp_path / name / "session.state").read_bytes())
            pairs.update(secret.reveal() for secret in state.pairs.values())
            if state.open is not None:
                pairs.update(key.reveal() for key in state.open.mask_keys.values())
        return ""

    question = plan_question("train", MODEL, sites=6, max_weight=2**38, clip=4.0, metrics={"loss": 8.0})
    policy = plan_policy(study="s", sites=6, plan=[question], across_rounds="accept", rounds=9)
    run = Run(tmp_path, site_files(tmp_path), fate=spies)
    run.start(controller_of(tmp_path, policy))
    assert len(run.received) == 6 * 7
    assert run.survivors() == ["abcdef"]
    assert seen_in(run.received, markers()) == set()
    assert len(pairs) >= 30
    assert seen_in(run.received, {secret.hex(): secret for secret in pairs}) == set()


def test_without_sordino_the_same_search_finds_it_all(tmp_path, marked):
    run = Run(tmp_path, site_files(tmp_path), executors={name: Trainer(name) for name in NAMES})
    run.run(FedAvg(num_clients=6, num_rounds=1, model=dict(MODEL), persistor_id=""))
    found = seen_in(run.received, markers())
    assert {f"{name}'s {what}" for name in NAMES for what in ("weights", "bias", "loss", "count")} <= found


# Noise ---------------------------------------------------------------------------------------------------


def noised_policy(unit, multiplier, **options):
    question = plan_question(
        "train", MODEL, sites=6, max_weight=1000, clip=8.0, metrics={"loss": 1.0}, wanted_bits=16
    )
    return plan_with_noise([question], unit, {"train": multiplier}, study="s", sites=6, rounds=50, **options)


def budgeted(folder, unit, epsilon):
    budget = f'[budget]\nepsilon = {epsilon}\ndelta = 1e-5\nunit = "{unit}"\n'
    return site_files(folder, floor='across_rounds = ["noise"]', budget=budget)


def charges(folder, name):
    with FileJournal(folder / name / "journal").open() as book:
        return sum(book.index.asked("scans").charges.values())


@pytest.fixture
def totals(monkeypatch):
    """The sums that the server read."""
    found = []
    monkeypatch.setattr(session, "read_total", lambda *asked: found.append(read_total(*asked)) or found[-1])
    return found


@pytest.mark.parametrize("lost", [{}, {"essen": "UploadRequest"}])
def test_sums_about_sites_have_the_noise_that_was_planned(tmp_path, lost, totals):
    policy, run = noised_policy("site", 1.0), Run(tmp_path, budgeted(tmp_path, "site", 50.0), fate=lose(lost))
    run.start(controller_of(tmp_path, policy))
    there = [name for name in NAMES if name not in lost]
    (total,) = totals
    expected = sum(count_of(name) * change_of(name, 1) for name in there)
    off = (total.sums["arrays"] - expected) * 2**16 / total.noise
    assert 0.01 < np.abs(off).max() < 6
    sigma = policy.question("train").noise.sigma
    assert sigma <= total.noise < 1.5 * sigma  # one colluder's part is on top, whoever dropped out
    assert {charges(tmp_path, name) for name in there} == {1}
    assert 0 < run.report()["privacy"]["epsilon"] < 50


def test_sums_about_patients_take_a_row_for_each(tmp_path, totals):
    def by_patient(name, rate=0.5):
        def change(model):
            model.params = {key: np.repeat(target_of(name, 1)[key][np.newaxis], 40, axis=0) for key in MODEL}
            model.metrics = {"loss": [0.5] * 40}
            model.meta = made_with(sampling_rate=rate)

        return SecureExecutor(Trainer(name, change))

    executors = {name: by_patient(name) for name in NAMES} | {"bergen": by_patient("bergen", rate=1.0)}
    policy = noised_policy("patient", 1.0, rates={"train": 0.5})
    run = Run(tmp_path, budgeted(tmp_path, "patient", 50.0), executors=executors)
    run.start(controller_of(tmp_path, policy))
    assert run.survivors() == ["acdef"]  # who drew a batch by another rate than was paid for sends nothing
    assert charges(tmp_path, "bergen") == 1
    (total,) = totals
    spread = 6 * (total.noise + 200**0.5)  # every row is rounded at random, by half a unit on average
    assert abs(total.sums["loss"][0] - 0.5 * 200) * 2**16 < spread
    assert abs(total.weights["all"] - 200) * policy.question("train").weight_scale < spread
    assert run.report()["privacy"]["unit"] == "patient"


def test_a_budget_ends_the_study_at_the_sites_whatever_the_server_wants(tmp_path):
    run, policy = Run(tmp_path, budgeted(tmp_path, "site", 4.0)), noised_policy("site", 2.0)
    with pytest.raises(RoundAborted, match="the privacy budget of this site's data does not allow"):
        run.start(controller_of(tmp_path, policy, rounds=20, attempts=2))
    spent = charges(tmp_path, "aachen")
    assert 1 <= spent < 20
    with pytest.raises(RoundAborted, match="privacy budget"):  # another job finds no more
        run.start(controller_of(tmp_path, policy, attempts=1))
    assert charges(tmp_path, "aachen") == spent
