# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sordino
from sordino.errors import InvalidArgument
from sordino.federated.standard_scaler import FederatedStandardScaler


@pytest.mark.filterwarnings("default")  # scikit-learn's own checks warn of what they skip
@parametrize_with_checks([FederatedStandardScaler(aggregator="plain")])
def test_scikit_learns_contract_is_kept(estimator, check):
    check(estimator)


def rows(missing=0.1):
    random = np.random.default_rng(0)
    values = random.normal(3.0, 2.0, size=(90, 3)) * [1e-3, 1.0, 1e5]
    values[random.random(values.shape) < missing] = np.nan
    return values, np.repeat(["east", "north", "south", "west"], [10, 20, 29, 31])


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
def test_it_scales_as_scikit_learn_does_with_all_rows_in_one_place(with_mean, with_std):
    values, where = rows()
    ours = FederatedStandardScaler(with_mean=with_mean, with_std=with_std).fit(values, sites=where)
    theirs = StandardScaler(with_mean=with_mean, with_std=with_std).fit(values)
    np.testing.assert_allclose(ours.mean_, np.nanmean(values, axis=0), rtol=1e-8)
    np.testing.assert_allclose(ours.var_, np.nanvar(values, axis=0), rtol=1e-8)
    np.testing.assert_array_equal(ours.n_samples_seen_, (~np.isnan(values)).sum(axis=0))
    np.testing.assert_allclose(ours.transform(values), theirs.transform(values), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(values)), values, rtol=1e-8)
    assert ours.sites_.tolist() == ["east", "north", "south", "west"]


def test_masked_is_the_default_and_equals_plain_bit_for_bit():
    values, where = rows()
    masked = FederatedStandardScaler().fit(values, sites=where)
    plain = FederatedStandardScaler(aggregator="plain").fit(values, sites=where)
    assert masked.aggregator == "masked"
    np.testing.assert_array_equal(masked.mean_, plain.mean_)
    np.testing.assert_array_equal(masked.var_, plain.var_)


def test_it_works_in_a_pipeline_with_the_sites_of_its_rows():
    data = load_breast_cancer()
    where = np.arange(len(data.target)) % 5
    ours = make_pipeline(FederatedStandardScaler(aggregator="plain"), LogisticRegression())
    ours.fit(data.data, data.target, federatedstandardscaler__sites=where)
    theirs = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
    np.testing.assert_allclose(ours[-1].coef_, theirs[-1].coef_, rtol=1e-4, atol=1e-6)


def test_names_of_features_go_through():
    values, where = rows()
    scaler = FederatedStandardScaler(aggregator="plain").set_output(transform="pandas")
    scaled = scaler.fit(pd.DataFrame(values, columns=list("abc")), sites=where).transform(
        pd.DataFrame(values, columns=list("abc"))
    )
    assert list(scaled) == ["a", "b", "c"]


def test_a_constant_feature_is_only_centred():
    values, where = rows(missing=0.0)
    values[:, 1] = 7.25
    scaler = FederatedStandardScaler().fit(values, sites=where)
    assert scaler.scale_[1] == 1.0
    np.testing.assert_allclose(scaler.transform(values)[:, 1], 0.0, atol=1e-12)


def test_a_feature_that_too_few_sites_have_is_refused_by_name():
    values, where = rows()
    values[where != "east", 2] = np.nan
    with pytest.raises(InvalidArgument, match="feature '2' cannot be scaled: 1 of the sites have it"):
        FederatedStandardScaler().fit(values, sites=where)


@pytest.mark.parametrize("wrong", [{"aggregator": "open"}, {"max_patients": 20}])
def test_impossible_setting_is_refused_by_name(wrong):
    values, where = rows()
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        FederatedStandardScaler(**wrong).fit(values, sites=where)


def test_it_is_a_public_name():
    assert sordino.FederatedStandardScaler is FederatedStandardScaler
