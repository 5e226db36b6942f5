# SPDX-License-Identifier: Apache-2.0

"""The site's side: an executor that lets nothing out of a client but messages of the protocol."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.dxo import DXO
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, FLMetaKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from sordino.adapters.named import contribution_of, unpack_sent
from sordino.adapters.nvflare.envelope import seal, unseal
from sordino.adapters.seat import Seat
from sordino.aggregation.base import Contribution
from sordino.errors import ConfigError, RequestRefused, StateError
from sordino.files.durable import write_durably
from sordino.files.settings import read_site
from sordino.protocol.site import Task

SITE_FILE = Path("sordino", "site.toml")
"""Where a client looks for its settings in its own `local` directory, which no job can write."""

SITE_VARIABLE = "SORDINO_SITE"
"""The environment variable that has the path where there is no such file; `{client}` is the client's name."""

_TERMS = "sordino"


def made_with(
    *, sampling_rate: float = 1.0, local_steps: int = 0, local_sigma: float = 0.0
) -> dict[str, dict[str, float]]:
    """What a training adds to its `FLModel.meta` to say by which terms of a noise its result was made."""
    return {
        _TERMS: {"sampling_rate": sampling_rate, "local_steps": local_steps, "local_sigma": local_sigma},
    }


class SilentTrainer(ClientAPIExecutor):  # type: ignore[misc]
    """Runs a script of NVFlare's Client API; its `flare.log` goes nowhere: events travel in the clear."""

    def fire_log_analytics(self, fl_ctx: FLContext, dxo: DXO) -> None:
        """Send nothing."""


class SecureExecutor(Executor):  # type: ignore[misc]
    """Answers requests of the protocol, and asks `trainer` only for what goes into a masked sum.

    trainer   any executor whose result is an FLModel, as `SilentTrainer`; it gets a task named like the
              question ("train")

    Who the site is, whom it knows and what it accepts is in `local/sordino/site.toml` of the client, else
    where the variable SORDINO_SITE says; what it has done is in the journal named there, and the session is
    beside the file. Whatever goes wrong here or in the trainer, the server is told no more than
    `Site.refusal` says: the rest is in the client's log.
    """

    def __init__(self, trainer: Executor) -> None:
        super().__init__()
        self.trainer = trainer

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Answer a task of the server; one that is none of the protocol's never reaches the trainer."""
        try:
            found = unseal(shareable)
            if found is None:
                raise RequestRefused(f"task {task_name!r} is not for a secure sum, and is not answered here")
            settings = read_site(path := _site_path(fl_ctx))
            state = path.parent / "session.state"
            seat = Seat(settings, state.read_bytes() if state.exists() else b"")

            def contribute(task: Task, groups: Collection[str]) -> Contribution:
                return self._train(task, groups, fl_ctx, abort_signal)

            reply = seat.answer(*found, contribute)
            write_durably(state, seat.save(), sync=False)
        except Exception:  # noqa: BLE001 - of which the server is told nothing
            self.log_exception(fl_ctx, "a task was not answered", fire_event=False)
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        return seal(reply.data, reply.payload)

    def _train(
        self, task: Task, groups: Collection[str], fl_ctx: FLContext, abort_signal: Signal
    ) -> Contribution:
        kind, sent = task.question.kind, unpack_sent(task.body)
        model = FLModel(
            params_type=ParamsType.FULL,
            params=dict(sent.arrays),
            current_round=sent.round,
            total_rounds=sent.rounds,
        )
        result = self.trainer.execute(kind, FLModelUtils.to_shareable(model), fl_ctx, abort_signal)
        if (code := result.get_return_code()) != ReturnCode.OK:
            raise StateError(f"the trainer failed: {code}")
        given = FLModelUtils.from_shareable(result)
        meta: Mapping[str, Any] = given.meta or {}
        return contribution_of(
            task.question,
            groups,
            sent.arrays,
            dict(given.params or {}),
            given.metrics or {},
            meta.get(FLMetaKey.NUM_STEPS_CURRENT_ROUND),
            difference=given.params_type == ParamsType.DIFF,
            terms=meta.get(_TERMS, {}),
        )


def _site_path(fl_ctx: FLContext) -> Path:
    """Where this client has its `site.toml`."""
    workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
    pinned = Path(workspace.get_site_config_dir()) / SITE_FILE if workspace is not None else None
    if pinned is not None and pinned.exists():
        return pinned
    if named := os.environ.get(SITE_VARIABLE):
        return Path(named.replace("{client}", fl_ctx.get_identity_name()))
    raise ConfigError(f"this client has no {SITE_FILE} in its directory `local`, and no {SITE_VARIABLE}")
