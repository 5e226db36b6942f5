# SPDX-License-Identifier: Apache-2.0

"""Sites with keys, rosters and journals on disk, and an app whose training is always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flower_grid import InProcessGrid, Node
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Result, Strategy

from sordino.adapters.flower import SecureStrategy, plan_question, secure_mod
from sordino.files.identity import write_identity
from sordino.files.settings import roster_entry
from sordino.protocol import wire
from sordino.protocol.policy import Policy, plan_policy

NAMES = ("aachen", "bergen", "coimbra", "delft", "essen", "fulda")
MODEL = {"weights": np.zeros((3, 2), np.float32), "bias": np.full(2, 0.25, np.float32)}


def site_files(
    folder: Path, names: tuple[str, ...] = NAMES, *, floor: str = "", budget: str = ""
) -> dict[str, Path]:
    """Keys, one roster and a site.toml for each site; gives the paths of the latter."""
    entries, settings = [], {}
    for name in names:
        (folder / name).mkdir(parents=True)
        entries.append(roster_entry(write_identity(folder / name / f"{name}.key", name)))
    for name in names:
        (folder / name / "roster.toml").write_text("\n".join(entries))
        settings[name] = folder / name / "site.toml"
        settings[name].write_text(
            f'name = "{name}"\nidentity = "{name}.key"\nroster = "roster.toml"\njournal = "journal"\n'
            f'dataset = "scans"\n[floor]\n{floor or default_floor()}\n{budget}'
        )
    return settings


def default_floor() -> str:
    return 'across_rounds = ["accept", "freeze", "noise"]\nsemi_honest = true'


def target_of(name: str, server_round: int) -> dict[str, np.ndarray]:
    """What a site's training makes of the model: anything, but always the same."""
    random = np.random.default_rng([NAMES.index(name), server_round])
    return {key: random.uniform(-1, 1, value.shape).astype(np.float32) for key, value in MODEL.items()}


def count_of(name: str) -> int:
    return 100 + 7 * NAMES.index(name)


def loss_of(name: str) -> float:
    return 0.5 + 0.0625 * NAMES.index(name)


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
        arrays = {key: Array(sent[key].numpy() + value) for key, value in target_of(name, number).items()}
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
        metrics = MetricRecord({"num-examples": count_of(name), "accuracy": loss_of(name) / 2})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def study_policy(**terms: Any) -> Policy:
    """Training and evaluation over the six sites, malicious mode, sites may come and go."""
    plan = [
        plan_question(
            "train", ArrayRecord(model_arrays()), sites=6, max_weight=1000, clip=4.0, metrics={"loss": 8.0}
        ),
        plan_question("evaluate", None, sites=6, max_weight=1000, metrics={"accuracy": 1.0}),
    ]
    return plan_policy(
        **{"study": "towards", "sites": 6, "plan": plan, "across_rounds": "accept", "rounds": 100, **terms}
    )


def model_arrays() -> dict[str, Array]:
    return {key: Array(value) for key, value in MODEL.items()}


def nodes_of(
    settings: Mapping[str, Path], *, mods: list[Any] | None = None, **apps: ClientApp
) -> dict[str, Node]:
    return {
        name: Node(10 + place, apps.get(name) or training_app(name, mods=mods), {"sordino-site": str(path)})
        for place, (name, path) in enumerate(settings.items())
    }


def change_of(name: str, server_round: int, model: Mapping[str, np.ndarray] = MODEL) -> np.ndarray:
    """What a site's training adds, as it comes out of float32: the block of all arrays."""
    target = target_of(name, server_round)
    return np.concatenate([((model[key] + target[key]) - model[key]).ravel() for key in sorted(model)])


def phase_of(message: Message) -> str:
    """Which message of the protocol this is, by its type's name; "" if it is none."""
    record = message.content.config_records.get("sordino", {})
    return type(wire.read_at_site(record["request"], len(NAMES))).__name__ if "request" in record else ""


def lose(
    nodes: Mapping[str, Node], steps: Mapping[str, str], *, verdict: str = "lost", rounds: range = range(1, 2)
) -> Callable[[Node, Message], str]:
    """A fate: the sites of `steps` are lost from that message on, in these rounds of the session."""
    by_number = {node.number: name for name, node in nodes.items()}
    order = ["UploadRequest", "ConfirmRequest", "UnmaskRequest", "RecoverRequest"]
    current = 0

    def fate(node: Node, message: Message) -> str:
        nonlocal current
        phase, step = phase_of(message), steps.get(by_number[node.number])
        if phase == "UploadRequest":
            current = wire.read_at_site(message.content["sordino"]["request"], len(NAMES)).round
        if step is None or phase not in order or current not in rounds:
            return ""
        return verdict if order.index(phase) >= order.index(step) else ""

    return fate


def start(
    grid: InProcessGrid, strategy: Strategy, policy: Policy, folder: Path, *, rounds: int = 1, **options: Any
) -> tuple[SecureStrategy, Result]:
    """Run a study whose sites answer at once or never."""
    within = {"answer_within": 0.15, **options}
    secure = SecureStrategy(strategy, policy, folder / "aachen" / "roster.toml", **within)
    return secure, secure.start(
        grid, ArrayRecord(model_arrays()), num_rounds=rounds, timeout=within["answer_within"]
    )
