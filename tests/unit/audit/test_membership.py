# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.audit.membership import confidence, halved, infer, losses, overfitted, unrelated
from sordino.errors import InvalidArgument
from sordino.models.logistic import Logistic


def test_a_model_that_learnt_its_patients_by_heart_gives_them_away() -> None:
    found = overfitted(patients=100, shadows=6)
    for one in (found.threshold, found.likelihood):
        assert one.auc.low > 0.9


def test_of_a_model_of_other_patients_no_attack_makes_anything() -> None:
    found = unrelated()
    for one in (found.threshold, found.likelihood):
        assert 0.5 in one.auc


def test_the_likelihood_ratio_finds_what_one_threshold_cannot() -> None:
    # Every patient has a level of their own, far wider spread than what membership moves it by.
    level = np.random.default_rng(0).normal(scale=5.0, size=200)

    def observe(member: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        noise = np.random.default_rng([seed, 1]).normal(scale=0.2, size=200)
        return {"model": np.logaddexp(0.0, -(level + member + noise))}  # whose confidence this is

    found = infer(observe, 200, shadows=16)["model"]
    assert found.threshold.auc.high < 0.7
    assert found.likelihood.auc.low > 0.9


def test_confidence_is_the_logit_of_the_likelihood() -> None:
    probability = np.array([0.2, 0.5, 0.999])
    assert confidence(-np.log(probability)) == pytest.approx(np.log(probability / (1.0 - probability)))
    assert np.isfinite(confidence(np.array([0.0, 1e9]))).all()


def test_losses_are_each_patients_own() -> None:
    random = np.random.default_rng(0)
    model, rows, target = Logistic(3), random.normal(size=(9, 3)), random.integers(0, 2, 9).astype(float)
    found = losses(model, np.ones(4), rows, target)
    assert found.mean() == pytest.approx(model.loss(np.ones(4), rows, target))


def test_every_patient_is_in_half_of_the_shadows() -> None:
    assert (halved(np.random.default_rng(0), 30, 8).sum(axis=0) == 4).all()


def test_too_few_shadows_or_patients_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="4 shadow models"):
        infer(lambda *_: {}, 100, shadows=2)
    with pytest.raises(InvalidArgument, match="too few patients"):
        infer(lambda *_: {}, 6, shadows=8)
