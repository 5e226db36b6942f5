# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from hospitals import hospitals, write_study
from sordino.errors import ConfigError
from sordino.federated.study.file import examine_study
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study


def trained(folder, kind, more=""):
    path = write_study(
        folder,
        training="rounds = 30\nlearning_rate = 0.2\nmomentum = 0.5",
        more=f'[model]\ntype = "{kind}"\nhidden = [5]\nactivation = "tanh"\n{more}',
    )
    prepared = prepare(path)
    run_study(prepared, folder / "out")
    found = json.loads((folder / "out" / "metrics.json").read_text())
    return prepared, read_model(folder / "out" / "model.json"), found["secure_sums"]["repeats"][0]


def test_network_of_classes_learns_and_scores_as_it_was_tested(tmp_path):
    prepared, model, found = trained(tmp_path, "mlp")
    assert found["train_loss_by_round"][-1] < 0.9 * found["train_loss_by_round"][0]
    sites = prepared.sites(0).values()
    chance = model.predict(np.concatenate([site.test_features for site in sites]))[:, 0]
    truth = np.concatenate([site.test_target for site in sites])
    assert found["test"]["accuracy"] == pytest.approx(np.mean((chance > 0.5) == truth))


def test_network_of_a_number_learns_and_scores_as_it_was_tested(tmp_path):
    prepared, model, found = trained(tmp_path, "mlp_number")
    sites = prepared.sites(0).values()
    off = model.predict(np.concatenate([site.test_features for site in sites]))[:, 0] - np.concatenate(
        [site.test_target for site in sites]
    )
    assert found["test"]["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-5)
    assert model.columns == ("expected_target",)


def test_parameters_that_are_not_those_of_the_layers_are_refused(tmp_path):
    _, model, _ = trained(tmp_path, "mlp")
    path = tmp_path / "model.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(model, parameters=[1.0])))
    columns = len(hospitals()["north"].columns)
    with pytest.raises(ConfigError, match=f"its layers have {6 * 1 + 5 * (columns + 1)} parameters"):
        read_model(path)


def test_keys_of_another_kind_and_a_rate_that_is_missing_are_named(tmp_path):
    _, faults = examine_study(write_study(tmp_path, more="[model]\nhidden = [3]"))
    assert any('\'model.hidden\' goes with type = "mlp" or "mlp_number" only' in one for one in faults)
    _, faults = examine_study(write_study(tmp_path, more='[model]\ntype = "mlp"\nl1 = 0.1'))
    assert any('\'model.l1\' goes with type = "logistic" or "linear" only' in one for one in faults)
    _, faults = examine_study(write_study(tmp_path, more='[model]\ntype = "mlp"'))
    assert any("'training.learning_rate' is to be stated" in one for one in faults)
