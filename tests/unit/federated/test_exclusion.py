# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from sordino.federated.exclusion import LEVEL, exclusion_tests

NAMES = tuple("abcdefg")


def found_by(shares, values):
    """The tests of one attribute of seven sites."""
    return exclusion_tests(
        dict(zip(NAMES, shares, strict=True)),
        {name: {"kind": value} for name, value in zip(NAMES, values, strict=True)},
    )


def test_planted_correlation_is_found_at_its_exact_p_value():
    (found,) = found_by([0.8, 0.9, 0.7, 0, 0, 0, 0], ["old", "old", "old", "new", "new", "new", "new"])
    # Of the 35 ways to choose three of seven only this one goes with the attribute as much.
    assert found.value == pytest.approx(1 / 35)
    assert found.correlated
    assert found.level == LEVEL


def test_planted_correlation_with_a_number_is_found():
    (found,) = found_by([0.9, 0.7, 0.5, 0.4, 0.2, 0.1, 0.0], [10, 20, 30, 40, 50, 60, 5000])
    assert found.value == pytest.approx(2 / 5040)
    assert found.correlated


def test_exclusion_that_goes_with_nothing_is_no_warning():
    for values in (["x", "y"] * 3 + ["x"], [3, 1, 2, 7, 5, 4, 6]):
        (found,) = found_by([0.3, 0.3, 0.1, 0.2, 0.4, 0.1, 0.2], values)
        assert not found.correlated
        assert found.value > 0.2


def test_level_is_kept_without_a_correlation():
    random = np.random.default_rng(3)
    values = ["x", "x", "x", "y", "y", "y", "y"]
    wrong = sum(found_by(random.random(7), values)[0].correlated for _ in range(300))
    # 300 draws at a level of 0.05: 15 are expected, 3.8 is the deviation.
    assert wrong <= 27


def test_several_attributes_share_the_level():
    shares = dict(zip(NAMES, [0.8, 0.9, 0.7, 0, 0, 0, 0], strict=True))
    attributes = {
        name: {"scanner": "old" if name in "abc" else "new", "city": name in "ace"} for name in NAMES
    }
    first, second = exclusion_tests(shares, attributes)
    assert (first.attribute, first.level, second.level) == ("scanner", LEVEL / 2, LEVEL)
    # 1 / 35 is below 0.05, and not below 0.025.
    assert not first.correlated
    assert not second.correlated


def test_what_does_not_differ_cannot_be_tested():
    assert found_by([0.1] * 7, range(7)) == ()
    assert found_by(range(7), ["x"] * 7) == ()
    assert exclusion_tests({"a": 0.0, "b": 1.0}, {}) == ()
