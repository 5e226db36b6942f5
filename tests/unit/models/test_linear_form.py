# SPDX-License-Identifier: Apache-2.0

"""The two models of one linear form against scikit-learn, on its embedded patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.preprocessing import scale

from sordino.errors import InvalidArgument
from sordino.models.linear import Linear
from sordino.models.linear_form import LinearForm
from sordino.models.logistic import Logistic


def breast():
    data = load_breast_cancer()
    return scale(data.data), data.target.astype(np.float64)


def diabetes():
    data = load_diabetes()
    return scale(data.data), scale(data.target) + 0.5


def proximal_descent(model: LinearForm, features, target, steps: int):
    rates = model.rates(1.0 / (model.curvature(features) + model.l2))
    parameters, velocity = model.initial(), np.zeros(model.size)
    for _ in range(steps):
        velocity = 0.9 * velocity - rates * model.gradient(parameters, features, target)
        moved = model.proximal(parameters + velocity, rates)
        parameters, velocity = moved, moved - parameters
    return parameters


@pytest.mark.parametrize(("l1", "l2"), [(0.02, 0.0), (0.01, 0.01)])
def test_l1_optimum_of_logistic_is_that_of_scikit_learn_with_the_same_zeros(l1, l2):
    features, target = breast()
    theirs = LogisticRegression(
        C=1.0 / (len(target) * (l1 + l2)), l1_ratio=l1 / (l1 + l2), solver="saga", tol=1e-7, max_iter=20_000
    ).fit(features, target)
    expected = np.append(theirs.coef_[0], theirs.intercept_)
    model = Logistic(features.shape[1], l2, l1)
    for ours in (model.fit(features, target), proximal_descent(model, features, target, 8000)):
        np.testing.assert_allclose(ours, expected, atol=2e-4)
        np.testing.assert_array_equal(ours == 0.0, expected == 0.0)
    assert 5 < np.sum(expected == 0.0) < 30


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.05, 0.05)])
def test_l1_optimum_of_linear_is_that_of_scikit_learn_with_the_same_zeros(l1, l2):
    features, target = diabetes()
    theirs = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-12, max_iter=100_000)
    theirs.fit(features, target)
    expected = np.append(theirs.coef_, theirs.intercept_)
    model = Linear(features.shape[1], l2, l1)
    for ours in (model.fit(features, target), proximal_descent(model, features, target, 2000)):
        np.testing.assert_allclose(ours, expected, atol=1e-7)
        np.testing.assert_array_equal(ours == 0.0, expected == 0.0)
    assert 2 < np.sum(expected == 0.0) < 10


def test_ridge_optimum_is_that_of_scikit_learn():
    features, target = diabetes()
    theirs = Ridge(alpha=0.1 * len(target)).fit(features, target)
    ours = Linear(features.shape[1], 0.1).fit(features, target)
    np.testing.assert_allclose(ours, np.append(theirs.coef_, theirs.intercept_), atol=1e-8)


@pytest.mark.parametrize("form", [Linear, Logistic])
def test_derivatives_agree_with_each_other_and_with_finite_differences(form):
    features, target = breast()
    model = form(features.shape[1], 0.3)
    parameters = np.random.default_rng(1).normal(size=model.size) / 5.0
    mean = model.gradients(parameters, features, target).mean(axis=0) + model.penalty_gradient(parameters)
    gradient = model.gradient(parameters, features, target)
    np.testing.assert_allclose(mean, gradient, atol=1e-12)
    slopes = [
        model.objective(parameters + step, features, target)
        - model.objective(parameters - step, features, target)
        for step in 1e-6 * np.eye(model.size)
    ]
    np.testing.assert_allclose(gradient, np.array(slopes) / 2e-6, atol=1e-7)


def test_soft_threshold_stops_at_zero_and_spares_the_intercept():
    model = Linear(3, l2=0.0, l1=0.5)
    moved = model.proximal(np.array([1.0, -0.04, -2.0, 0.01]), np.array([0.2, 0.2, 4.0, 1.0]))
    np.testing.assert_allclose(moved, [0.9, 0.0, 0.0, 0.01])


def test_linear_descent_at_the_models_rates_never_climbs_far_from_the_origin():
    features, target = diabetes()
    features = features * 10.0 + 40.0
    model = Linear(features.shape[1], 0.01)
    rates = model.rates(1.0 / (model.curvature(features) + model.l2))
    parameters, last = model.initial(), np.inf
    for _ in range(200):
        now = model.objective(parameters, features, target)
        assert now <= last + 1e-12
        parameters, last = parameters - rates * model.gradient(parameters, features, target), now


@pytest.mark.parametrize("wrong", [{"l1": -0.1}, {"l1": float("nan")}, {"l2": float("inf")}, {"columns": 0}])
def test_impossible_linear_form_is_refused(wrong):
    with pytest.raises(InvalidArgument, match="feature" if "columns" in wrong else next(iter(wrong))):
        Linear(**({"columns": 2} | wrong))
