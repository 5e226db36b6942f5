# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pytest

from hospitals import hospitals, write_csv, write_study
from sordino.course.follow import Aborted, Summed
from sordino.errors import ConfigError, StateError
from sordino.federated.study.directory import RunDirectory
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study
from sordino.federated.study.table import read_table

LOSSES = """
[[dropouts]]
round = 2
site = "north"
[[dropouts]]
round = 3
site = "south"
step = "unmask"
[simulation]
compare_pooled = true
compare_plain = true
"""


class Stop(Exception):
    pass


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its folder, and what was watched."""
    folder = tmp_path_factory.mktemp("finished")
    prepared = prepare(write_study(folder, more=LOSSES))
    seen = []
    assert run_study(prepared, folder / "out", watch=seen.append)
    return prepared, folder, seen


def test_run_writes_a_model_that_scores_like_the_training(finished):
    prepared, folder, _ = finished
    model = read_model(folder / "out" / "model.json")
    scores = model.score(read_table(folder / "north.csv"))
    assert [name for name, _ in scores] == [f"north-{number}" for number in range(27)]
    patients = prepared.cohort.sites["north"]
    scaled = (patients.features - model.scaler.mean) / model.scaler.scale
    expected = 1 / (1 + np.exp(-(scaled @ model.coefficients + model.intercept)))
    np.testing.assert_allclose([score for _, score in scores], expected)
    assert model.features == ["feature 0", "feature 1", "feature 2"]
    assert model.schema == prepared.cohort.schema.digest.hex()
    assert model.policy == prepared.policy.digest.hex()


def test_transcript_has_a_line_for_every_sum_and_says_who_dropped_where(finished):
    _, folder, _ = finished
    told = lines(folder / "out" / "transcript.jsonl")
    assert [line["event"] for line in told] == ["started", *["sum"] * 9, "finished"]
    training = [line for line in told if line.get("question") == "fedavg"]
    assert [line["number"] for line in training] == [1, 2, 3, 4]
    assert training[1]["dropped"] == {"north": "upload"}
    assert training[1]["survivors"] == ["east", "south", "west"]
    assert training[2]["recovered"] == ["south"]
    assert training[2]["survivors"] == ["east", "north", "south", "west"]
    assert training[3]["dropped"] == {}
    assert training[3]["survivors"] == ["east", "north", "south", "west"]
    assert all(traffic["sent"] > 0 for traffic in training[0]["traffic"].values())


def test_nothing_that_is_written_holds_a_weight_or_a_metric_of_one_site(finished):
    prepared, folder, _ = finished
    allowed = {
        "event", "at", "repeat", "question", "number", "round", "lanes", "body_bytes", "survivors",
        "dropped", "late", "recovered", "traffic", "seconds",
    }  # fmt: skip
    for line in lines(folder / "out" / "transcript.jsonl")[1:-1]:
        assert set(line) == allowed
        assert all(set(traffic) == {"sent", "received"} for traffic in line["traffic"].values())
    for name in ("metrics.json", "model.json"):
        text = (folder / "out" / name).read_text()
        assert not any(site in text for site in prepared.study.site_names)
        numbers = set(_numbers(json.loads(text)))
        weights = {float(len(site.target)) for site in prepared.sites(0).values()}
        assert not numbers & (weights | {sum(weights)})


def _numbers(value):
    if isinstance(value, dict):
        for part in value.values():
            yield from _numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, (int, float)):
        yield float(value)


def test_metrics_come_from_sums_and_simulated_ones_stand_apart(finished):
    prepared, folder, _ = finished
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    (repeat,) = metrics["secure_sums"]["repeats"]
    sites = prepared.sites(0).values()
    assert repeat["test"]["patients"] == sum(len(site.test_target) for site in sites)
    assert len(repeat["train_loss_by_round"]) == 4
    simulation = metrics["simulation"]
    assert "one place" in simulation["note"]
    assert simulation["compared_with_plain_sums"] == {"sums": 9, "equal_bit_for_bit": 9}
    difference = abs(repeat["test"]["auc"] - simulation["test_auc_federated"]["mean"])
    assert difference <= repeat["test"]["auc_off_by_at_most"] + 1e-12


def test_every_sum_is_watched(finished):
    _, _, seen = finished
    assert [now.done for now in seen] == list(range(1, 10))
    assert all(now.total == 9 and now.equal is True for now in seen)
    assert all(isinstance(now.event, Summed) for now in seen)


def test_finished_run_is_left_alone(finished):
    prepared, folder, _ = finished
    before = {path: path.read_bytes() for path in (folder / "out").glob("*.json*")}
    assert run_study(prepared, folder / "out") is False
    assert before == {path: path.read_bytes() for path in (folder / "out").glob("*.json*")}


@pytest.mark.parametrize("name", ["model.json", "metrics.json"])
def test_result_that_was_deleted_is_written_again(finished, name):
    prepared, folder, _ = finished
    before = (folder / "out" / name).read_bytes()
    (folder / "out" / name).unlink()
    assert run_study(prepared, folder / "out")
    assert (folder / "out" / name).read_bytes() == before


@pytest.mark.parametrize("stop", [1, 4, 5, 9])
def test_run_that_stopped_anywhere_goes_on_to_the_same_result(finished, tmp_path, stop):
    prepared, folder, _ = finished

    def watch(now):
        if now.done == stop:
            raise Stop

    with pytest.raises(Stop):
        run_study(prepared, tmp_path, watch=watch)
    assert not (tmp_path / "metrics.json").exists()
    assert run_study(prepared, tmp_path)
    for name in ("model.json", "metrics.json"):
        assert (tmp_path / name).read_bytes() == (folder / "out" / name).read_bytes()
    events = [line["event"] for line in lines(tmp_path / "transcript.jsonl")]
    assert events.count("resumed") == 1
    assert events.count("sum") == 9


def test_line_that_a_crash_cut_short_is_dropped(finished, tmp_path):
    prepared, _, _ = finished

    def watch(now):
        if now.done == 3:
            raise Stop

    with pytest.raises(Stop):
        run_study(prepared, tmp_path, watch=watch)
    with (tmp_path / "transcript.jsonl").open("a") as file:
        file.write('{"event":"sum","at":"20')
    assert run_study(prepared, tmp_path)
    assert lines(tmp_path / "transcript.jsonl")[-1]["event"] == "finished"


def test_folder_of_another_study_or_of_changed_rows_is_refused(finished, tmp_path):
    _, folder, _ = finished
    other = prepare(write_study(tmp_path, training="rounds = 5"))
    with pytest.raises(StateError, match="another study"):
        run_study(other, folder / "out")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.json").write_text("{}")
    with pytest.raises(StateError, match="results of another run"):
        run_study(other, tmp_path / "foreign")


def test_damaged_checkpoint_is_refused(finished, tmp_path):
    prepared, _, _ = finished
    (tmp_path / "state").mkdir()
    for damage in (b"", b"\x00", b"\x81\xa5study\xc4\x00"):
        (tmp_path / "state" / "checkpoint").write_bytes(damage)
        with pytest.raises(StateError):
            run_study(prepared, tmp_path)


@pytest.mark.parametrize("state", ["coordinator.state", "sites/east/session.state"])
def test_damaged_state_is_refused_by_name(finished, tmp_path, state):
    prepared, _, _ = finished

    def watch(_):
        raise Stop

    with pytest.raises(Stop):
        run_study(prepared, tmp_path, watch=watch)
    path = tmp_path / "state" / "session" / state
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StateError, match=f"{state}: "):
        run_study(prepared, tmp_path)


def test_folder_is_for_one_run_at_a_time(finished):
    prepared, folder, _ = finished
    with RunDirectory(folder / "out"), pytest.raises(StateError, match="another run is using it"):
        run_study(prepared, folder / "out")


def test_folder_that_cannot_be_written_is_refused(finished, tmp_path):
    prepared, _, _ = finished
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        run_study(prepared, tmp_path / "file" / "out")


def test_repeats_give_intervals_and_the_first_split_gives_the_model(tmp_path):
    more = "[simulation]\ncompare_pooled = true"
    prepared = prepare(write_study(tmp_path, test="fraction = 0.3\nrepeats = 3", more=more))
    run_study(prepared, tmp_path / "three")
    metrics = json.loads((tmp_path / "three" / "metrics.json").read_text())
    assert len(metrics["secure_sums"]["repeats"]) == 3
    for interval in (metrics["secure_sums"]["test_auc"], metrics["simulation"]["test_auc_difference"]):
        assert interval["low"] <= interval["mean"] <= interval["high"]
    (tmp_path / "once").mkdir()
    once = prepare(write_study(tmp_path / "once", test="fraction = 0.3"))
    run_study(once, tmp_path / "one")
    three, one = (read_model(tmp_path / name / "model.json") for name in ("three", "one"))
    assert three.coefficients == one.coefficients


@pytest.mark.parametrize("policy", ["accept", "freeze"])
def test_round_with_too_many_dropouts_is_told_and_asked_again(tmp_path, policy):
    more = "[[dropouts]]\nround = 2\nsite = 'east'\n[[dropouts]]\nround = 2\nsite = 'west'"
    prepared = prepare(write_study(tmp_path, more=more, policy=f'across_rounds = "{policy}"'))
    seen = []
    run_study(prepared, tmp_path / "out", watch=seen.append)
    assert [now.event.turn.number for now in seen if isinstance(now.event, Aborted)] == [2]
    (aborted,) = [line for line in lines(tmp_path / "out" / "transcript.jsonl") if line["event"] == "aborted"]
    assert aborted["lost"] == {"east": "upload", "west": "upload"}


def test_frozen_study_with_a_dropout_goes_on_without_that_round(tmp_path):
    more = "[[dropouts]]\nround = 2\nsite = 'east'\n[simulation]\ncompare_plain = true"
    prepared = prepare(write_study(tmp_path, more=more, policy='across_rounds = "freeze"'))
    run_study(prepared, tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["simulation"]["compared_with_plain_sums"] == {"sums": 9, "equal_bit_for_bit": 9}


def test_study_without_a_test_set_has_no_test_metrics(tmp_path):
    path = write_study(tmp_path, more="[simulation]\ncompare_pooled = true")
    path.write_text(path.read_text().replace("[test]\nfraction = 0.3\n", ""))
    run_study(prepare(path), tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "test" not in metrics["secure_sums"]["repeats"][0]
    assert "test_auc_pooled" not in metrics["simulation"]


def test_automatic_rate_does_for_features_far_below_one(tmp_path):
    study = write_study(tmp_path, training="rounds = 20", more="[model]\nstandardise = false")
    for name, site in hospitals().items():
        header = ["id", *site.columns, "target"]
        rows = [
            [at, *row, int(label)]
            for at, (row, label) in enumerate(zip(1e-3 * site.features, site.target, strict=True))
        ]
        write_csv(tmp_path / f"{name}.csv", header, rows)
    run_study(prepare(study), tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    losses = metrics["secure_sums"]["repeats"][0]["train_loss_by_round"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("policy", ["accept", "freeze"])
def test_diverging_training_keeps_the_last_good_model_and_is_tested_all_the_same(tmp_path, policy):
    study = write_study(
        tmp_path,
        training="rounds = 60\nlearning_rate = 8",
        policy=f'across_rounds = "{policy}"',
        more="[model]\nl2 = 0.5",
    )
    run_study(prepare(study), tmp_path / "out")
    (found,) = json.loads((tmp_path / "out" / "metrics.json").read_text())["secure_sums"]["repeats"]
    assert found["stopped"] == {"round": len(found["train_loss_by_round"]) + 1, "diverged": True}
    assert 1 < found["stopped"]["round"] < 40
    assert found["test"]["auc"] > 0.6
    lines = [json.loads(line) for line in (tmp_path / "out" / "transcript.jsonl").read_text().splitlines()]
    (halted,) = [line for line in lines if line["event"] == "halted"]
    assert "lower learning_rate" in halted["reason"]


def test_features_are_left_as_they_are_if_the_study_says_so(tmp_path):
    run_study(prepare(write_study(tmp_path, more="[model]\nstandardise = false")), tmp_path / "out")
    assert read_model(tmp_path / "out" / "model.json").scaler is None
