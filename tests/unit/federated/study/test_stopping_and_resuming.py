# SPDX-License-Identifier: Apache-2.0

"""A study with SCAFFOLD that is interrupted, and what stopping early costs and says."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from hospitals import write_study
from sordino.errors import JournalError
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study


class Stop(Exception):
    pass


def metrics(out):
    (repeat,) = json.loads((out / "metrics.json").read_text())["secure_sums"]["repeats"]
    return repeat


def private(unit, training):
    return {
        "training": training,
        "policy": "max_patients = 100",
        "more": f'[privacy]\nunit = "{unit}"\nepsilon = 20.0\ndelta = 1e-4\n',
    }


@pytest.mark.parametrize(
    ("unit", "training"),
    [
        ("site", 'algorithm = "fedprox"\nproximal = 1.0\nrounds = 3\nlocal_steps = 2'),
        ("patient-local", 'algorithm = "fedprox"\nproximal = 1.0\nrounds = 3\nlocal_steps = 2'),
        ("patient", 'rounds = 6\nserver = "adam"\nvalidation = 0.2\ncheck_every = 2'),
        ("site", "rounds = 3\nvalidation = 0.2\ncheck_every = 2"),
        ("patient-local", "rounds = 3\nvalidation = 0.2\ncheck_every = 2"),
    ],
)
def test_private_study_charges_its_validation_and_stays_within_epsilon(tmp_path, unit, training):
    prepared = prepare(write_study(tmp_path, **private(unit, training)))
    seen = []
    run_study(prepared, tmp_path / "out", watch=seen.append)
    checks = [now for now in seen if now.event.turn.stage.kind == "private_validation"]
    assert len(checks) == len(metrics(tmp_path / "out").get("validation_loss_by_check", []))
    assert bool(checks) == ("validation" in training)
    spent = [0.0, *[now.epsilon for now in seen]]
    assert all(after > before for before, after in pairwise(spent))
    assert spent[-1] <= 20.0


@pytest.mark.parametrize("stopped_at", [3, 6, 9])
def test_scaffold_goes_on_after_an_interruption_as_if_there_was_none(tmp_path, stopped_at):
    training = 'algorithm = "scaffold"\nrounds = 8\nlocal_steps = 4'
    lost = '[[dropouts]]\nround = "every"\nrotate = true\n[simulation]\ncompare_plain = true'
    prepared = prepare(write_study(tmp_path, training=training, more=lost))
    run_study(prepared, tmp_path / "whole")

    def stop(now):
        if now.done == stopped_at:
            raise Stop

    with pytest.raises(Stop):
        run_study(prepared, tmp_path / "cut", watch=stop)
    run_study(prepared, tmp_path / "cut")
    for name in ("model.json", "metrics.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_scaffold_of_a_site_without_its_memory_is_refused(tmp_path):
    training = 'algorithm = "scaffold"\nrounds = 8\nlocal_steps = 4'
    prepared = prepare(write_study(tmp_path, training=training, policy='across_rounds = "freeze"'))

    def stop(now):
        if now.event.turn.number == 4:
            raise Stop

    with pytest.raises(Stop):
        run_study(prepared, tmp_path / "out", watch=stop)
    (tmp_path / "out" / "state" / "session" / "sites" / "south" / "memory-0").unlink()
    with pytest.raises(JournalError, match="'south' no longer has the control variate"):
        run_study(prepared, tmp_path / "out")


def test_early_stopping_ends_training_and_the_run_says_when(tmp_path):
    training = "rounds = 200\nlearning_rate = 0.9\nvalidation = 0.3\npatience = 2"
    prepared = prepare(write_study(tmp_path, training=training, more="[model]\nl2 = 0.0"))
    run_study(prepared, tmp_path / "out")
    found = metrics(tmp_path / "out")
    losses = np.array(found["validation_loss_by_check"])
    assert losses.argmin() == len(losses) - 3
    assert found["stopped"] == {"round": len(losses), "diverged": False}
