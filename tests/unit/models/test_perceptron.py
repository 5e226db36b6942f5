# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

from reference.perceptron import loss_and_gradient
from sordino.errors import InvalidArgument
from sordino.models.layers import Layers
from sordino.models.model import classifier, convex
from sordino.models.perceptron import MultiLayerPerceptron, RegressionPerceptron

NETWORKS = [
    MultiLayerPerceptron(4, (5,), "relu", l2=0.1),
    MultiLayerPerceptron(4, (3, 2), "tanh", l2=0.1, classes=3),
    MultiLayerPerceptron(4, (), "relu", l2=0.1, classes=3),
    RegressionPerceptron(4, (3, 4), "relu", l2=0.1),
    RegressionPerceptron(4, (6,), "tanh", l2=0.1),
]


def case(model, patients: int = 12):
    random = np.random.default_rng(5)
    features = random.normal(size=(patients, model.columns))
    target = random.integers(0, getattr(model, "classes", 9), patients).astype(np.float64)
    return model.initial() + 0.1 * random.normal(size=model.size), features, target


@pytest.mark.parametrize("model", NETWORKS, ids=str)
def test_each_patients_loss_and_gradient_are_those_of_the_slow_reference(model):
    parameters, features, target = case(model)
    kind = "class" if isinstance(model, MultiLayerPerceptron) else "number"
    rows = model.gradients(parameters, features, target)
    for row, x, y in zip(rows, features, target, strict=True):
        loss, gradient = loss_and_gradient(
            parameters.tolist(), model.layers.widths, model.activation, x.tolist(), y, kind
        )
        assert model.loss(parameters, x[np.newaxis], np.array([y])) == pytest.approx(loss, abs=1e-13)
        np.testing.assert_allclose(row, gradient, atol=1e-13)


@pytest.mark.parametrize("model", NETWORKS, ids=str)
def test_gradient_is_the_mean_of_the_patients_and_the_slope_of_the_objective(model):
    parameters, features, target = case(model)
    gradient = model.gradient(parameters, features, target)
    mean = model.gradients(parameters, features, target).mean(axis=0)
    np.testing.assert_allclose(gradient, mean + model.penalty_gradient(parameters), atol=1e-14)
    slopes = [
        model.objective(parameters + step, features, target)
        - model.objective(parameters - step, features, target)
        for step in 1e-6 * np.eye(model.size)
    ]
    np.testing.assert_allclose(gradient, np.array(slopes) / 2e-6, atol=1e-7)


def test_parameters_are_layer_by_layer_weights_row_by_row_then_biases():
    model = MultiLayerPerceptron(2, (2,), "relu", classes=3)
    parameters = np.array([1.0, 2.0, 3.0, 4.0, 0.5, -50.0, 1.0, 0.0, -1.0, 9.0, 9.0, 9.0, 0.0, 0.1, 0.2])
    assert model.size == len(parameters)
    # First unit 1 * 1 + 1 * 3 + 0.5 = 4.5, the second is below zero.
    np.testing.assert_allclose(model.decision(parameters, np.ones((1, 2))), [[4.5, 0.1, -4.3]])


def test_first_weights_follow_the_public_seed_and_the_papers_variances():
    assert np.array_equal(
        MultiLayerPerceptron(9, seed=3).initial(), MultiLayerPerceptron(9, seed=3).initial()
    )
    assert not np.array_equal(MultiLayerPerceptron(9).initial(), MultiLayerPerceptron(9, seed=3).initial())
    for activation, variance in [("relu", 2.0 / 300), ("tanh", 2.0 / 500)]:
        layers = Layers((300, 200, 1), activation)
        first = layers.initial(0)[: 300 * 200]
        assert first.var() == pytest.approx(variance, rel=0.02)
        assert not layers.initial(0)[layers.is_weight == 0.0].any()


def test_probabilities_add_up_and_stay_finite_for_extreme_scores():
    for model in (MultiLayerPerceptron(2, ()), MultiLayerPerceptron(2, (), classes=4)):
        parameters = np.full(model.size, 1e4)
        parameters[::2] *= -1.0
        features = np.array([[1e3, -1e3], [0.0, 0.0], [-1e3, 1e3]])
        probability = model.probability(parameters, features)
        assert np.isfinite(model.gradient(parameters, features, np.array([1.0, 0.0, 1.0]))).all()
        assert ((probability >= 0.0) & (probability <= 1.0)).all()
        if model.classes > 2:
            np.testing.assert_allclose(probability.sum(axis=1), 1.0)


def test_patients_gradients_take_hardly_more_memory_than_they_fill():
    model = MultiLayerPerceptron(30, (64, 64), classes=3)
    parameters, features, target = case(model, 400)
    tracemalloc.start()
    rows = model.gradients(parameters, features, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * rows.nbytes


def test_nobody_in_a_batch_gives_no_gradients():
    for model in NETWORKS:
        empty = model.gradients(model.initial(), np.zeros((0, model.columns)), np.zeros(0))
        assert empty.shape == (0, model.size)


def test_pooled_fit_learns_three_kinds_of_iris():
    data = load_iris()
    features, target = scale(data.data), data.target.astype(np.float64)
    model = MultiLayerPerceptron(4, (8,), classes=3)
    found = model.probability(model.fit(features, target), features).argmax(axis=1)
    assert np.mean(found == target) > 0.97


def test_network_has_no_safe_rate_and_a_number_no_probability():
    assert classifier(MultiLayerPerceptron(3)).classes == 2
    with pytest.raises(InvalidArgument, match="state a learning_rate: MultiLayerPerceptron"):
        convex(MultiLayerPerceptron(3))
    with pytest.raises(InvalidArgument, match="RegressionPerceptron gives no probabilities"):
        classifier(RegressionPerceptron(3))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"columns": 0}, "unit"),
        ({"hidden": (4, 0)}, "unit"),
        ({"activation": "step"}, "activation"),
        ({"l2": -1.0}, "l2"),
        ({"l2": float("nan")}, "l2"),
        ({"classes": 1}, "two"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_network_is_refused(wrong, what):
    with pytest.raises(InvalidArgument, match=what):
        MultiLayerPerceptron(**({"columns": 3} | wrong))
