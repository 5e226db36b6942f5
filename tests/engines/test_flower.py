# SPDX-License-Identifier: Apache-2.0

"""Studies over an in-process grid: the sum is the plain one, bit for bit, whoever is lost and wherever."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

from flower_grid import InProcessGrid
from flower_hospitals import (
    arrays_of,
    fedavg,
    lose,
    model_arrays,
    nodes_of,
    start,
    study_policy,
    survivors,
)
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi
from studies import NAMES, accuracy_of, assert_same, count_of, plain_mean, site_files

from sordino.adapters.flower import plan_question
from sordino.adapters.flower.records import contribution_of, values_of
from sordino.errors import InvalidArgument, RoundAborted
from sordino.protocol.policy import EVERYONE


@pytest.mark.parametrize("consistency", [True, False])
def test_a_study_equals_the_plain_one_and_takes_three_exchanges_or_two(tmp_path, consistency):
    nodes = nodes_of(site_files(tmp_path))
    grid, policy = InProcessGrid(nodes.values()), study_policy(consistency=consistency)
    secure, result = start(grid, FedAvg(), policy, tmp_path, rounds=2)
    first, _ = plain_mean(policy, NAMES)
    second, loss = plain_mean(policy, NAMES, 2, first)
    assert_same(arrays_of(result), second)
    assert result.train_metrics_clientapp[2] == {"loss": loss}
    weights = [count_of(name) for name in NAMES]
    accuracy = np.average([accuracy_of(name) for name in NAMES], weights=weights)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == pytest.approx(accuracy, abs=2.0**-20)
    assert [done.kind for done in secure.rounds] == ["train", "evaluate"] * 2
    assert {done.exchanges for done in secure.rounds} == {3 if consistency else 2}
    # Set-up, four questions, and the keys wiped.
    assert grid.exchanges == 3 + 4 * (3 if consistency else 2) + 1


@pytest.mark.parametrize("verdict", ["lost", "unanswered"])
@pytest.mark.parametrize(
    ("steps", "there", "vanished"),
    [
        ({"bergen": "UploadRequest", "essen": "UploadRequest"}, "acdf", ""),
        ({"bergen": "ConfirmRequest", "essen": "ConfirmRequest"}, "abcdef", "be"),
        ({"bergen": "UnmaskRequest"}, "abcdef", "b"),
        ({"bergen": "UploadRequest", "delft": "UnmaskRequest"}, "acdef", "d"),
        ({"bergen": "UnmaskRequest", "essen": "RecoverRequest"}, "abcdef", "b"),
    ],
)
def test_sites_may_be_lost_at_every_step(tmp_path, steps, there, vanished, verdict):
    nodes = nodes_of(site_files(tmp_path))
    policy = study_policy()
    grid = InProcessGrid(nodes.values(), lose(nodes, steps, verdict=verdict))
    secure, result = start(grid, fedavg(), policy, tmp_path)
    expected, _ = plain_mean(policy, [name for name in NAMES if name[0] in there])
    assert_same(arrays_of(result), expected)
    (done,) = secure.rounds
    assert survivors(secure) == [there]
    assert "".join(name[0] for name in done.vanished) == vanished
    assert done.exchanges == 3 + len(vanished)


def test_a_round_that_loses_too_many_is_asked_again_without_them(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    policy = study_policy(max_dropouts=1)
    steps = dict.fromkeys(("bergen", "essen"), "UploadRequest")
    grid = InProcessGrid(nodes.values(), lose(nodes, steps, rounds=range(1, 9)))
    secure, result = start(grid, fedavg(), policy, tmp_path)
    lost, done = secure.rounds
    assert "2 of 6 sites dropped out, 1 are tolerated" in lost.lost
    assert (done.number, done.dropped, done.lost) == (2, (), "")
    expected, _ = plain_mean(policy, [name for name in NAMES if name not in steps])
    assert_same(arrays_of(result), expected)


def test_a_study_ends_with_the_reason_where_no_round_has_a_sum(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    steps = dict.fromkeys(NAMES[:4], "UploadRequest")
    grid = InProcessGrid(nodes.values(), lose(nodes, steps, rounds=range(1, 9)))
    with pytest.raises(RoundAborted, match="sites"):
        start(grid, FedAvg(), study_policy(), tmp_path, attempts=2)


def test_frozen_participants_stay_whomever_the_strategy_samples(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    policy = study_policy(across_rounds="freeze")
    secure, result = start(
        InProcessGrid(nodes.values()),
        fedavg(fraction_train=0.5),
        policy,
        tmp_path,
        rounds=2,
    )
    assert survivors(secure) == ["abcdef"] * 2
    first, _ = plain_mean(policy, NAMES)
    assert_same(arrays_of(result), plain_mean(policy, NAMES, 2, first)[0])


def test_sampled_sites_alone_take_part_where_sites_may_come_and_go(tmp_path):
    nodes = nodes_of(site_files(tmp_path))
    secure, _ = start(
        InProcessGrid(nodes.values()),
        fedavg(fraction_train=5 / 6),
        study_policy(),
        tmp_path,
    )
    assert [len(names) for names in survivors(secure)] == [5]


MAKERS = {
    "FedAvg": fedavg,
    "FedProx": lambda: FedProx(proximal_mu=0.1, fraction_evaluate=0.0),
    "FedAvgM": lambda: FedAvgM(server_momentum=0.5, server_learning_rate=0.7, fraction_evaluate=0.0),
    "FedAdagrad": lambda: FedAdagrad(fraction_evaluate=0.0),
    "FedAdam": lambda: FedAdam(fraction_evaluate=0.0),
    "FedYogi": lambda: FedYogi(fraction_evaluate=0.0),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_strategies_do_with_the_mean_what_they_do_with_replies(tmp_path, kind):
    nodes = nodes_of(site_files(tmp_path))
    grid = InProcessGrid(nodes.values())
    _, secure = start(grid, MAKERS[kind](), study_policy(), tmp_path, rounds=3)
    in_the_clear = InProcessGrid(nodes_of(dict.fromkeys(NAMES, tmp_path), mods=[]).values())
    plain = MAKERS[kind]().start(in_the_clear, ArrayRecord(model_arrays()), num_rounds=3, timeout=1.0)
    for key, value in arrays_of(plain).items():
        np.testing.assert_allclose(arrays_of(secure)[key], value, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_server_that_is_started_again_ends_where_one_that_was_not_does(tmp_path, kind, caplog):
    def study(folder, stops):
        grid = InProcessGrid(nodes_of(site_files(folder)).values())
        for rounds in stops:
            _, result = start(
                grid, MAKERS[kind](), study_policy(), folder, rounds=rounds, directory=folder / "server"
            )
        return arrays_of(result)

    assert_same(study(tmp_path / "again", [1, 3, 4]), study(tmp_path / "whole", [4]))
    assert "starts anew" not in caplog.text


class Decaying(FedAdam):
    """Holds more than Flower's own does."""

    def configure_train(self, server_round, *rest):
        self.eta *= 0.5
        self.history = [server_round]
        return super().configure_train(server_round, *rest)


def test_what_a_subclass_holds_besides_is_named_once_as_not_kept(tmp_path, caplog):
    grid = InProcessGrid(nodes_of(site_files(tmp_path)).values())
    start(grid, Decaying(fraction_evaluate=0.0), study_policy(), tmp_path, rounds=2, directory=tmp_path)
    told = "Decaying holds ['eta', 'history'], which is not kept"
    assert caplog.text.count(told) == caplog.text.count("is not kept") == 1


def test_momentum_of_another_strategy_is_not_taken(tmp_path, caplog):
    grid = InProcessGrid(nodes_of(site_files(tmp_path)).values())
    start(grid, MAKERS["FedAdam"](), study_policy(), tmp_path, rounds=1, directory=tmp_path)
    start(grid, MAKERS["FedAvgM"](), study_policy(), tmp_path, rounds=2, directory=tmp_path)
    assert "starts anew: its momentum is ['momentum_vector'], and ['m_t', 'v_t'] was kept" in caplog.text


def test_changes_are_of_the_values_however_an_array_is_laid_out():
    before = {"columns": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)), "one": np.array(1.0)}
    after = {"columns": before["columns"] + np.arange(6).reshape(2, 3), "one": np.array(0.25)}
    sent, reply = (
        RecordDict({"arrays": ArrayRecord({key: Array(value) for key, value in arrays.items()})})
        for arrays in (before, after)
    )
    reply["metrics"] = MetricRecord({"num-examples": 3})
    question = plan_question("train", sent["arrays"], sites=6, max_weight=10, clip=8.0)
    given = contribution_of(question, [EVERYONE], sent, reply)
    assert given.weight == 3
    assert given.values["arrays"].tolist() == [0, 1, 2, 3, 4, 5, -0.75]
    assert not reply["arrays"], "the reply's arrays are let go"
    for key, value in values_of(sent["arrays"]).items():
        assert np.array_equal(value, before[key])


def test_an_array_that_is_not_numpys_is_named():
    with pytest.raises(InvalidArgument, match=r"'lanes' must be NumPy's, got 'sordino\.packed'"):
        values_of({"lanes": Array("uint8", (3,), "sordino.packed", b"abc")})
