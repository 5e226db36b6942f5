# SPDX-License-Identifier: Apache-2.0

"""What a Cox model and its sums say of single patients: a loss of each, and the rows behind risk-set sums."""

from __future__ import annotations

import numpy as np

from sordino.models.cox import survival_target
from sordino.models.model import Matrix, Vector

_FARTHEST = 30.0


def survival_losses(parameters: Vector, rows: Matrix, target: Vector, known: Matrix) -> Vector:
    """Minus the log-likelihood of each patient, shape (patients,), with Breslow's hazard in its place.

    The partial likelihood is no sum over patients. The full one is, once the baseline hazard is known: the
    attacker, who knows all patients' rows, has it of them (Breslow 1974), without ties' common factor:

        H(t) exp(x b) - event (x b - log S0(t)),  S0(t) the sum of exp(x b) over those at risk

    rows, target   of the patients, standardised; shapes (patients, columns) and (patients, 2)
    known          the same patients' rows as they are, of which the hazard is made
    """
    time, event = survival_target(target)
    order = np.argsort(-time, kind="stable")
    risks = np.exp(np.clip(known @ parameters, -_FARTHEST, _FARTHEST))
    # Those at risk at a time are all who are followed as long, so ties take the last of their sums.
    followed = np.searchsorted(-time[order], -time, side="right") - 1
    at_risk = np.cumsum(risks[order])[followed]
    steps = np.where(event, 1.0 / at_risk, 0.0)
    upwards = order[::-1]
    until = np.searchsorted(time[upwards], time, side="right") - 1
    hazard = np.cumsum(steps[upwards])[until]
    score = np.clip(rows @ parameters, -_FARTHEST, _FARTHEST)
    loss: Vector = hazard * np.exp(score) - np.where(event, score - np.log(at_risk), 0.0)
    return loss


def rows_behind(zero: Vector, first: Matrix) -> Matrix:
    """Mean rows of those last at risk at each cut where somebody is: a patient's own where it is one.

    zero, first   the sums of w and of w x there, shapes (cuts,) and (cuts, columns), as in `models.cox`
    """
    found: Matrix = first[zero > 0.5] / zero[zero > 0.5, np.newaxis]
    return found
