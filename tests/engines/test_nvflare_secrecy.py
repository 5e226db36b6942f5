# SPDX-License-Identifier: Apache-2.0

"""What NVFlare's server receives gives nobody away, and noise comes as it was planned."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip(
    "nvflare", reason="NVFlare is not installed here; `make engines` runs these tests with it"
)

from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare_clients import Run, Trainer, controller_of, lose
from studies import (
    MARKED_WEIGHT,
    MODEL,
    NAMES,
    all_seen,
    assert_noised,
    budgeted,
    change_of,
    charges,
    markers,
    noised_policy,
    secrets_in,
    seen_in,
    site_files,
    target_of,
)

from sordino.adapters.nvflare import SecureExecutor, made_with, plan_question
from sordino.errors import RoundAborted
from sordino.protocol.policy import plan_policy


def test_nothing_of_a_site_is_in_what_the_server_receives(tmp_path, marked):
    secrets: set[bytes] = set()

    def spies(name, message):
        if (state := tmp_path / name / "session.state").exists():
            secrets.update(secrets_in(state.read_bytes()))
        return ""

    question = plan_question(
        "train", MODEL, sites=6, max_weight=MARKED_WEIGHT, clip=4.0, metrics={"loss": 8.0}
    )
    policy = plan_policy(study="s", sites=6, plan=[question], across_rounds="accept", rounds=9)
    run = Run(tmp_path, site_files(tmp_path), fate=spies)
    run.start(controller_of(tmp_path, policy))
    assert len(run.received) == 6 * 7
    assert run.survivors() == ["abcdef"]
    assert seen_in(run.received, markers()) == set()
    assert len(secrets) >= 30
    assert seen_in(run.received, {secret.hex(): secret for secret in secrets}) == set()


def test_without_sordino_the_same_search_finds_it_all(tmp_path, marked):
    run = Run(tmp_path, site_files(tmp_path), executors={name: Trainer(name) for name in NAMES})
    run.run(FedAvg(num_clients=6, num_rounds=1, model=dict(MODEL), persistor_id=""))
    assert all_seen(seen_in(run.received, markers()))


# Noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [{}, {"essen": "UploadRequest"}])
def test_sums_about_sites_have_the_noise_that_was_planned(tmp_path, lost, totals):
    policy, run = noised_policy("site", 1.0), Run(tmp_path, budgeted(tmp_path, "site", 50.0), fate=lose(lost))
    run.start(controller_of(tmp_path, policy))
    there = [name for name in NAMES if name not in lost]
    (total,) = totals
    assert_noised(policy, total, there)
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


def test_patients_whose_site_noises_by_itself_weigh_by_site(tmp_path):
    def by_itself(name, sigma=2.0):
        def change(model):
            model.meta |= made_with(local_steps=3, local_sigma=sigma)

        return SecureExecutor(Trainer(name, change))

    executors = {name: by_itself(name) for name in NAMES} | {"bergen": by_itself("bergen", sigma=1.0)}
    policy = noised_policy("patient-local", 2.0, local_steps={"train": 3}, max_weight=1)
    run = Run(tmp_path, budgeted(tmp_path, "patient-local", 50.0), executors=executors)
    found = run.start(controller_of(tmp_path, policy))
    assert run.survivors() == ["acdef"]  # whose own noise is less than was paid for sends nothing
    mean = np.mean([change_of(name, 1) for name in NAMES if name != "bergen"], axis=0)
    change = np.concatenate([(found[key] - MODEL[key]).ravel() for key in sorted(MODEL)])
    np.testing.assert_allclose(change, mean, atol=2**-14)
    assert {charges(tmp_path, name) for name in NAMES} == {1}
    assert run.report()["privacy"]["unit"] == "patient-local"


def test_a_budget_ends_the_study_at_the_sites_whatever_the_server_wants(tmp_path):
    run, policy = Run(tmp_path, budgeted(tmp_path, "site", 4.0)), noised_policy("site", 2.0)
    with pytest.raises(RoundAborted, match="the privacy budget of this site's data does not allow"):
        run.start(controller_of(tmp_path, policy, rounds=20, attempts=2))
    spent = charges(tmp_path, "aachen")
    assert 1 <= spent < 20
    with pytest.raises(RoundAborted, match="privacy budget"):  # another job finds no more
        run.start(controller_of(tmp_path, policy, attempts=1))
    assert charges(tmp_path, "aachen") == spent
