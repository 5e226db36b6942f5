# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored

import sordino
from cohorts import lung, made
from sordino.errors import InvalidArgument
from sordino.federated.estimators.cox import FederatedCox


class OnNumbers(FederatedCox):
    """scikit-learn's checks have targets of one column: here all are followed until the event."""

    def fit(self, X, y, sites=None):
        return super().fit(X, self._followed(y), sites)

    def score(self, X, y):
        return super().score(X, self._followed(y))

    def _followed(self, y):
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        target = np.asarray(y)
        if target.ndim != 1:
            return y
        if target.dtype.kind not in "biufc":
            raise ValueError("Unknown label type")
        if not np.isfinite(target).all():
            raise ValueError("Input y contains NaN or infinity")
        time = 1.0 + np.abs(target) + np.arange(len(target)) / 10.0
        return np.column_stack([time, np.ones(len(target))])


@pytest.mark.filterwarnings("default")  # scikit-learn's own checks warn of what they skip
@parametrize_with_checks([OnNumbers(aggregator="plain", grid="exact", discloses_patients=True, l2=0.1)])
def test_scikit_learns_contract_is_kept_where_it_applies(estimator, check):
    check(estimator)


def structured(time, event):
    return np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])


def test_fit_is_scikit_survivals_from_either_kind_of_target():
    features, time, event, where, _ = lung()
    settings = {"grid": "exact", "discloses_patients": True}
    ours = FederatedCox(**settings).fit(features, structured(time, event), sites=where)
    again = FederatedCox(**settings, aggregator="plain").fit(features, np.column_stack([time, event]), where)
    theirs = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-14).fit(features, structured(time, event))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8)
    np.testing.assert_array_equal(ours.coef_, again.coef_)
    assert len(ours.sites_) == 18
    expected = concordance_index_censored(event, time, ours.predict(features))[0]
    assert ours.score(features, structured(time, event)) == pytest.approx(expected, abs=1e-12)
    curves = ours.predict_survival(features[:3], [1.0, 100.0, 1e6])
    assert curves.shape == (3, 3)
    assert (np.diff(curves, axis=1) <= 0.0).all()


def test_it_works_in_a_pipeline_and_is_cross_validated():
    features, time, event, where = made()
    y = structured(time, event)
    model = make_pipeline(StandardScaler(), FederatedCox(aggregator="plain", grid=6))
    model.fit(features, y, federatedcox__sites=where)
    assert model.score(features, y) > 0.7
    alone = FederatedCox(aggregator="plain", grid=6).fit(features, y, sites=where)
    np.testing.assert_allclose(model[-1].coef_, alone.coef_ * features.std(axis=0), rtol=1e-7)
    scores = cross_val_score(FederatedCox(aggregator="plain", grid=6), features, y, cv=3)
    assert scores.mean() > 0.65


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.ones(240), "structured array"),
        (np.full((240, 2), 3.0), "an event is 1"),
        (np.array([(1, 2, 3)] * 240, dtype=[("a", int), ("b", int), ("c", int)]), "two fields"),
        (np.array([["a", "b"]] * 240), "numbers"),
        (np.ones((100, 2)), "inconsistent"),
        (np.column_stack([np.zeros(240), np.ones(240)]), "above zero"),
    ],
)
def test_target_that_is_none_is_refused(y, match):
    features, _, _, where = made()
    with pytest.raises(ValueError, match=match):
        FederatedCox().fit(features, y, sites=where)


def test_two_sites_are_too_few():
    features, time, event, _ = made()
    with pytest.raises(InvalidArgument, match="three sites"):
        FederatedCox().fit(features, structured(time, event), sites=np.arange(240) % 2)


def test_it_is_a_public_name():
    assert sordino.FederatedCox is FederatedCox
