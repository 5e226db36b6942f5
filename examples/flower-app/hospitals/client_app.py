# SPDX-License-Identifier: Apache-2.0

"""At a hospital: its rows are in the file that the node's own configuration names under "data"."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hospitals.training import RATE, gradients, losses, trained
from sordino.adapters.flower import secure_mod

app = ClientApp(mods=[secure_mod])
in_the_clear = ClientApp()


def train(message: Message, context: Context) -> Message:
    """Local steps; or, where the sums have noise for patients, every patient's part of one step."""
    with np.load(context.node_config["data"]) as rows:
        features, target = rows["features"], rows["target"]
    _wait(message, context)
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    metrics: dict[str, float | int | list[float]] = {"num-examples": len(target)}
    loss = losses(features, target, model)
    if context.run_config["noise"]:
        moved = {name: -RATE * rows for name, rows in gradients(features, target, model).items()}
        metrics["loss"] = loss.tolist()
    else:
        moved = trained(features, target, model)
        metrics["loss"] = float(loss.mean())
    arrays = ArrayRecord({name: Array(value.astype(np.float32)) for name, value in moved.items()})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)}), reply_to=message)


def _wait(message: Message, context: Context) -> None:
    """The demonstration has one hospital take its time, and kills it meanwhile."""
    if "slow" in context.node_config and message.content["config"]["server-round"] == 2:
        Path(str(context.node_config["slow"])).touch()
        time.sleep(60.0)


app.train()(train)
in_the_clear.train()(train)
