# SPDX-License-Identifier: Apache-2.0

"""The server's side: federated averaging by sums that the server cannot open."""

from __future__ import annotations

import base64
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.workflows.model_controller import ModelController

from sordino.adapters.checkpoint import keep, resume
from sordino.adapters.named import Floats, Sent, check_model, mean_of, pack_sent, unpack_sent
from sordino.adapters.nvflare.envelope import TASK, open_reply, seal_request
from sordino.adapters.session import Node, Session
from sordino.errors import PolicyError, StateError
from sordino.files.durable import write_durably
from sordino.protocol.coordinator import Request
from sordino.protocol.journal import Reply
from sordino.protocol.keys import Roster
from sordino.protocol.policy import Policy

_POLL_SECONDS = 0.05
_PLACES = "sordino-places"

_log = logging.getLogger(__name__)


class SecureFedAvg(ModelController):  # type: ignore[misc]
    """Asks the question "train" once a round, and makes the mean change of the sum the new model.

    Arguments are what JSON holds, as in every NVFlare job; `SecureFedAvgRecipe` makes them.

    policy          base64 of the policy's MessagePack (`pack_policy`)
    roster          name -> public key in hexadecimal
    model           base64 of `pack_sent`, or the path of an .npz file at the server
    num_rounds      rounds in all; where the policy has a question "validate", it follows every one
    timeout         seconds that a site has for a question; who takes longer is left out
    answer_within   seconds that a site has for any other message
    attempts        how often a question is asked in all if a round is lost
    delta           at which `rounds.json` tells epsilon, where the policy has noise
    directory       at the server: where model and session are kept, so that a later job goes on after them

    Leaves `model.npz` and `rounds.json` in the job's workspace. The job fails, with the reason, where
    `attempts` rounds in a row had no sum.
    """

    def __init__(
        self,
        policy: str,
        roster: dict[str, str],
        model: str,
        num_rounds: int,
        timeout: float = 600.0,
        answer_within: float = 60.0,
        attempts: int = 3,
        delta: float = 1e-5,
        directory: str = "",
    ) -> None:
        super().__init__(persistor_id="", task_check_period=_POLL_SECONDS)
        self.policy = policy
        self.roster = roster
        self.model = model
        self.num_rounds = num_rounds
        self.timeout = timeout
        self.answer_within = answer_within
        self.attempts = attempts
        self.delta = delta
        self.directory = directory

    def run(self) -> None:
        """Run the study; NVFlare calls this."""
        policy = unpack_policy(self.policy)
        roster = Roster({name: bytes.fromhex(key) for name, key in self.roster.items()})
        directory = Path(self.directory) if self.directory else None
        done, arrays, _ = resume(directory, self._first_model())
        check_model(policy.question("train"), arrays)
        session = Session(self, roster, policy, answer_within=self.answer_within, directory=directory)
        metrics: list[dict[str, Any]] = []
        try:
            for number in range(done, self.num_rounds):
                arrays, found = self._ask(session, policy, "train", arrays, number)
                if directory is not None:
                    keep(directory, number + 1, arrays)
                if any(question.kind == "validate" for question in policy.plan):
                    found |= self._ask(session, policy, "validate", arrays, number)[1]
                metrics.append({"round": number, **found})
            session.close()
        finally:
            self._report(session, policy, arrays, metrics)

    def _ask(
        self, session: Session, policy: Policy, kind: str, arrays: dict[str, Floats], number: int
    ) -> tuple[dict[str, Floats], dict[str, Any]]:
        body = pack_sent(Sent(arrays, number, self.num_rounds))
        total = session.aggregate(kind, body, self.timeout, attempts=self.attempts)
        return mean_of(policy.question(kind), total, arrays)

    # The line to the clients -------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        """The clients that have joined the job."""
        return [client.name for client in self.engine.get_clients()]

    def exchange(self, requests: Sequence[tuple[Node, Request]], seconds: float) -> list[Reply | None]:
        """Give every client its task and wait for the results; see `sordino.adapters.session.Line`.

        Clients that are asked the same share a task, so that a model is kept once. NVFlare also loses count
        of tasks that stand side by side, where a client asks for its own twice.
        """
        replies: list[Reply | None] = [None] * len(requests)
        waiting = set(range(len(requests)))
        places: dict[bytes, dict[Node, int]] = {}
        for place, (node, request) in enumerate(requests):
            places.setdefault(request.data, {})[node] = place

        def receive(client_task: ClientTask, fl_ctx: FLContext) -> None:  # noqa: ARG001 - by keyword
            place = client_task.task.get_prop(_PLACES)[client_task.client.name]
            replies[place], client_task.result = open_reply(client_task.result), None
            waiting.discard(place)

        tasks = []
        for targets in places.values():
            task = Task(
                name=TASK,
                data=seal_request(requests[next(iter(targets.values()))][1]),
                props={_PLACES: targets},
                timeout=math.ceil(seconds) + 1,  # ours comes first; NVFlare knows whole seconds only
                result_received_cb=receive,
            )
            self.broadcast(task, self.fl_ctx, targets=list(targets), min_responses=len(targets))
            tasks.append(task)
        until = time.monotonic() + seconds
        while waiting and time.monotonic() < until:
            if self.abort_signal.triggered:
                raise StateError("NVFlare has aborted the job")
            time.sleep(_POLL_SECONDS)
        if waiting:
            for task in tasks:
                self.cancel_task(task, fl_ctx=self.fl_ctx)
        return replies

    def process_result_of_unknown_task(self, client: Client, *_: object, **__: object) -> None:
        """A late answer is of no use: its round went on, or is lost."""
        _log.info("client %s answered too late", client.name)

    # Files -------------------------------------------------------------------------------------------------

    def _first_model(self) -> dict[str, Floats]:
        if not self.model.endswith(".npz"):
            return unpack_sent(base64.b64decode(self.model)).arrays
        with np.load(self.model) as file:
            return dict(file)

    def _report(
        self, session: Session, policy: Policy, arrays: dict[str, Floats], metrics: list[dict[str, Any]]
    ) -> None:
        workspace = self.engine.get_workspace()
        folder = Path(workspace.get_run_dir(self.fl_ctx.get_job_id()))
        named: dict[str, Any] = dict(arrays)
        np.savez(folder / "model.npz", **named)
        report: dict[str, Any] = {"rounds": [asdict(done) for done in session.rounds], "metrics": metrics}
        if any(question.noise is not None for question in policy.plan):
            guarantee = session.guarantee(self.delta)
            report["privacy"] = {
                "epsilon": guarantee.epsilon,
                "delta": guarantee.delta,
                "unit": guarantee.unit,
            }
        write_durably(folder / "rounds.json", json.dumps(report, indent=1).encode())


def pack_policy(policy: Policy) -> str:
    """A policy as text for a job's configuration."""
    return base64.b64encode(msgspec.msgpack.encode(policy)).decode()


def unpack_policy(text: str) -> Policy:
    """What `pack_policy` packed; raises `PolicyError` for anything else."""
    try:
        return msgspec.msgpack.decode(base64.b64decode(text), type=Policy)
    except (ValueError, msgspec.MsgspecError) as error:
        raise PolicyError(f"the job's configuration holds no policy: {error}") from None
