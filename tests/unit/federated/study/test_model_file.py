# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from hospitals import write_csv
from sordino.errors import ConfigError
from sordino.federated.study.families.logistic import LogisticFile
from sordino.federated.study.families.stored import ScalerValues
from sordino.federated.study.model_file import read_model
from sordino.federated.study.table import read_table

MODEL = LogisticFile(
    study="tested",
    l2=0.1,
    id="id",
    target="target",
    classes=("0", "1"),
    features=["a", "b"],
    coefficients=[1.0, -2.0],
    intercept=0.5,
    scaler=ScalerValues(mean=[1.0, 0.0], scale=[2.0, 1.0]),
    rounds=3,
    schema="00" * 32,
    policy="11" * 32,
    sordino="0",
)


def saved(folder, model):
    path = folder / "model.json"
    path.write_bytes(msgspec.json.encode(model))
    return path


def test_model_survives_its_file(tmp_path):
    assert read_model(saved(tmp_path, MODEL)) == MODEL


def test_scores_do_not_hang_on_the_order_of_the_columns(tmp_path):
    one = write_csv(tmp_path / "1.csv", ["id", "a", "b"], [["p", 3, 1], ["q", -1, 0]])
    two = write_csv(tmp_path / "2.csv", ["b", "age", "id", "a"], [[1, 44, "p", 3], [0, "old", "q", -1]])
    scores = MODEL.score(read_table(one))
    assert scores == MODEL.score(read_table(two))
    np.testing.assert_allclose([score for _, score in scores], 1 / (1 + np.exp([0.5, 0.5])))


def test_missing_features_and_text_cells_are_named(tmp_path):
    lacking = write_csv(tmp_path / "1.csv", ["id", "c"], [["p", 1]])
    with pytest.raises(ConfigError, match="no column 'a', 'b', which"):
        MODEL.score(read_table(lacking))
    text = write_csv(tmp_path / "2.csv", ["id", "a", "b"], [["p", 1, "high"]])
    with pytest.raises(ConfigError, match="line 2, column 'b': 'high'"):
        MODEL.score(read_table(text))


def test_patients_without_an_id_are_told_by_their_line(tmp_path):
    table = read_table(write_csv(tmp_path / "1.csv", ["a", "b"], [[1, 1], [2, 2]]))
    assert [name for name, _ in MODEL.score(table)] == ["2", "3"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"coefficients": [1.0]},
        {"scaler": {"mean": [1.0], "scale": [1.0, 1.0]}},
        {"scaler": {"mean": [1.0, 2.0], "scale": [0.0, 1.0]}},
        {"format": "other"},
        {"version": 2},
        {"schema": "xyz"},
        {"surplus": 1},
        {"intercept": "big"},
    ],
)
def test_file_that_is_no_model_is_refused(tmp_path, wrong):
    path = saved(tmp_path, {**msgspec.to_builtins(MODEL), **wrong})
    with pytest.raises(ConfigError, match=r"model\.json"):
        read_model(path)


def test_file_that_is_no_json_or_not_there_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff{")
    for path in (tmp_path / "x", tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError):
            read_model(path)
