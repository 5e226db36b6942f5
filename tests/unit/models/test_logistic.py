# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hospitals import hospitals, pooled
from sordino.errors import InvalidArgument
from sordino.models.logistic import Logistic


def test_gradient_is_the_derivative_of_the_objective():
    model, (features, target) = Logistic(3, l2=0.3), pooled(hospitals())
    parameters = np.array([0.4, -1.2, 0.1, 0.7])
    step = 1e-6 * np.eye(4)
    slope = [
        (
            model.objective(parameters + h, features, target)
            - model.objective(parameters - h, features, target)
        )
        / 2e-6
        for h in step
    ]
    np.testing.assert_allclose(model.gradient(parameters, features, target), slope, atol=1e-8)


@pytest.mark.parametrize("l2", [0.001, 0.1, 10.0])
def test_optimum_is_that_of_scikit_learn(l2):
    model, (features, target) = Logistic(3, l2), pooled(hospitals())
    reference = LogisticRegression(C=1.0 / (len(target) * l2), tol=1e-12, max_iter=10_000)
    reference.fit(features, target)
    expected = np.append(reference.coef_[0], reference.intercept_)
    np.testing.assert_allclose(model.fit(features, target), expected, atol=2e-6)


def test_objective_of_all_rows_is_the_weighted_mean_of_the_sites_objectives():
    model, sites = Logistic(3, l2=0.7), hospitals()
    parameters = np.array([0.4, -1.2, 0.1, 0.7])
    features, target = pooled(sites)
    parts = [
        len(site.target) * model.objective(parameters, site.features, site.target) for site in sites.values()
    ]
    assert sum(parts) / len(target) == pytest.approx(model.objective(parameters, features, target), abs=1e-14)
    gradients = [
        len(site.target) * model.gradient(parameters, site.features, site.target) for site in sites.values()
    ]
    np.testing.assert_allclose(
        sum(gradients) / len(target), model.gradient(parameters, features, target), atol=1e-14
    )


def test_loss_and_gradient_stay_finite_for_extreme_scores():
    model = Logistic(1, l2=0.0)
    features, target = np.array([[1e4], [-1e4], [1e4]]), np.array([1.0, 0.0, 0.0])
    parameters = np.array([1e3, 0.0])
    assert model.loss(parameters, features, target) == pytest.approx(1e7 / 3)
    assert np.isfinite(model.gradient(parameters, features, target)).all()
    assert model.probability(parameters, features).tolist() == [1.0, 0.0, 1.0]


def test_curvature_bounds_the_second_derivative_on_wide_and_on_tall_tables():
    random = np.random.default_rng(3)
    for shape in [(40, 5), (5, 40)]:
        features = random.normal(size=shape)
        largest = 0.25 * np.linalg.eigvalsh(features.T @ features / shape[0])[-1]
        assert Logistic(shape[1]).curvature(features) == pytest.approx(largest)


@pytest.mark.parametrize(
    ("unit", "offset"), [([100.0, 1.0, 0.01], [500.0, 0.0, 0.0]), ([1e-3] * 3, 0.0), ([0.0] * 3, 1e-6)]
)
def test_descent_at_the_models_rates_never_climbs(unit, offset):
    model, (features, target) = Logistic(3, l2=0.01), pooled(hospitals())
    features = features * unit + offset
    rates = model.rates(1.0 / (model.curvature(features) + model.l2))
    parameters, last = model.initial(), np.inf
    for _ in range(200):
        now = model.objective(parameters, features, target)
        assert now <= last + 1e-12
        parameters, last = parameters - rates * model.gradient(parameters, features, target), now


@pytest.mark.parametrize(
    ("columns", "l2"), [(0, 0.1), (-1, 0.1), (3, -0.1), (3, float("nan")), (3, float("inf"))]
)
def test_impossible_model_is_refused(columns, l2):
    with pytest.raises(InvalidArgument):
        Logistic(columns, l2)
