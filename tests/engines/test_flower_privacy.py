# SPDX-License-Identifier: Apache-2.0

"""Noise inside the sums: for sites and for patients, with a budget that each site keeps by itself."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

from flower_grid import InProcessGrid
from flower_hospitals import fedavg, lose, nodes_of, start, study_policy, training_app
from flwr.app import Array, ArrayRecord, MetricRecord
from studies import (
    MODEL,
    NAMES,
    assert_noised,
    budgeted,
    change_of,
    charges,
    count_of,
    noised_policy,
    site_files,
)

from sordino.adapters.flower import made_with
from sordino.errors import RoundAborted
from sordino.privacy.cost import cost, worst_release


@pytest.mark.parametrize("lost", [{}, {"essen": "UploadRequest"}])
def test_sums_about_sites_have_the_noise_that_was_planned(tmp_path, lost, totals):
    nodes = nodes_of(budgeted(tmp_path, "site", 50.0))
    policy = noised_policy("site", 1.0)
    grid = InProcessGrid(nodes.values(), lose(nodes, lost))
    secure, _ = start(grid, fedavg(), policy, tmp_path)
    there = [name for name in NAMES if name not in lost]
    (total,) = totals
    assert_noised(policy, total, there)
    assert {charges(tmp_path, name) for name in there} == {1}
    assert 0 < secure.guarantee(1e-5).epsilon < 50


def by_patient(counts):
    """An app's reply with a row for every patient; each adds the same."""

    def change(content):
        name = next(name for name in NAMES if content["metrics"]["num-examples"] == count_of(name))
        rows = counts[name]
        change = {key: content["arrays"][key].numpy() - MODEL[key] for key in MODEL}
        content["arrays"] = ArrayRecord(
            {key: Array(np.repeat(value[np.newaxis], rows, axis=0)) for key, value in change.items()}
        )
        content["metrics"] = MetricRecord({"loss": [0.5] * rows, "num-examples": 12345})

    return change


def test_sums_about_patients_take_a_row_for_each(tmp_path, totals):
    counts = {name: 40 + 10 * place for place, name in enumerate(NAMES)}
    apps = {name: training_app(name, change=by_patient(counts)) for name in NAMES}
    nodes = nodes_of(budgeted(tmp_path, "patient", 50.0), **apps)
    policy = noised_policy("patient", 1.0)
    secure, _ = start(InProcessGrid(nodes.values()), fedavg(), policy, tmp_path)
    (total,) = totals
    for found, expected, unit in (
        (total.sums["arrays"], sum(counts[name] * change_of(name, 1) for name in NAMES), 2**16),
        (total.sums["loss"], 0.5 * sum(counts.values()), 2**16),
        (total.weights["all"], sum(counts.values()), policy.question("train").weight_scale),
    ):
        # Every row is rounded at random, by half a unit of the grid at most on average.
        assert np.abs((found - expected) * unit).max() < 6 * (total.noise + sum(counts.values()) ** 0.5)
    assert secure.guarantee(1e-5).unit == "patient"


def test_a_batch_by_another_rate_than_was_paid_for_is_not_sent(tmp_path, caplog):
    counts = dict.fromkeys(NAMES, 50)

    def sampled(rate):
        def change(content):
            by_patient(counts)(content)
            content["made"] = made_with(sampling_rate=rate)

        return change

    apps = {name: training_app(name, change=sampled(0.5 if name == "bergen" else 0.25)) for name in NAMES}
    nodes = nodes_of(budgeted(tmp_path, "patient", 50.0), **apps)
    policy = noised_policy("patient", 1.0, rates={"train": 0.25})
    secure, _ = start(InProcessGrid(nodes.values()), fedavg(), policy, tmp_path)
    assert secure.rounds[0].dropped == ("bergen",)
    assert "has the sampling_rate 0.25, and the values were made with 0.5" in caplog.text
    assert charges(tmp_path, "bergen") == 1  # what is charged stays charged


def test_patients_whose_site_noises_by_itself_weigh_by_site(tmp_path):
    def change(content):
        content["made"] = made_with(local_steps=3, local_sigma=2.0)

    apps = {name: training_app(name, change=change) for name in NAMES}
    nodes = nodes_of(budgeted(tmp_path, "patient-local", 50.0), **apps)
    policy = noised_policy("patient-local", 2.0, local_steps={"train": 3}, max_weight=1)
    _, result = start(InProcessGrid(nodes.values()), fedavg(), policy, tmp_path)
    mean = np.mean([change_of(name, 1) for name in NAMES], axis=0)
    found = np.concatenate([(result.arrays[key].numpy() - MODEL[key]).ravel() for key in sorted(MODEL)])
    np.testing.assert_allclose(found, mean, atol=2**-14)


def test_a_budget_ends_the_study_at_the_sites_whatever_the_server_wants(tmp_path):
    policy = noised_policy("site", 2.0)
    release = worst_release(policy, policy.question("train"))
    twice = cost({release: 2}, 1e-5).epsilon
    nodes = nodes_of(budgeted(tmp_path, "site", round(twice * 1.15, 2)))
    grid = InProcessGrid(nodes.values())
    with pytest.raises(RoundAborted, match="the privacy budget of this site's data does not allow"):
        start(grid, fedavg(), policy, tmp_path, rounds=20, attempts=2)
    spent = charges(tmp_path, "aachen")
    assert 1 <= spent < 20
    # Another server, and another session, find no more.
    with pytest.raises(RoundAborted, match="privacy budget"):
        start(grid, fedavg(), policy, tmp_path, rounds=1, attempts=1)
    assert charges(tmp_path, "aachen") == spent


def test_a_policy_without_noise_is_refused_where_the_data_has_a_budget(tmp_path):
    budget = '[budget]\nepsilon = 9.0\ndelta = 1e-5\nunit = "site"\n'
    settings = site_files(tmp_path, floor='across_rounds = ["accept", "noise"]', budget=budget)
    with pytest.raises(RoundAborted, match="not one that this site accepts"):
        start(InProcessGrid(nodes_of(settings).values()), fedavg(), study_policy(), tmp_path)
