# SPDX-License-Identifier: Apache-2.0

"""What a server keeps after a round comes back as it was, or with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sordino.adapters.checkpoint import keep, resume
from sordino.adapters.state_file import write_state
from sordino.errors import InvalidArgument, StateError

MODEL = {"weights": np.arange(6.0).reshape(2, 3), "bias": np.array(1.5, np.float32)}
HELD = {"m_t": {"bias": np.array(0.25)}, "vector": [np.ones(2, np.float32)], "none": None}


def test_model_and_momentum_come_back_bit_for_bit_in_their_order(tmp_path: Path) -> None:
    keep(tmp_path, 3, MODEL, HELD)
    found = resume(tmp_path, {name: np.zeros(array.shape) for name, array in MODEL.items()})
    assert found.rounds == 3
    assert list(found.arrays) == ["weights", "bias"]
    for name, array in MODEL.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    assert found.held["none"] is None
    np.testing.assert_array_equal(found.held["m_t"]["bias"], 0.25)
    (vector,) = found.held["vector"]
    np.testing.assert_array_equal(vector, np.ones(2, np.float32))


def test_without_a_checkpoint_a_study_begins_with_the_model_given(tmp_path: Path) -> None:
    for directory in (None, tmp_path):
        assert resume(directory, MODEL) == (0, MODEL, {})


def test_another_model_is_refused_and_the_file_named(tmp_path: Path) -> None:
    keep(tmp_path, 1, MODEL)
    with pytest.raises(StateError, match=r"model\.state holds another model"):
        resume(tmp_path, MODEL | {"bias": np.zeros(2)})


def test_arrays_that_are_not_floats_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"array \"m_t\['a'\]\" must be float32 or float64"):
        keep(tmp_path, 1, MODEL, {"m_t": {"a": np.zeros(1, np.int64)}})


@pytest.mark.parametrize("array", [("|O", [1], b"x"), ("<f4", [3], b"1234")])
def test_what_is_no_array_is_refused_and_the_file_named(tmp_path: Path, array: object) -> None:
    kept = {"rounds": 1, "arrays": {"weights": array}, "held": {}}
    write_state(tmp_path / "model.state", kept)
    with pytest.raises(StateError, match=r"model\.state: "):
        resume(tmp_path, MODEL)
