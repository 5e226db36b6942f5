# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.audit.attributes import infer_attribute, memorised
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
    found = infer_attribute(
        lambda features: np.zeros(len(features)), rows[:100], target[:100], rows[100:], target[100:], 0
    )
    assert found.imputed.value > 0.9
    assert found.gained.value == 0.0


def test_a_column_without_spread_is_refused() -> None:
    rows, target = np.ones((20, 2)), np.zeros(20)
    with pytest.raises(InvalidArgument, match="column 1 is the same for all patients"):
        infer_attribute(lambda features: np.zeros(len(features)), rows, target, rows, target, 1)
