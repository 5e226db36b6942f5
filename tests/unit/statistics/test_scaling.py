# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hospitals import NAMES, hospitals, masked, plain, pooled
from sordino.course.follow import course, follow
from sordino.errors import ValueOutOfRange
from sordino.federated.training import Training
from sordino.statistics.scaling import standardised


def scaled(sites, columns, aggregator=plain):
    """The state after the three sums of the scaler."""
    training = Training(columns=columns, sites=len(sites), max_patients=100)
    stages = training.stages()[:3]
    with aggregator(training, tuple(sites)) as sums:
        return follow(course(*stages), sums, sites, training.initial())


def changed(sites, change):
    """The same sites with other features."""
    return {name: replace(site, features=change(name, site.features)) for name, site in sites.items()}


@pytest.mark.parametrize("aggregator", [plain, masked])
def test_scaler_is_that_of_the_pooled_rows(aggregator):
    sites = hospitals()
    state = scaled(sites, 3, aggregator)
    features, _ = pooled(sites)
    np.testing.assert_allclose(state["mean"], features.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(state["scale"], features.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1.0, 1e6, 1e90])
@pytest.mark.parametrize("offset", [0.0, 1.0, -1e3])
def test_scaler_is_exact_whatever_the_unit_and_the_offset_of_a_feature(unit, offset):
    sites = changed(hospitals(), lambda _, features: (features + offset) * unit)
    state = scaled(sites, 3)
    features, _ = pooled(sites)
    np.testing.assert_allclose(state["mean"], features.mean(axis=0), atol=2e-6 * features.std(axis=0).max())
    np.testing.assert_allclose(state["scale"], features.std(axis=0), rtol=1e-5)


def test_small_spread_far_from_zero_does_not_cancel():
    sites = changed(hospitals(), lambda _, features: features + 1e6)
    state = scaled(sites, 3)
    features, _ = pooled(sites)
    np.testing.assert_allclose(state["scale"], features.std(axis=0), rtol=0.01)


def test_feature_that_every_site_has_constant_but_each_another_is_scaled_like_any():
    values = dict(zip(NAMES, [0.0, 1.0, 2.0, -1.0], strict=True))
    sites = changed(hospitals(), lambda name, features: np.full_like(features, values[name]))
    state = scaled(sites, 3)
    features, _ = pooled(sites)
    np.testing.assert_allclose(state["mean"], features.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(state["scale"], features.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 5e4, -3e-20])
def test_constant_feature_is_left_unscaled(constant):
    sites = changed(hospitals(), lambda _, features: np.full_like(features, constant))
    state = scaled(sites, 3)
    np.testing.assert_array_equal(state["scale"], 1.0)
    assert np.abs(standardised(sites["north"].features, state)).max() < 1e-3


@pytest.mark.parametrize("constant", [0.1, 5e8, -1e15, 1e90])
def test_constant_feature_stays_near_zero_however_large_it_is(constant):
    sites = changed(hospitals(), lambda _, features: np.full_like(features, constant))
    state = scaled(sites, 3)
    assert np.abs(standardised(sites["north"].features, state)).max() < 1e-3


@pytest.mark.parametrize("offset", [1e9, 1e12, 1e15])
def test_spread_too_small_for_the_grid_never_drowns_the_other_features(offset):
    spreads = offset * np.array([1e-9, 1e-8, 5e-8])
    sites = changed(hospitals(), lambda _, features: features * spreads + offset)
    state = scaled(sites, 3)
    deviation = np.concatenate([standardised(site.features, state) for site in sites.values()]).std(axis=0)
    assert deviation.max() < 1.3


def test_feature_that_is_constant_at_one_site_is_scaled_like_the_pooled_one():
    sites = changed(hospitals(), lambda name, features: features * (name != "north"))
    state = scaled(sites, 3)
    features, _ = pooled(sites)
    np.testing.assert_allclose(state["scale"], features.std(axis=0), rtol=1e-5)


def test_feature_in_another_unit_at_one_site_is_refused_by_name():
    def change(name, features):
        features = features.copy()
        features[:, 1] *= 1e9 if name == "west" else 1.0
        return features

    with pytest.raises(ValueOutOfRange, match=r"'west', feature 'feature 1'.*scale.*another unit"):
        scaled(changed(hospitals(), change), 3)


def test_values_too_large_to_be_squared_are_refused_by_name():
    sites = changed(hospitals(), lambda _, features: features * 1e200)
    with pytest.raises(ValueOutOfRange, match="feature 0.*too large"):
        scaled(sites, 3)


def test_the_unit_does_not_outlive_the_scaler():
    assert "unit" not in scaled(hospitals(), 3)


def test_learning_rate_from_sums_is_safe_for_the_pooled_objective():
    training = Training(columns=3, sites=4, max_patients=100, standardise=False, l2=0.05)
    sites = hospitals()
    with masked(training, NAMES) as sums:
        state = follow(course(*training.stages()[:1]), sums, sites, training.initial())
    features, _ = pooled(sites)
    rate = float(state["learning_rate"][0])
    assert rate <= 1.0 / (training.model.curvature(features) + 0.05)
    assert rate >= 0.3 / (training.model.curvature(features) + 0.05)


def test_features_too_large_for_an_automatic_rate_are_refused_with_advice():
    training = Training(columns=3, sites=4, max_patients=100, standardise=False)
    sites = changed(hospitals(), lambda _, features: features * 1e5)
    with plain(training) as sums, pytest.raises(ValueOutOfRange, match="standardise"):
        follow(training.turns(), sums, sites, training.initial())
