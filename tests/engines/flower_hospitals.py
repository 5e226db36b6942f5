# SPDX-License-Identifier: Apache-2.0

"""The study of `studies` as a Flower app over an in-process grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import studies
from flower_grid import InProcessGrid, Node
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Result, Strategy
from studies import MODEL, NAMES, accuracy_of, count_of, gone_from, loss_of

from sordino.adapters.flower import SecureStrategy, secure_mod
from sordino.protocol import wire
from sordino.protocol.policy import Policy

study_policy = partial(studies.study_policy, "evaluate")


def training_app(
    name: str,
    *,
    mods: list[Any] | None = None,
    change: Callable[[RecordDict], None] = lambda content: None,
) -> ClientApp:
    """The app of one site; `change` tampers with its reply."""
    app = ClientApp(mods=[secure_mod] if mods is None else mods)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = message.content["config"]["server-round"]
        sent = message.content["arrays"]
        arrays = {
            key: Array(sent[key].numpy() + value) for key, value in studies.target_of(name, number).items()
        }
        content = RecordDict(
            {
                "arrays": ArrayRecord(arrays),
                "metrics": MetricRecord({"num-examples": count_of(name), "loss": loss_of(name)}),
            }
        )
        change(content)
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": count_of(name), "accuracy": accuracy_of(name)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def model_arrays() -> dict[str, Array]:
    return {key: Array(value) for key, value in MODEL.items()}


def nodes_of(
    settings: Mapping[str, Path], *, mods: list[Any] | None = None, **apps: ClientApp
) -> dict[str, Node]:
    return {
        name: Node(10 + place, apps.get(name) or training_app(name, mods=mods), {"sordino-site": str(path)})
        for place, (name, path) in enumerate(settings.items())
    }


def request_in(message: Message) -> Any:
    """The message of the protocol that this is; None if it is none."""
    record = message.content.config_records.get("sordino", {})
    return wire.read_at_site(record["request"], len(NAMES)) if "request" in record else None


def lose(
    nodes: Mapping[str, Node],
    steps: Mapping[str, str],
    *,
    verdict: str = "lost",
    rounds: Iterable[int] = (1,),
) -> Callable[[Node, Message], str]:
    """A fate: the sites of `steps` are lost from that message on, in these rounds of the session."""
    names = {node.number: name for name, node in nodes.items()}
    gone = gone_from(steps, rounds)
    return lambda node, message: verdict if gone(names[node.number], request_in(message)) else ""


def fedavg(**options: Any) -> FedAvg:
    return FedAvg(fraction_evaluate=0.0, **options)


def survivors(secure: SecureStrategy) -> list[str]:
    """The initials of who was in the sum, round by round."""
    return ["".join(name[0] for name in done.survivors) for done in secure.rounds]


def arrays_of(result: Result) -> dict[str, Any]:
    return {key: array.numpy() for key, array in result.arrays.items()}


def start(
    grid: InProcessGrid, strategy: Strategy, policy: Policy, folder: Path, *, rounds: int = 1, **options: Any
) -> tuple[SecureStrategy, Result]:
    """Run a study whose sites answer at once or never."""
    within = {"answer_within": 0.15, **options}
    secure = SecureStrategy(strategy, policy, folder / "aachen" / "roster.toml", **within)
    return secure, secure.start(
        grid, ArrayRecord(model_arrays()), num_rounds=rounds, timeout=within["answer_within"]
    )
