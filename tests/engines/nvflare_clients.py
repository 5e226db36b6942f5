# SPDX-License-Identifier: Apache-2.0

"""NVFlare's own task server in this process, with a thread a client; every message is bytes both ways."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import studies
from nvflare.apis.client import Client
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, FLMetaKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.apis.workspace import Workspace
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.decomposers import common_decomposers
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.fuel.utils import fobs
from studies import MODEL, NAMES, accuracy_of, count_of, gone_from, loss_of, target_of

from sordino.adapters.named import Sent, pack_sent
from sordino.adapters.nvflare import SecureExecutor, SecureFedAvg
from sordino.adapters.nvflare.controller import pack_policy
from sordino.adapters.nvflare.envelope import unseal
from sordino.files.settings import read_roster
from sordino.protocol import wire
from sordino.protocol.policy import Policy

study_policy = partial(studies.study_policy, "validate")

flare_decomposers.register()
common_decomposers.register()

Fate = Callable[[str, Any], str]
"""From a client's name and a message: "" nothing happens, "lost" on the way there, "unanswered" on the way
back, or "silent": an answer that takes `silence` seconds."""


class Trainer(Executor):
    """Training whose result is always the same; `change` tampers with it."""

    def __init__(self, name: str, change: Callable[[FLModel], None] = lambda model: None) -> None:
        super().__init__()
        self.site, self.change = name, change

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        model = FLModelUtils.from_shareable(shareable)
        if task_name == "validate":
            reply = FLModel(metrics={"accuracy": accuracy_of(self.site)})
        else:
            target = target_of(self.site, model.current_round + 1)
            reply = FLModel(
                params={key: model.params[key] + target[key] for key in MODEL},
                metrics={"loss": loss_of(self.site)},
            )
        reply.meta = {FLMetaKey.NUM_STEPS_CURRENT_ROUND: count_of(self.site)}
        self.change(reply)
        return FLModelUtils.to_shareable(reply)


class Run:
    """One job over clients that keep only what is on their disks between messages."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Path],
        *,
        executors: Mapping[str, Executor] = {},
        fate: Fate = lambda name, message: "",
        silence: float = 5.0,
    ) -> None:
        self.folder, self.settings, self.executors, self.fate = folder, settings, executors, fate
        self.silence = silence
        self.received: list[bytes] = []
        self.over = threading.Event()

    def start(self, controller: SecureFedAvg) -> dict[str, np.ndarray]:
        """Run a controller to its end, and give its model."""
        self.run(controller)
        with np.load(self.folder / "job" / "model.npz") as file:
            return dict(file)

    def run(self, controller: ModelController) -> None:
        """Run any controller to its end."""
        self.over.clear()
        server = self.new_context()
        communicator = WFCommServer(task_check_period=0.01)
        communicator.controller = controller
        controller.set_communicator(communicator)
        communicator.initialize_run(server)
        controller.engine, controller.fl_ctx, controller.abort_signal = self, server, Signal()
        threads = [
            threading.Thread(target=self._client, args=(name, communicator), daemon=True)
            for name in self.settings
        ]
        for thread in threads:
            thread.start()
        try:
            controller.run()
        finally:
            self.over.set()
            for thread in threads:
                thread.join(timeout=10)
            communicator.finalize_run(server)

    def report(self) -> Any:
        """What the job left about its rounds."""
        return json.loads((self.folder / "job" / "rounds.json").read_text())

    def survivors(self) -> list[str]:
        """The initials of who was in the sum, round by round."""
        return ["".join(name[0] for name in done["survivors"]) for done in self.report()["rounds"]]

    # The parts of a server's engine that are used --------------------------------------------------------

    def new_context(self) -> FLContext:
        return FLContextManager(engine=self, identity_name="server", job_id="job").new_context()

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Nobody here waits for events."""

    def get_clients(self) -> list[Client]:
        return [Client(f"client-{name}", "") for name in self.settings]

    def get_workspace(self) -> Any:
        (self.folder / "job").mkdir(exist_ok=True)
        return self

    def get_run_dir(self, job_id: str) -> str:
        return str(self.folder / job_id)

    # A client --------------------------------------------------------------------------------------------

    def _client(self, name: str, communicator: WFCommServer) -> None:
        client, context = Client(f"client-{name}", ""), client_context(name, self.settings[name])
        while not self.over.is_set():
            task, number, data = communicator.process_task_request(client, self.new_context())
            if data is None:
                time.sleep(0.005)
                continue
            executor = self.executors.get(name) or SecureExecutor(Trainer(name))
            fate = self.fate(name, message_in(data))
            if fate == "lost":
                result = make_reply(ReturnCode.EXECUTION_EXCEPTION)
            else:
                request = fobs.loads(fobs.dumps(data))
                result = executor.execute(task, request, context, Signal())
            if fate == "unanswered":
                result = make_reply(ReturnCode.EXECUTION_EXCEPTION)
            if fate == "silent":
                self.over.wait(self.silence)
            received = fobs.dumps(result)
            self.received.append(received)
            communicator.process_submission(client, task, number, fobs.loads(received), self.new_context())


def client_context(name: str, site: Path) -> FLContext:
    """What NVFlare tells an executor of the client, whose directory `local` has the site's settings."""
    root = site.parent.parent / f"client-{name}"
    for folder in ("startup", "local"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if not (root / "local" / "sordino").exists():
        (root / "local" / "sordino").symlink_to(site.parent)
    context = FLContext()
    context.set_prop(ReservedKey.IDENTITY_NAME, f"client-{name}", private=False, sticky=True)
    context.set_prop(
        FLContextKey.WORKSPACE_OBJECT, Workspace(str(root), site_name=f"client-{name}"), private=True
    )
    return context


def message_in(data: Shareable) -> Any:
    """The message of the protocol that a task carries."""
    found = unseal(data)
    return wire.read_at_site(found[0], len(NAMES)) if found is not None else None


def lose(steps: Mapping[str, str], rounds: Iterable[int] = (1,), *, how: str = "lost") -> Fate:
    """A fate: the sites of `steps` give no answer from that message on, in these rounds of the session."""
    gone = gone_from(steps, rounds)
    return lambda name, message: how if gone(name, message) else ""


def controller_of(folder: Path, policy: Policy, *, rounds: int = 1, **options: Any) -> SecureFedAvg:
    roster = read_roster(folder / NAMES[0] / "roster.toml")
    return SecureFedAvg(
        policy=pack_policy(policy),
        roster={name: roster.key(name).hex() for name in roster.names},
        model=base64.b64encode(pack_sent(Sent(dict(MODEL), 0, rounds))).decode(),
        num_rounds=rounds,
        **{"timeout": 30.0, "answer_within": 30.0, **options},
    )
