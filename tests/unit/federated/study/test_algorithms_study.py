# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from hospitals import write_study
from sordino.federated.study.file import examine_study
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study


def ran(folder, training, **changes):
    prepared = prepare(write_study(folder, training=training, **changes))
    run_study(prepared, folder / "out")
    found = json.loads((folder / "out" / "metrics.json").read_text())
    lines = (folder / "out" / "transcript.jsonl").read_text().splitlines()
    return prepared, found, [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "training",
    [
        "local_steps = 4\nmomentum = 0.0",
        'algorithm = "fedprox"\nlocal_steps = 4\nproximal = 0.5',
        'algorithm = "scaffold"\nlocal_steps = 4',
        'server = "adam"\nserver_rate = 0.2\nmomentum = 0.5',
        "epochs = 2\nbatch_size = 8\nlearning_rate = 0.05",
    ],
)
def test_algorithm_that_the_file_names_trains(tmp_path, training):
    _, found, _ = ran(tmp_path, f"rounds = 8\n{training}")
    losses = found["secure_sums"]["repeats"][0]["train_loss_by_round"]
    assert len(losses) == 8
    assert losses[-1] < losses[0]


def test_scaffold_ends_nearer_to_the_pooled_optimum_than_averaging(tmp_path):
    off = {}
    for name, more in [("fedavg", "momentum = 0.0"), ("scaffold", "")]:
        (tmp_path / name).mkdir()
        _, found, _ = ran(
            tmp_path / name,
            f'algorithm = "{name}"\nrounds = 80\nlocal_steps = 10\n{more}',
            more="[simulation]\ncompare_pooled = true",
        )
        (simulated,) = found["simulation"]["repeats"]
        off[name] = simulated["train_objective_federated"] - simulated["train_objective_pooled"]
    # SCAFFOLD comes to within rounding of it, on either side.
    assert abs(off["scaffold"]) < 0.01 * off["fedavg"]


def test_sites_that_are_not_drawn_are_not_left_out(tmp_path):
    names = ("east", "far", "north", "south", "west")
    _, _, lines = ran(
        tmp_path, "rounds = 6\nsites_fraction = 0.7", names=names, policy='across_rounds = "accept"'
    )
    rounds = [line for line in lines if line.get("question") == "fedavg"]
    assert {len(line["survivors"]) for line in rounds} == {4}
    assert len({tuple(line["survivors"]) for line in rounds}) > 1
    told = json.loads((tmp_path / "out" / "sites.json").read_text())
    assert all(site["left_out"] == 0 for site in told["sites"].values())


def test_training_stops_early_by_patients_that_are_in_no_other_part(tmp_path):
    prepared, found, lines = ran(
        tmp_path,
        "rounds = 60\nlearning_rate = 3.0\nlocal_steps = 5\nvalidation = 0.3\npatience = 2",
        more="[model]\nl2 = 0.0",
        test="fraction = 0.2",
    )
    for name, site in prepared.sites(0).items():
        parts = [len(site.target), len(site.validation_target), len(site.test_target)]
        assert sum(parts) == len(prepared.cohort.sites[name].target)
        assert min(parts) > 0
    (repeat,) = found["secure_sums"]["repeats"]
    assert repeat["stopped"]["round"] < 60
    assert len(repeat["validation_loss_by_check"]) == repeat["stopped"]["round"]
    assert sum(line.get("question") == "fedavg" for line in lines) == repeat["stopped"]["round"]


def test_scaffold_goes_neither_with_noise_nor_with_modalities(tmp_path):
    privacy = '[privacy]\nunit = "patient"\nepsilon = 9.0\ndelta = 1e-5\n'
    genes = '[[modalities]]\nname = "genes"\ncolumns = ["feature 1"]\n'
    for more, said in [(privacy, "does not go with [privacy]"), (genes, "'modalities' do not go with")]:
        changes = {"policy": "max_patients = 100"} if more == privacy else {}
        path = write_study(tmp_path, training='algorithm = "scaffold"', more=more, **changes)
        assert any(said in fault for fault in examine_study(path)[1])
