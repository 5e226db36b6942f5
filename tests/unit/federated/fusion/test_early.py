# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from hospitals import hospitals, masked, pooled
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.follow import follow
from sordino.errors import InvalidArgument, RoundAborted
from sordino.federated.fusion.grouped import parameter_groups
from sordino.federated.fusion.missing import filled
from sordino.federated.training import Training
from sordino.models.linear import Linear
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.protocol.policy import EVERYONE, plan_policy
from sordino.statistics.scaling import standardised

NAMES = ("east", "far", "isle", "north", "rim", "south", "west")
WITHOUT = ("east", "isle", "rim")
GROUPS = (EVERYONE, EVERYONE, "genes", "genes")
TRAINING = Training(
    columns=4,
    sites=7,
    max_patients=100,
    l2=0.2,
    rounds=150,
    bins=20,
    names=("a", "b", "g1", "g2"),
    groups=GROUPS,
)


def with_genes_missing(without=WITHOUT, held_out=6):
    """Seven hospitals of which some have no genes."""
    sites = {}
    for name, site in hospitals(NAMES, columns=4, held_out=held_out).items():
        if name not in without:
            sites[name] = replace(site, modalities=frozenset({"genes"}))
            continue
        features, test = site.features.copy(), site.test_features.copy()
        features[:, 2:], test[:, 2:] = np.nan, np.nan
        sites[name] = replace(site, features=features, test_features=test)
    return sites


def run(sites, training=TRAINING, *, aggregator=MaskedAggregator, lose=lambda *_: {}, events=None):
    policy = plan_policy(
        study="fused",
        sites=7,
        plan=training.questions(),
        across_rounds="accept",
        rounds=1000,
        colluders=1,
        min_cohort=3,
    )
    seen = [] if events is None else events
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlainSumWarning)
        sums = aggregator(policy, NAMES, groups={name: site.modalities for name, site in sites.items()})
    with sums:
        return follow(training.turns(), sums, sites, training.initial(), lose=lose, notify=seen.append)


def optimum(sites, shares):
    """The pooled optimum, the penalty of each coefficient weighted by its share."""
    features, target = pooled(sites)
    mean, deviation = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
    known = {"mean": mean, "scale": deviation, "fill": mean}
    ready = standardised(filled(features, known), known)

    def objective(parameters):
        z = ready @ parameters[:-1] + parameters[-1]
        penalty = 0.5 * TRAINING.l2 * float(shares @ parameters[:-1] ** 2)
        return float(np.mean(np.logaddexp(0.0, z) - target * z)) + penalty

    return known, minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x


def test_early_fusion_ends_at_the_pooled_optimum_with_penalties_by_share():
    sites = with_genes_missing()
    state = run(sites)
    patients = {name: len(site.target) for name, site in sites.items()}
    share = sum(patients[name] for name in NAMES if name not in WITHOUT) / sum(patients.values())
    known, expected = optimum(sites, np.array([1.0, 1.0, share, share]))
    np.testing.assert_allclose(state["mean"], known["mean"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(state["scale"], known["scale"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(state["parameters"], expected, rtol=0, atol=1e-4)
    _, unweighted = optimum(sites, np.ones(4))
    assert np.abs(unweighted - expected).max() > 1e-2


def test_a_modality_is_averaged_over_the_sites_that_have_it():
    sites = with_genes_missing()
    training = replace(TRAINING, rounds=1, learning_rate=0.3, momentum=0.0, bins=None, wanted_bits=44)
    state = run(sites, training)
    model = training.model
    changes, weights = [], []
    for site in sites.values():
        ready = standardised(filled(site.features, state), state)
        changes.append(-model.rates(0.3) * model.gradient(model.initial(), ready, site.target))
        weights.append(
            [len(site.target) * (group == EVERYONE or group in site.modalities) for group in GROUPS]
        )
    weights = np.column_stack([np.array(weights), [len(site.target) for site in sites.values()]])
    expected = (np.array(changes) * weights).sum(axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(state["parameters"], expected, rtol=0, atol=1e-10)


def test_masked_sums_of_modalities_with_dropouts_equal_plain_ones_bit_for_bit():
    sites, training = with_genes_missing(without=("east", "isle", "rim")), replace(TRAINING, rounds=4)

    def lose(kind, number):
        return {"far": "upload"} if kind == "fedavg" and number == 2 else {}

    found = {}
    for aggregator in (PlainAggregator, MaskedAggregator):
        events = []
        run(sites, training, aggregator=aggregator, lose=lose, events=events)
        found[aggregator] = [event.total.integers for event in events]
    for ours, theirs in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_round_that_leaves_a_modality_to_too_few_is_aborted():
    sites = with_genes_missing()
    lost = {"far": "upload", "north": "upload"}
    events = []

    def lose(kind, number):
        return lost if kind == "fedavg" and number == 1 else {}

    run(sites, replace(TRAINING, rounds=1), lose=lose, events=events)
    (why,) = [event.reason for event in events if hasattr(event, "reason")]
    assert "genes" in why or "dropped out" in why
    with pytest.raises(RoundAborted, match="genes"):
        run(with_genes_missing(without=("east",)), replace(TRAINING, rounds=1))


def test_missing_values_are_filled_by_the_mean_of_what_is_there():
    random = np.random.default_rng(8)
    sites = hospitals(columns=3)
    for name, site in sites.items():
        features = site.features * [1e6, 1.0, 1e-3] + [1e7, 0.0, 5.0]
        features[random.random(features.shape) < 0.2] = np.nan
        sites[name] = replace(site, features=features)
    training = Training(columns=3, sites=4, max_patients=100, l2=0.1, rounds=150, names=("a", "b", "c"))
    with masked(training) as sums:
        state = follow(training.turns(), sums, sites, training.initial())
    features, target = pooled(sites)
    np.testing.assert_allclose(state["fill"], np.nanmean(features, axis=0), rtol=1e-9)
    np.testing.assert_allclose(state["scale"], np.nanstd(features, axis=0), rtol=1e-7)
    known = {"mean": state["mean"], "scale": state["scale"], "fill": state["fill"]}
    expected = training.model.fit(standardised(filled(features, known), known), target)
    np.testing.assert_allclose(state["parameters"], expected, rtol=0, atol=1e-4)


def test_feature_that_too_few_sites_have_is_refused_by_name():
    sites = hospitals(columns=3)
    for name in ("east", "north"):
        features = sites[name].features.copy()
        features[:, 1] = np.nan
        sites[name] = replace(sites[name], features=features)
    training = Training(columns=3, sites=4, max_patients=100, names=("a", "b", "c"))
    with masked(training) as sums, pytest.raises(InvalidArgument, match="'b' has values at fewer than 3"):
        follow(training.turns(), sums, sites, training.initial())


def test_constant_feature_with_gaps_stays_at_zero():
    sites = hospitals(columns=3)
    for name, site in sites.items():
        features = site.features.copy()
        features[:, 1] = 0.1
        features[::4, 1] = np.nan
        sites[name] = replace(site, features=features)
    training = Training(columns=3, sites=4, max_patients=100, rounds=20, names=("a", "b", "c"))
    with masked(training) as sums:
        state = follow(training.turns(), sums, sites, training.initial())
    assert abs(state["parameters"][1]) < 1e-6


def test_parameters_of_a_network_belong_to_the_features_that_they_multiply():
    assert parameter_groups(Linear(4), GROUPS) == (*GROUPS, EVERYONE)
    groups = parameter_groups(MultiLayerPerceptron(4, (3,)), GROUPS)
    assert groups[:12] == (EVERYONE,) * 6 + ("genes",) * 6
    assert set(groups[12:]) == {EVERYONE}
    assert len(groups) == MultiLayerPerceptron(4, (3,)).size
