# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from hospitals import hospitals
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.follow import follow
from sordino.errors import Diverged, InvalidArgument
from sordino.federated.fusion.late import Combiner, Late, Part, bases_of
from sordino.federated.fusion.missing import filled
from sordino.federated.training import Training
from sordino.models.logistic import Logistic
from sordino.protocol.policy import EVERYONE, plan_policy
from sordino.statistics.scaling import standardised

NAMES = ("east", "far", "isle", "north", "rim", "south", "west")
WITHOUT = ("east", "isle", "rim")
L2 = 0.2
LATE = Late(
    (Part("images", EVERYONE, (0, 1), Logistic(2, L2)), Part("genes", "genes", (2, 3), Logistic(2, L2))),
    folds=3,
    rounds=150,
)
TRAINING = Training(
    columns=4, sites=7, max_patients=100, l2=L2, rounds=150, bins=20, names=("a", "b", "g1", "g2"), late=LATE
)


def sites_without_genes():
    """Seven hospitals, three without genes, and patients without one block or any elsewhere."""
    sites = {}
    for name, site in hospitals(NAMES, columns=4, held_out=6).items():
        features, test = site.features.copy(), site.test_features.copy()
        features[1, 2:] = np.nan
        features[2] = np.nan
        features[3, 0] = np.nan
        if name in WITHOUT:
            features[:, 2:], test[:, 2:] = np.nan, np.nan
        own = frozenset() if name in WITHOUT else frozenset({"genes"})
        sites[name] = replace(site, features=features, test_features=test, modalities=own)
    return sites


def run(training, *, aggregator=PlainAggregator, events=None, sites=None):
    sites = sites or sites_without_genes()
    policy = plan_policy(
        study="late",
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
        return follow(training.turns(), sums, sites, training.initial(), notify=seen.append)


@pytest.fixture(scope="module")
def trained():
    return run(TRAINING)


def test_every_model_is_at_the_optimum_of_the_patients_it_may_see(trained):
    bases = bases_of(trained)
    for place, part in enumerate(LATE.parts):
        for without in range(LATE.folds + 1):
            features, target = [], []
            for name, site in sites_without_genes().items():
                ready = standardised(filled(site.features, bases), bases)
                rows = ~np.isnan(site.features[:, part.places]).all(axis=1)
                rows &= LATE.folds_of(name, part, site.features, site.target) != without
                features.append(ready[rows][:, part.places])
                target.append(site.target[rows])
            expected = part.model.fit(np.concatenate(features), np.concatenate(target))
            found = bases[f"{part.name}/{without}/parameters"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=f"{place} {without}")


def test_scores_are_combined_at_the_optimum_of_what_models_give_patients_they_have_not_seen(trained):
    bases, scores, target = bases_of(trained), [], []
    for name, site in sites_without_genes().items():
        own = np.full((len(site.target), 2), np.nan)
        ready = standardised(filled(site.features, bases), bases)
        for column, part in enumerate(LATE.parts):
            for row, fold in enumerate(LATE.folds_of(name, part, site.features, site.target)):
                if not np.isnan(site.features[row, list(part.places)]).all():
                    *weights, start = bases[f"{part.name}/{fold}/parameters"]
                    own[row, column] = ready[row, list(part.places)] @ weights + start
        scores.append(own)
        target.append(site.target)
    scores = np.concatenate(scores)
    mean, deviation = np.nanmean(scores, axis=0), np.nanstd(scores, axis=0)
    np.testing.assert_allclose(trained["mean"], mean, rtol=0, atol=1e-7)
    ready = np.where(np.isnan(scores), 0.0, (scores - mean) / deviation)
    expected = Combiner(2, LATE.l2).fit(ready, np.concatenate(target))
    np.testing.assert_allclose(trained["parameters"], expected, rtol=0, atol=1e-4)
    seen = [LATE.scores(site.features, bases) for site in sites_without_genes().values()]
    assert np.nanmax(np.abs(np.concatenate(seen) - scores)) > 0.05


def test_masked_sums_of_late_fusion_equal_plain_ones_bit_for_bit():
    short = replace(TRAINING, rounds=3, late=replace(LATE, rounds=2))
    found = {}
    for aggregator in (PlainAggregator, MaskedAggregator):
        events = []
        run(short, aggregator=aggregator, events=events)
        found[aggregator] = [event.total.integers for event in events]
    for ours, theirs in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_patient_without_any_modality_is_scored_by_the_intercept(trained):
    scores = LATE.scores(np.full((1, 4), np.nan), bases_of(trained))
    assert np.isnan(scores).all()
    ready = standardised(filled(scores, trained), trained)
    decision = LATE.combiner.decision(trained["parameters"], ready)
    assert decision == pytest.approx(trained["parameters"][-1])


def test_a_score_that_says_the_opposite_is_left_out_not_turned_round():
    random = np.random.default_rng(3)
    features = random.normal(size=(300, 2))
    target = (features @ [1.0, -1.0] + random.logistic(size=300) > 0).astype(float)
    fitted = Combiner(2, 0.01).fit(features, target)
    assert fitted[0] > 0.5
    assert fitted[1] == 0.0
    assert Logistic(2, 0.01).fit(features, target)[1] < -0.5
    moved = Combiner(2, 0.01).proximal(np.array([0.3, -0.2, -0.1]), np.ones(3))
    np.testing.assert_array_equal(moved, [0.3, 0.0, -0.1])


def test_folds_deal_out_who_has_a_modality_evenly_and_stay_the_same():
    target, features = np.array([0.0, 1.0, 0.0] * 6), np.ones((18, 4))
    features[::6, 2:] = np.nan
    images, genes = LATE.parts
    folds = LATE.folds_of("east", genes, features, target)
    there = ~np.isnan(features[:, 2])
    for fold in range(3):
        assert np.sum(there & (folds == fold)) == 5
        assert target[there & (folds == fold)].sum() == 2
    np.testing.assert_array_equal(folds, LATE.folds_of("east", genes, features, target))
    for other in (
        LATE.folds_of("far", genes, features, target),
        LATE.folds_of("east", images, features, target),
        replace(LATE, seed=1).folds_of("east", genes, features, target),
    ):
        assert (folds != other).any()


def test_a_site_without_a_patient_in_every_fold_takes_no_part():
    sites = sites_without_genes()
    features = sites["far"].features.copy()
    features[2:, 2:] = np.nan
    sites["far"] = replace(sites["far"], features=features)
    with pytest.raises(InvalidArgument, match="'far' has fewer than 3 training patients with 'genes'"):
        run(replace(TRAINING, rounds=1, late=replace(LATE, rounds=1)), sites=sites)


def test_a_rate_that_diverges_goes_back_to_the_best_models_and_still_combines_them():
    state = run(replace(TRAINING, rounds=60, learning_rate=200.0, late=replace(LATE, rounds=2)))
    assert "diverged" in state
    assert all(np.isfinite(vector).all() for name, vector in state.items() if "parameters" in name)


def test_divergence_of_what_combines_is_an_error_that_names_the_modality():
    with pytest.raises(Diverged, match="'images'|'genes'|the intercept"):
        run(replace(TRAINING, rounds=2, clip=1e-3, learning_rate=1e-4, late=replace(LATE, rounds=2)))
