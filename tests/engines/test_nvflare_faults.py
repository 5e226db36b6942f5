# SPDX-License-Identifier: Apache-2.0

"""Clients and servers with another's key, an old roster, no answer: a finished study, or a reason."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

pytest.importorskip(
    "nvflare", reason="NVFlare is not installed here; `make engines` runs these tests with it"
)

from nvflare.apis.client import Client
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import (
    InTimeAccumulateWeightedAggregator,
)
from nvflare_clients import Run, Trainer, client_context, controller_of, lose, study_policy
from studies import (
    MODEL,
    NAMES,
    Killed,
    assert_same,
    give_key_of,
    give_old_roster,
    site_files,
    uploads,
)

from sordino.adapters.nvflare import SecureExecutor, SecureFedAvg, SecureFedAvgRecipe
from sordino.adapters.nvflare.envelope import seal, unseal
from sordino.errors import InvalidArgument, PolicyError, RoundAborted, StateError
from sordino.protocol import messages as m
from sordino.protocol import wire


def one_question(**terms):
    policy = study_policy()
    return study_policy(plan=[policy.question("train")], **terms)


# Clients --------------------------------------------------------------------------------------------


def test_a_client_with_the_key_of_another_never_starts(tmp_path, caplog):
    settings = site_files(tmp_path)
    give_key_of(settings, "bergen", "essen")
    run = Run(tmp_path, settings)
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["acdef"]
    assert "the roster does not have site 'bergen' with the key in ../essen/essen.key" in caplog.text


def test_a_client_that_signs_as_another_finds_its_place_taken(tmp_path, caplog):
    settings = site_files(tmp_path)
    copy = shutil.copytree(tmp_path / "essen", tmp_path / "copy" / "essen") / "site.toml"
    run = Run(tmp_path, settings | {"bergen": copy})
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["acdef"]
    assert "another node is site 'essen' already" in caplog.text


def test_a_site_that_comes_as_two_clients_takes_part_as_one(tmp_path, caplog):
    settings = site_files(tmp_path)
    copy = shutil.copytree(tmp_path / "bergen", tmp_path / "copy" / "bergen") / "site.toml"
    run = Run(tmp_path, settings | {"gent": copy})
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["abcdef"]
    assert "another node is site 'bergen' already" in caplog.text
    assert uploads(tmp_path, "bergen") == [1]
    assert uploads(tmp_path / "copy", "bergen") == []


def test_two_clients_that_share_one_session_leave_their_site_out(tmp_path):
    settings = site_files(tmp_path)
    run = Run(tmp_path, settings | {"gent": settings["bergen"]})
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["acdef"]
    assert uploads(tmp_path, "bergen") == []


def test_a_client_that_joins_late_waits_for_the_next_session(tmp_path):
    there = dict.fromkeys(NAMES[:-1])

    class Late(Run):
        def get_clients(self):
            return [Client(f"client-{name}", "") for name in there]

    def comes(name, message):
        if isinstance(message, m.UploadRequest):
            there["fulda"] = None
        return ""

    run = Late(tmp_path, site_files(tmp_path), fate=comes)
    run.start(controller_of(tmp_path, one_question(), rounds=2, answer_within=2.0))
    assert run.survivors() == ["abcde", "abcde"]
    assert uploads(tmp_path, "fulda") == []
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["abcdef"]


def test_a_client_with_an_old_roster_refuses_and_the_others_go_on(tmp_path, caplog):
    settings = site_files(tmp_path)
    give_old_roster(tmp_path, "bergen")
    run = Run(tmp_path, settings)
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["acdef"]
    assert "the offer is for another roster than the one pinned here" in caplog.text


def test_too_few_clients_end_the_job_with_what_they_said(tmp_path):
    run = Run(tmp_path, site_files(tmp_path, floor='across_rounds = ["freeze"]'))
    with pytest.raises(
        RoundAborted, match=r"0 sites advertised, at least 4 .* not one that this site accepts"
    ):
        run.start(controller_of(tmp_path, one_question()))


@pytest.mark.parametrize("side", ["client", "server"])
def test_another_version_of_the_wire_is_told_and_left_out(tmp_path, side, caplog):
    class Version2(SecureExecutor):
        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            data, more = unseal(shareable)
            if side == "server":
                shareable = seal(b"\x02" + data[1:], more)
            reply = super().execute(task_name, shareable, fl_ctx, abort_signal)
            answer, more = unseal(reply)
            return seal(b"\x02" + answer[1:], more) if side == "client" else reply

    run = Run(tmp_path, site_files(tmp_path), executors={"bergen": Version2(Trainer("bergen"))})
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["acdef"]
    assert "a message has version 2, this side speaks 1" in caplog.text


def test_a_client_that_is_silent_is_left_out_when_its_time_is_over_and_rests(tmp_path):
    run = Run(tmp_path, site_files(tmp_path), fate=lose({"delft": "UploadRequest"}, how="silent"))
    started = time.monotonic()
    run.start(controller_of(tmp_path, one_question(), rounds=3, timeout=4.0))
    assert 4.0 < time.monotonic() - started < 30.0
    assert run.survivors() == ["abcef", "abcef", "abcdef"]


def test_a_training_that_fails_is_a_dropout_and_its_reason_stays_at_the_site(tmp_path, caplog):
    class Fails(Executor):
        def execute(self, task_name: str, shareable: Shareable, fl_ctx, abort_signal: Signal) -> Shareable:
            if task_name == "train":
                raise ValueError("patient 4711 is odd")
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    run = Run(tmp_path, site_files(tmp_path), executors={"coimbra": SecureExecutor(Fails())})
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["abdef"]
    assert "patient 4711 is odd" in caplog.text
    assert not any(b"4711" in received for received in run.received)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.params.pop("bias"), "the training returned no array 'bias'"),
        (lambda model: model.metrics.clear(), "the training returned nothing for the block 'loss'"),
        (
            lambda model: model.metrics.update(secret=1.0),
            r"no block for what the training returned: ['secret']",
        ),
        (lambda model: model.params.update(bias=np.zeros(3, np.float32)), "'bias' has the shape (3,)"),
        (
            lambda model: model.params.update(bias=np.zeros(2, np.int64)),
            "must be float32 or float64, got int64",
        ),
        (lambda model: model.meta.clear(), "the number of examples must be a whole number, got NoneType"),
        (lambda model: model.params["bias"].fill(np.nan), "NaN"),
    ],
)
def test_what_does_not_fit_the_question_is_named_at_the_site_and_not_sent(tmp_path, change, reason, caplog):
    trainer = Trainer("fulda", change)
    run = Run(tmp_path, site_files(tmp_path), executors={"fulda": SecureExecutor(trainer)})
    run.start(controller_of(tmp_path, one_question()))
    assert run.survivors() == ["abcde"]
    assert reason.lower() in caplog.text.lower()


def test_a_client_that_lost_its_session_comes_back_with_the_next(tmp_path):
    forgetful = list(NAMES[:3])

    def forgets(name, message):
        if isinstance(message, m.UploadRequest) and message.round == 2 and name in forgetful:
            forgetful.remove(name)
            (tmp_path / name / "session.state").unlink()
        return ""

    run = Run(tmp_path, site_files(tmp_path), fate=forgets)
    run.start(controller_of(tmp_path, one_question(), rounds=2))
    assert run.survivors() == ["abcdef", "", "abcdef"]
    assert [done["number"] for done in run.report()["rounds"]] == [1, 2, 1]


def test_a_task_in_the_clear_never_reaches_the_training(tmp_path, caplog):
    class Never(Executor):
        def execute(self, *_):
            raise AssertionError("asked")

    context = client_context("aachen", site_files(tmp_path)["aachen"])
    reply = SecureExecutor(Never()).execute("train", Shareable({"w": 1}), context, Signal())
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert "task 'train' is not for a secure sum" in caplog.text
    assert "asked" not in caplog.text


def test_a_client_without_a_site_says_where_it_looked(tmp_path, caplog, monkeypatch):
    settings = site_files(tmp_path)
    monkeypatch.delenv("SORDINO_SITE", raising=False)
    context = client_context("aachen", settings["aachen"])
    (tmp_path / "client-aachen" / "local" / "sordino").unlink()
    executor = SecureExecutor(Trainer("aachen"))
    assert executor.execute("sordino", seal(b"", b""), context, Signal()).get_return_code() != ReturnCode.OK
    assert "no sordino/site.toml in its directory `local`, and no SORDINO_SITE" in caplog.text
    monkeypatch.setenv("SORDINO_SITE", str(tmp_path / "{client}" / "site.toml"))
    (tmp_path / "client-aachen" / "site.toml").write_text("nonsense = 1")
    executor.execute("sordino", seal(b"", b""), context, Signal())
    assert f"{tmp_path}/client-aachen/site.toml" in caplog.text


# The server --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [m.UploadRequest, m.ConfirmRequest, m.UnmaskRequest])
@pytest.mark.parametrize("across_rounds", ["accept", "freeze"])
def test_a_server_that_is_killed_in_a_round_goes_on_with_the_next(tmp_path, at, across_rounds, monkeypatch):
    policy, run = one_question(across_rounds=across_rounds), Run(tmp_path, site_files(tmp_path))
    options = {"rounds": 3, "directory": str(tmp_path / "server")}
    exchange, rounds = SecureFedAvg.exchange, []

    def dies(self, requests, seconds):
        message = wire.read_at_site(requests[0][1].data, len(NAMES))
        if isinstance(message, m.UploadRequest):
            rounds.append(message.round)
        if rounds == [1, 2] and isinstance(message, at):
            exchange(self, requests[:3], seconds)
            raise Killed
        return exchange(self, requests, seconds)

    monkeypatch.setattr(SecureFedAvg, "exchange", dies)
    with pytest.raises(Killed):
        run.start(controller_of(tmp_path, policy, **options))
    monkeypatch.setattr(SecureFedAvg, "exchange", exchange)
    found = run.start(controller_of(tmp_path, policy, **options))
    assert [(done["number"], done["lost"]) for done in run.report()["rounds"]] == [(3, ""), (4, "")]
    assert uploads(tmp_path, "aachen") == [1, 2, 3, 4]
    whole_folder = tmp_path / "whole"
    whole = Run(whole_folder, site_files(whole_folder))
    expected = whole.start(controller_of(whole_folder, policy, rounds=3))
    assert_same(found, expected)


def test_a_disk_that_is_full_at_the_server_stops_it_before_it_asks(tmp_path):
    run, directory = Run(tmp_path, site_files(tmp_path)), tmp_path / "server"
    directory.mkdir()
    (directory / "session.state.new").symlink_to("/dev/full")
    with pytest.raises(StateError, match=r"session.state cannot be written: No space left on device"):
        run.start(controller_of(tmp_path, one_question(), directory=str(directory)))
    assert uploads(tmp_path, "aachen") == []


def test_a_job_that_nvflare_aborts_ends(tmp_path):
    settings = site_files(tmp_path)
    controller = controller_of(tmp_path, one_question())

    def aborts(name, message):
        if isinstance(message, m.ConfirmRequest):
            controller.abort_signal.trigger("stop")
            return "silent"
        return ""

    with pytest.raises(StateError, match="NVFlare has aborted the job"):
        Run(tmp_path, settings, fate=aborts).start(controller)


# The job --------------------------------------------------------------------------------------------


def test_a_recipe_refuses_what_cannot_become_a_sum(tmp_path):
    roster = site_files(tmp_path)["aachen"].parent / "roster.toml"
    given = {"roster": roster, "num_rounds": 1, "train_script": "train.py"}
    question = study_policy().question("validate")
    other = study_policy(plan=[type(question)(kind="other", blocks=question.blocks, max_weight=9)])
    with pytest.raises(PolicyError, match="'train' and 'validate', not \\['other'\\]"):
        SecureFedAvgRecipe(policy=other, model=MODEL, **given)
    with pytest.raises(InvalidArgument, match="block 'arrays' has 8 lanes"):
        SecureFedAvgRecipe(policy=study_policy(), model={**MODEL, "more": np.zeros(1, np.float32)}, **given)
    with pytest.raises(InvalidArgument, match="either a train_script or a trainer"):
        SecureFedAvgRecipe(policy=study_policy(), model=MODEL, **{**given, "train_script": ""})
    with pytest.raises(InvalidArgument, match="an aggregator works on the updates of single sites"):
        SecureFedAvgRecipe(
            policy=study_policy(), model=MODEL, aggregator=InTimeAccumulateWeightedAggregator(), **given
        )
