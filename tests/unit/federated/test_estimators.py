# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sordino
from hospitals import hospitals, pooled
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import InvalidArgument
from sordino.federated.estimators.linear import FederatedLinearRegression
from sordino.federated.estimators.logistic import FederatedLogisticRegression
from sordino.federated.estimators.perceptron import FederatedMLPClassifier


@pytest.mark.filterwarnings("default")  # scikit-learn's own checks warn of what they skip
@parametrize_with_checks(
    [
        FederatedLogisticRegression(aggregator="plain"),
        FederatedMLPClassifier(aggregator="plain"),
        FederatedLinearRegression(aggregator="plain"),
    ]
)
def test_scikit_learns_contract_is_kept(estimator, check):
    check(estimator)


def rows():
    sites = hospitals()
    features, target = pooled(sites)
    return features, target, np.repeat(list(sites), [len(site.target) for site in sites.values()])


def test_masked_is_the_default_and_equals_plain_bit_for_bit():
    features, target, where = rows()
    masked = FederatedLogisticRegression(rounds=10).fit(features, target, sites=where)
    plain = FederatedLogisticRegression(rounds=10, aggregator="plain").fit(features, target, sites=where)
    assert FederatedLogisticRegression().aggregator == "masked"
    np.testing.assert_array_equal(masked.coef_, plain.coef_)
    np.testing.assert_array_equal(masked.intercept_, plain.intercept_)
    assert masked.sites_.tolist() == ["east", "north", "south", "west"]


def test_coefficients_are_those_of_scikit_learn_on_the_pooled_rows():
    data = load_breast_cancer()
    where = np.arange(len(data.target)) % 5
    ours = FederatedLogisticRegression(l2=0.1, rounds=400, aggregator="plain").fit(
        data.data, data.target, sites=where
    )
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=10.0 / len(data.target), tol=1e-10))
    theirs.fit(data.data, data.target)
    np.testing.assert_allclose(ours.coef_[0] * ours.scale_, theirs[-1].coef_[0], atol=2e-4)
    np.testing.assert_allclose(ours.predict_proba(data.data), theirs.predict_proba(data.data), atol=2e-4)


def test_decision_is_that_of_the_published_coefficients():
    features, target, where = rows()
    model = FederatedLogisticRegression(rounds=10, aggregator="plain").fit(features, target, sites=where)
    np.testing.assert_allclose(
        model.decision_function(features), features @ model.coef_[0] + model.intercept_[0], atol=1e-9
    )
    np.testing.assert_array_equal(
        model.predict(features), model.classes_[(model.predict_proba(features)[:, 1] > 0.5).astype(int)]
    )


def test_classes_may_be_texts_and_features_may_stay_as_they_are():
    features, target, where = rows()
    labels = np.where(target == 1.0, "sick", "healthy")
    model = FederatedLogisticRegression(standardise=False, rounds=20, aggregator="plain")
    model.fit(features, labels, sites=where)
    assert model.classes_.tolist() == ["healthy", "sick"]
    assert model.mean_ is None
    assert model.scale_ is None
    assert model.score(features, labels) > 0.6


def test_rows_are_dealt_to_three_simulated_sites_when_none_are_named():
    features, target, _ = rows()
    model = FederatedLogisticRegression(rounds=3).fit(features, target)
    assert len(model.sites_) == 3
    assert model.policy_.across_rounds == "freeze"


def test_it_can_be_cross_validated():
    features, target, _ = rows()
    scores = cross_val_score(FederatedLogisticRegression(aggregator="plain"), features, target, cv=3)
    assert scores.mean() > 0.6


@pytest.mark.parametrize("where", [["a", "b"], ["a"] * 122, np.arange(122) % 2, np.ones((122, 1))])
def test_too_few_sites_or_labels_are_refused(where):
    features, target, _ = rows()
    assert len(target) == 122
    with pytest.raises(InvalidArgument, match="sites|label"):
        FederatedLogisticRegression().fit(features, target, sites=where)


def test_one_class_and_three_classes_are_refused():
    features, target, _ = rows()
    with pytest.raises(InvalidArgument, match="one class"):
        FederatedLogisticRegression().fit(features, np.zeros(len(target)))
    with pytest.raises(InvalidArgument, match="binary"):
        FederatedLogisticRegression().fit(features, np.arange(len(target)) % 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"l2": -1.0},
        {"l2": float("nan")},
        {"l1": -1.0},
        {"rounds": 0},
        {"rounds": 2.5},
        {"local_steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": "fast"},
        {"momentum": 1.0},
        {"aggregator": "open"},
        {"across_rounds": "never"},
        {"max_patients": 0},
    ],
)
def test_impossible_setting_is_refused_by_name(wrong):
    features, target, _ = rows()
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        FederatedLogisticRegression(**wrong).fit(features, target)


def test_site_with_more_rows_than_its_public_bound_is_refused():
    features, target, where = rows()
    with pytest.raises(InvalidArgument, match="weight"):
        FederatedLogisticRegression(max_patients=30).fit(features, target, sites=where)


def hospitals_of(target, seed: int = 0):
    """Five sites, the last two of which have few patients of class 1, or of high numbers."""
    random = np.random.default_rng(seed)
    order = np.argsort(target + random.normal(size=len(target)) * target.std())
    return np.digitize(np.argsort(order), np.array([0.35, 0.6, 0.8, 0.93]) * len(target))


def test_l1_gives_the_coefficients_and_the_zeros_of_scikit_learn_on_the_pooled_rows():
    data = load_breast_cancer()
    ours = FederatedLogisticRegression(l1=0.02, l2=0.01, rounds=1500, momentum=0.9, aggregator="plain")
    ours.fit(data.data, data.target, sites=hospitals_of(data.target))
    theirs = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=1.0 / (len(data.target) * 0.03), l1_ratio=2.0 / 3.0, solver="saga", tol=1e-7, max_iter=20_000
        ),
    ).fit(data.data, data.target)
    expected = theirs[-1].coef_[0]
    np.testing.assert_allclose(ours.coef_[0] * ours.scale_, expected, atol=1e-4)
    np.testing.assert_array_equal(ours.coef_[0] == 0.0, expected == 0.0)
    assert 5 < np.sum(expected == 0.0) < 30


@pytest.mark.parametrize("aggregator", ["masked", "plain"])
def test_linear_coefficients_are_those_of_ridge_whatever_the_targets_unit(aggregator):
    data = load_diabetes()
    features, target = data.data * 50.0 + 7.0, data.target * 1e4 - 3e6
    ours = FederatedLinearRegression(l2=0.1, rounds=150, momentum=0.6, aggregator=aggregator)
    ours.fit(features, target, sites=hospitals_of(target))
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=0.1 * len(target))).fit(features, target)
    np.testing.assert_allclose(ours.coef_ * ours.scale_, theirs[-1].coef_, atol=1e-4 * target.std())
    np.testing.assert_allclose(ours.predict(features), theirs.predict(features), atol=2e-4 * target.std())
    np.testing.assert_allclose(features @ ours.coef_ + ours.intercept_, ours.predict(features), rtol=1e-9)


def test_network_learns_three_classes_of_which_sites_lack_some():
    data = load_iris()
    where = np.repeat(["a", "b", "c"], 50)
    where[::5] = "b"
    assert [len(np.unique(data.target[where == site])) for site in "abc"] == [1, 3, 1]
    labels = data.target_names[data.target]
    network = FederatedMLPClassifier(hidden=(8,), rounds=80, local_steps=2).fit(
        data.data, labels, sites=where
    )
    assert network.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert network.predict_proba(data.data).shape == (150, 3)
    assert [weights.shape for weights in network.coefs_] == [(4, 8), (8, 3)]
    assert network.score(data.data, labels) > 0.9


def test_network_can_do_what_no_line_can():
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 2))
    target = (features[:, 0] * features[:, 1] > 0.0).astype(int)
    network = FederatedMLPClassifier(rounds=150, aggregator="plain").fit(features, target)
    assert network.score(features, target) > 0.9
    assert FederatedLogisticRegression(aggregator="plain").fit(features, target).score(features, target) < 0.7


def test_sites_go_through_a_pipeline_and_a_search_by_the_name_of_the_step():
    data = load_breast_cancer()
    where = hospitals_of(data.target)
    steps = make_pipeline(StandardScaler(), FederatedMLPClassifier(rounds=20, aggregator="plain"))
    search = GridSearchCV(steps, {"federatedmlpclassifier__hidden": [(4,), (8, 4)]}, cv=3)
    search.fit(data.data, data.target, federatedmlpclassifier__sites=where)
    assert search.best_score_ > 0.93
    assert search.best_estimator_[-1].sites_.tolist() == [0, 1, 2, 3, 4]


def test_sites_are_routed_as_metadata_where_they_are_asked_for():
    data = load_breast_cancer()
    where = hospitals_of(data.target)
    with config_context(enable_metadata_routing=True):
        asked = FederatedLogisticRegression(rounds=20, aggregator="plain").set_fit_request(sites=True)
        search = GridSearchCV(
            make_pipeline(StandardScaler(), asked), {"federatedlogisticregression__l2": [0.1]}
        )
        search.fit(data.data, data.target, sites=where)
    assert search.best_score_ > 0.93
    assert search.best_estimator_[-1].sites_.tolist() == [0, 1, 2, 3, 4]


def test_aggregator_may_be_whatever_makes_one():
    features, target, where = rows()
    made = []

    def aggregator(policy, sites):
        made.append(MaskedAggregator(policy, sites))
        return made[-1]

    given = FederatedLogisticRegression(rounds=3, aggregator=aggregator).fit(features, target, sites=where)
    assert made[0].policy == given.policy_
    masked = FederatedLogisticRegression(rounds=3).fit(features, target, sites=where)
    np.testing.assert_array_equal(given.coef_, masked.coef_)


@pytest.mark.parametrize(
    "estimator",
    [
        FederatedLogisticRegression(aggregator="plain"),
        FederatedMLPClassifier(aggregator="plain"),
        FederatedLinearRegression(aggregator="plain"),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_one_patient_or_one_class_at_a_site_and_a_constant_feature_do_no_harm(estimator):
    data = load_breast_cancer()
    features = np.column_stack([data.data[:, :5], np.full(len(data.data), 3.25)])
    where = np.where(data.target == 1, "benign", np.where(np.arange(len(data.target)) % 2, "one", "two"))
    where[0] = "single"
    score = estimator.fit(features, data.target, sites=where).score(features, data.target)
    assert score > (0.5 if is_regressor(estimator) else 0.9)


@pytest.mark.parametrize("estimator", [FederatedLogisticRegression, FederatedMLPClassifier])
def test_diverging_training_stops_with_a_warning_and_the_model_of_the_least_loss(estimator):
    features, target, where = rows()
    given = estimator(learning_rate=20.0, momentum=0.9, aggregator="plain", standardise=False)
    with pytest.warns(ConvergenceWarning, match=r"site-000.*(parameter \d+|'\d') in.*lower learning_rate"):
        given.fit(features * 4.0, target, sites=where)
    assert given.n_iter_ == len(given.losses_) < given.rounds
    assert np.isfinite(given.predict_proba(features)).all()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"hidden": (0,)}, "unit"),
        ({"hidden": 8}, "hidden"),
        ({"hidden": (2.5,)}, "hidden"),
        ({"seed": "x"}, "seed"),
        ({"activation": "step"}, "activation"),
        ({"seed": -1}, "seed"),
        ({"learning_rate": "auto"}, "state a learning_rate"),
        ({"l2": -1.0}, "l2"),
    ],
)
def test_impossible_network_is_refused(wrong, what):
    features, target, _ = rows()
    with pytest.raises(InvalidArgument, match=what):
        FederatedMLPClassifier(**wrong).fit(features, target)


def test_estimators_are_public_names():
    for estimator in (FederatedLinearRegression, FederatedLogisticRegression, FederatedMLPClassifier):
        assert getattr(sordino, estimator.__name__) is estimator
