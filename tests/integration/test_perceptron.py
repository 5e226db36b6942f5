# SPDX-License-Identifier: Apache-2.0

"""Federated averaging trains a network, which has no convex objective, over hospitals that differ."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sordino.aggregation.plain import PlainAggregator
from sordino.course.follow import follow
from sordino.federated.site import Site
from sordino.federated.study.demonstration import SIZES, write_demonstration
from sordino.federated.training import Training
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.protocol.policy import plan_policy
from sordino.statistics.scaling import standardised


def hospitals(folder):
    """The demonstration's seven hospitals; every fourth patient of each is held out."""
    write_demonstration(folder)
    sites = {}
    for name in SIZES:
        with (folder / f"{name}.csv").open(encoding="utf-8") as file:
            _, *columns, _ = next(reader := csv.reader(file))
            rows = list(reader)
        features = np.array([row[1:-1] for row in rows], dtype=np.float64)
        target = np.array([float(row[-1] == "malignant") for row in rows])
        test = np.arange(len(rows)) % 4 == 3
        sites[name] = Site(name, features[~test], target[~test], tuple(columns), features[test], target[test])
    return sites


@pytest.mark.filterwarnings("ignore:plain sums hide nothing")
@pytest.mark.parametrize("local_steps", [1, 5])
def test_network_over_seven_hospitals_comes_near_the_one_trained_on_their_rows_together(
    tmp_path, local_steps
):
    sites = hospitals(tmp_path)
    network = MultiLayerPerceptron(30, (16,), l2=0.005)
    training = Training(
        columns=30,
        sites=len(sites),
        max_patients=200,
        rounds=60,
        local_steps=local_steps,
        learning_rate=0.1,
        learner=network,
    )
    policy = plan_policy(
        study="network", sites=len(sites), plan=training.questions(), across_rounds="accept", rounds=70
    )
    with PlainAggregator(policy, sorted(sites)) as aggregator:
        state = follow(training.turns(), aggregator, sites, training.initial())

    features = np.concatenate([standardised(site.features, state) for site in sites.values()])
    target = np.concatenate([site.target for site in sites.values()])
    tests = np.concatenate([standardised(site.test_features, state) for site in sites.values()])
    truth = np.concatenate([site.test_target for site in sites.values()])

    def auc(parameters):
        return roc_auc_score(truth, network.decision(parameters, tests))

    federated, pooled = auc(state["parameters"]), auc(network.fit(features, target))
    assert auc(network.initial()) < 0.9
    assert federated > pooled - 0.005
    assert federated > 0.98
    assert state["losses"][-1] < 0.25 * state["losses"][0]
