# SPDX-License-Identifier: Apache-2.0

"""A job of NVFlare's Recipe API for federated averaging by secure sums."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from nvflare.apis.executor import Executor
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe

from sordino.adapters.named import Floats, Sent, check_model, pack_sent
from sordino.adapters.nvflare.controller import SecureFedAvg, pack_policy
from sordino.adapters.nvflare.envelope import TASK
from sordino.adapters.nvflare.executor import SecureExecutor, SilentTrainer
from sordino.errors import InvalidArgument, PolicyError
from sordino.files.settings import read_roster
from sordino.protocol.keys import Roster
from sordino.protocol.policy import Policy

_REQUEST_SECONDS = 0.2
"""How often a client asks for a task, in place of NVFlare's two seconds: a round is three tasks and more."""


class SecureFedAvgRecipe(Recipe):  # type: ignore[misc]
    """Takes the place of NVFlare's `FedAvgRecipe`; the training script stays as it is.

    policy          its questions are "train" and, where metrics of the new model are wanted, "validate"
    roster          the sites, or the file that every site has pinned
    model           float32 or float64 arrays by name, or the path of an .npz file at the server
    train_script    a script of NVFlare's Client API that receives and sends FLModels; it runs inside the
                    client's process
    trainer         an executor in its place; its class has to be installed at the clients
    aggregator      refused: NVFlare's work on the updates of single sites

    The others are those of `SecureFedAvg`. Raises `PolicyError` for a policy that asks something else, and
    `InvalidArgument` for a model without exactly one lane for every value, and for an aggregator.
    """

    def __init__(
        self,
        *,
        name: str = "secure-fedavg",
        policy: Policy,
        roster: Roster | Path | str,
        model: Mapping[str, Floats] | str,
        num_rounds: int,
        train_script: str = "",
        train_args: str = "",
        trainer: Executor | None = None,
        aggregator: object = None,
        timeout: float = 600.0,
        answer_within: float = 60.0,
        attempts: int = 3,
        delta: float = 1e-5,
        directory: str = "",
    ) -> None:
        if aggregator is not None:
            raise InvalidArgument(
                f"{type(aggregator).__name__} is no secure sum: an aggregator works on the updates of single "
                f"sites, of which the server has the weighted mean alone"
            )
        if unknown := sorted({question.kind for question in policy.plan} - {"train", "validate"}):
            raise PolicyError(f"the questions of an NVFlare job are 'train' and 'validate', not {unknown}")
        if bool(train_script) == (trainer is not None):
            raise InvalidArgument("give either a train_script or a trainer")
        found = roster if isinstance(roster, Roster) else read_roster(Path(roster))
        if not isinstance(model, str):
            check_model(policy.question("train"), model)
            model = base64.b64encode(pack_sent(Sent(dict(model), 0, num_rounds))).decode()
        job = FedJob(name=name, min_clients=policy.smallest_cohort)
        job.set_app_packages(["sordino"])  # every side runs the sordino that it has installed, not the job's
        job.to_server(
            SecureFedAvg(
                policy=pack_policy(policy),
                roster={site: found.key(site).hex() for site in found.names},
                model=model,
                num_rounds=num_rounds,
                timeout=timeout,
                answer_within=answer_within,
                attempts=attempts,
                delta=delta,
                directory=directory,
            )
        )
        job.to_server({"server": {"task_request_interval": _REQUEST_SECONDS}})
        job.to_clients(SecureExecutor(trainer or _runs(train_script, train_args)), tasks=[TASK])
        if train_script:
            job.to_clients(train_script)
        super().__init__(job)


def _runs(script: str, args: str) -> SilentTrainer:
    return SilentTrainer(
        execution_mode="in_process",
        task_script_path=script,
        task_script_args=args,
        params_exchange_format=ExchangeFormat.NUMPY,
        server_expected_format=ExchangeFormat.NUMPY,
        params_transfer_type=TransferType.FULL,
    )
