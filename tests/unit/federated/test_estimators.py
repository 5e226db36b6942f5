from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sordino
from hospitals import hospitals, pooled
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


def test_it_is_a_public_name():
    assert sordino.FederatedLogisticRegression is FederatedLogisticRegression
