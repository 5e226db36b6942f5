# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import sordino
from reference.combat import combat
from scanners import hospitals, pooled
from sordino.errors import InvalidArgument
from sordino.federated.combat_estimator import FederatedComBat


@dataclass(frozen=True)
class ThreeScanners:
    """A scanner for each row by its own digits, since scikit-learn's tables name none.

    A class, since a function's name in a test's holds its address, and no two workers agree on that.
    """

    def __call__(self, rows):
        return np.floor(np.nansum(np.abs(rows), axis=1) * 1e3) % 3


@pytest.mark.filterwarnings("default")  # scikit-learn's own checks warn of what they skip
@parametrize_with_checks([FederatedComBat(batch=ThreeScanners(), aggregator="plain")])
def test_scikit_learns_contract_is_kept(estimator, check):
    check(estimator)


def table(sites=5):
    """Columns: hospital, scanner, age, sex, six features; the second scanner stands at every hospital."""
    features, covariates = hospitals(sites)
    rows, labels, coded = pooled(features, None, covariates)
    hospital = np.unique(labels, return_inverse=True)[1].astype(float)
    scanner = np.where(np.arange(len(rows)) % 2 == 0, 7.0, 10.0 + hospital)
    return np.column_stack([hospital, scanner, coded, rows])


def test_columns_say_scanner_hospital_and_what_is_preserved():
    rows = table()
    model = FederatedComBat(sites=0, batch=1, covariates=[2], categorical=[3])
    found = model.fit_transform(rows)
    expected, _ = combat(rows[:, 4:], rows[:, 1], rows[:, 2:4])
    np.testing.assert_array_equal(found[:, :2], rows[:, 2:4])
    assert np.max(np.abs(found[:, 2:] - expected) / expected.std(axis=0)) < 1e-8
    assert model.harmonised_.adjustment.layout.shared == ("7",)
    assert model.sites_.tolist() == model.survivors_.tolist() == ["0", "1", "2", "3", "4"]
    assert len(model.harmonised_.adjusted) == len(model.harmonised_.sums) == 0


def test_masked_is_the_default_and_equals_plain_bit_for_bit():
    rows = table()[:, [0, 4, 5, 6]]
    assert FederatedComBat().aggregator == "masked"
    masked, plain = (
        FederatedComBat(sites=0, aggregator=kind).fit_transform(rows) for kind in ("masked", "plain")
    )
    np.testing.assert_array_equal(masked, plain)


def test_data_frame_keeps_its_names():
    pandas = pytest.importorskip("pandas")
    names = ["hospital", "scanner", "age", "sex", *"abcdef"]
    frame = pandas.DataFrame(table(), columns=names)
    model = FederatedComBat(batch="scanner", sites="hospital", covariates=["age"], aggregator="plain")
    found = model.set_output(transform="pandas").fit_transform(frame)
    assert list(found.columns) == names[2:]
    assert model.get_feature_names_out().tolist() == names[2:]
    assert model.constant_ == ()


def test_held_out_rows_are_adjusted_by_what_training_rows_showed():
    rows = table()[:, [0, 4, 5, 6]]
    train, test = rows[1::2], rows[::2].copy()
    model = FederatedComBat(sites=0, aggregator="plain").fit(train)
    alone = model.transform(test)
    moved = test.copy()
    moved[1:, 1:] += 100.0
    np.testing.assert_array_equal(model.transform(moved)[0], alone[0])
    np.testing.assert_array_equal(
        FederatedComBat(sites=0, aggregator="plain").fit(train).transform(test), alone
    )


def test_it_works_in_a_pipeline():
    rows = table()
    target = (rows[:, 9] * 1e12 + np.random.default_rng(0).logistic(size=len(rows)) > 0).astype(int)
    model = make_pipeline(
        FederatedComBat(sites=0, reference=2, discloses_reference=True), LogisticRegression()
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    assert cross_val_score(model, rows[:, [0, 4, 7, 8]], target, cv=folds).min() > 0.3
    model[0].fit(rows[:, [0, 4, 7]])
    second = rows[rows[:, 0] == 2]  # the reference
    np.testing.assert_array_equal(model[0].transform(second[:, [0, 4, 7]]), second[:, [4, 7]])


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, "batch or sites"),
        ({"batch": 10}, "no.* index 10"),
        ({"batch": "scanner"}, "no column 'scanner'"),
        ({"sites": 0, "covariates": [0]}, "named twice"),
        ({"sites": 0, "covariates": range(1, 10)}, "left to be harmonised"),
        ({"sites": 0, "aggregator": "open"}, "aggregator"),
        ({"sites": 0, "reference": 9}, "'9' is none"),
        ({"sites": lambda rows: rows[:2, 0]}, "a label for each"),
        ({"sites": 0, "covariates": [1, 2], "categorical": [3]}, "'1' is confounded"),
    ],
)
def test_impossible_setting_is_refused(settings, what):
    rows = table()
    rows[:, 1] = 3.0 * rows[:, 0]
    with pytest.raises(InvalidArgument, match=what):
        FederatedComBat(**settings).fit(rows)


def test_unknown_site_unknown_scanner_and_missing_label_are_refused():
    rows = table()
    model = FederatedComBat(sites=0, batch=1, aggregator="plain").fit(rows)
    for column, what in [(0, "site '99' was not in the fit"), (1, "nothing is known of batch '99'")]:
        new = rows[:1].copy()
        new[0, column] = 99.0
        with pytest.raises(InvalidArgument, match=what):
            model.transform(new)
    rows[0, 1] = np.nan
    with pytest.raises(InvalidArgument, match="is missing"):
        model.fit(rows)


def test_it_is_a_public_name():
    assert sordino.FederatedComBat is FederatedComBat
