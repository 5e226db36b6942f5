# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.audit.survival import rows_behind, survival_losses


def cohort(patients: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    time = np.ceil(random.exponential(8.0, size=patients))  # some at the same time
    return random.normal(size=(patients, 3)), np.column_stack([time, random.random(patients) < 0.6])


def test_losses_are_minus_the_likelihood_with_the_hazard_of_breslow() -> None:
    rows, target = cohort()
    coefficients = np.array([0.4, -0.7, 0.1])
    risk = np.exp(rows @ coefficients)
    expected = []
    for (time, event), own in zip(target, risk, strict=True):
        hazard = sum(
            1.0 / risk[target[:, 0] >= at].sum() for at, happened in target if happened and at <= time
        )
        here = risk[target[:, 0] >= time].sum()
        expected.append(hazard * own - event * np.log(own / here))
    found = survival_losses(coefficients, rows, target, rows)
    assert found == pytest.approx(np.array(expected))
    assert (found >= 0.0).all()


def test_an_event_at_low_risk_is_a_larger_loss() -> None:
    rows, target = cohort()
    low, high = (
        survival_losses(np.array([1.0, 0.0, 0.0]), rows - shift, target, rows) for shift in (2.0, 0.0)
    )
    early = (target[:, 0] <= 3.0) & (target[:, 1] == 1.0)
    assert early.any()
    assert low[early].mean() > high[early].mean()


def test_who_leaves_alone_stands_open() -> None:
    zero, first = np.array([1.0, 0.0, 2.0]), np.array([[3.0, 4.0], [0.0, 0.0], [2.0, 6.0]])
    assert rows_behind(zero, first).tolist() == [[3.0, 4.0], [1.0, 3.0]]
