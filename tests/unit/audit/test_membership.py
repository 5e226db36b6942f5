# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.audit.membership import confidence, halves, infer, losses, overfitted, unrelated
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

    found = infer(observe, np.zeros(200, np.intp), shadows=16)["model"]
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


def test_every_patient_is_in_half_of_the_trainings_and_each_training_has_half_of_a_site() -> None:
    sites = np.repeat([0, 1, 2], [8, 13, 20])
    member = halves(np.random.default_rng(0), sites, 6)
    assert (member.sum(axis=0) == 6).all()
    assert (member[::2] == ~member[1::2]).all()
    for site, patients in enumerate((8, 13, 20)):
        assert set(member[:, sites == site].sum(axis=1)) <= {patients // 2, -(-patients // 2)}


def test_scores_that_say_nothing_leave_a_coin_however_few_the_shadows() -> None:
    # Were a training's own pair, or itself, among its shadows, who is in more of them would show.
    def observe(member: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        return {"model": np.random.default_rng([seed, 3]).exponential(size=len(member))}

    found = infer(observe, np.zeros(3000, np.intp), shadows=4)["model"]
    assert abs(found.likelihood.auc.value - 0.5) < 0.02
    assert found.likelihood.auc.high - found.likelihood.auc.low < 0.04


def test_patients_of_other_sites_are_left_out_where_they_are_not_asked_about() -> None:
    def observe(_: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        seen = np.random.default_rng([seed, 3]).exponential(size=40)
        return {"raw": np.where(np.arange(40) < 16, seen, np.nan)}

    found = infer(observe, np.zeros(40, np.intp), shadows=4)["raw"]
    assert (found.threshold.patients, found.threshold.trainings) == (16, 6)


def test_too_few_shadows_or_patients_are_refused() -> None:
    for shadows in (2, 5):
        with pytest.raises(InvalidArgument, match="4 shadow models"):
            infer(lambda *_: {}, np.zeros(100, np.intp), shadows=shadows)
    with pytest.raises(InvalidArgument, match="too few patients"):
        infer(lambda *_: {}, np.zeros(6, np.intp), shadows=8)
