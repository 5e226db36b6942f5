# SPDX-License-Identifier: Apache-2.0

"""A site's training, by NVFlare's Client API: logistic regression on its own rows."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

RATE = 0.5
STEPS = 5

Model = dict[str, np.ndarray]


def loss(features: np.ndarray, target: np.ndarray, model: Model) -> float:
    """The mean log loss; target 0 or 1."""
    margin = (2.0 * target - 1.0) * (features @ model["coefficients"] + model["intercept"])
    return float(np.logaddexp(0.0, -margin).mean())


def trained(features: np.ndarray, target: np.ndarray, model: Model) -> Model:
    """The model after `STEPS` full-batch steps, in float32."""
    for _ in range(STEPS):
        score = features @ model["coefficients"] + model["intercept"]
        error = 1.0 / (1.0 + np.exp(-score)) - target
        model = {
            "coefficients": model["coefficients"] - RATE * (error @ features) / len(target),
            "intercept": model["intercept"] - RATE * error.mean(keepdims=True),
        }
    return {name: value.astype(np.float32) for name, value in model.items()}


def main() -> None:
    """Receive, train, send; until NVFlare says that it is over."""
    import nvflare.client as flare

    flare.init()
    folder = Path(os.environ["HOSPITALS"]) / flare.get_site_name()
    with np.load(folder / "rows.npz") as file:
        features, target = file["features"], file["target"]
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        if received.current_round == 1 and (folder / "slow").exists():
            (folder / "training").touch()  # the demonstration kills this process here
            time.sleep(600.0)
        flare.send(
            flare.FLModel(
                params=trained(features, target, received.params),
                metrics={"loss": loss(features, target, received.params)},
                meta={"NUM_STEPS_CURRENT_ROUND": len(target)},
            )
        )


if __name__ == "__main__":
    main()
