# SPDX-License-Identifier: Apache-2.0

"""Logistic regression: local steps of gradient descent, or every patient's own part of one step."""

from __future__ import annotations

import numpy as np

RATE = 0.5
STEPS = 5


def losses(features: np.ndarray, target: np.ndarray, model: dict[str, np.ndarray]) -> np.ndarray:
    """Each patient's log loss; target 0 or 1."""
    margin = (2.0 * target - 1.0) * (features @ model["coefficients"] + model["intercept"])
    return np.logaddexp(0.0, -margin)


def gradients(
    features: np.ndarray, target: np.ndarray, model: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Each patient's gradient, by array: shapes (patients, features) and (patients, 1)."""
    score = features @ model["coefficients"] + model["intercept"]
    error = (1.0 / (1.0 + np.exp(-score)) - target)[:, np.newaxis]
    return {"coefficients": error * features, "intercept": error}


def trained(features: np.ndarray, target: np.ndarray, model: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model after `STEPS` full-batch steps, in float32."""
    for _ in range(STEPS):
        model = {
            name: model[name] - RATE * rows.mean(axis=0)
            for name, rows in gradients(features, target, model).items()
        }
    return {name: value.astype(np.float32) for name, value in model.items()}
