# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.audit.attributes import Losses, infer_attribute, memorised
from sordino.errors import InvalidArgument


def test_a_model_that_remembers_tells_what_imputation_cannot() -> None:
    found = memorised()
    assert found.imputed.low < 0.5 < found.imputed.high
    assert found.attacked.low > 0.9
    assert found.gained.low > 0.3


def test_a_model_of_other_targets_tells_nothing() -> None:
    found = memorised(seen=False)
    assert 0.0 in found.gained


def test_what_imputation_finds_is_no_leak() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 1)) + 0.1 * random.normal(size=(200, 3))  # columns are nearly equal
    target = np.zeros(200)
    found = infer_attribute(constant, rows[:100], target[:100], constant, rows[100:], target[100:], 0)
    assert found.imputed.value > 0.9
    assert found.gained.value == 0.0


def test_a_column_without_spread_is_refused() -> None:
    rows, target = np.ones((20, 2)), np.zeros(20)
    with pytest.raises(InvalidArgument, match="column 1 is the same for all patients"):
        infer_attribute(constant, rows, target, constant, rows, target, 1)


def test_what_a_model_says_is_weighed_by_what_it_was_worth_in_a_shadow() -> None:
    # The losses tell the attribute, but a thousand times more softly than the imputation's odds speak.
    random = np.random.default_rng(1)
    rows, target = random.normal(size=(400, 4)), np.zeros(400)
    rows[:, 1] += 0.5 * rows[:, 0]

    def softly(part: slice) -> Losses:
        truth = np.sign(rows[part, 0])
        return lambda features: -1e-3 * truth * features[:, 0]

    members, others = slice(0, 200), slice(200, 400)
    found = infer_attribute(
        softly(members), rows[members], target[members], softly(others), rows[others], target[others], 0
    )
    assert found.attacked.value > 0.9
    assert found.gained.low > 0.1


def constant(features: np.ndarray) -> np.ndarray:
    """A model that says nothing."""
    return np.zeros(len(features))
