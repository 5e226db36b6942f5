# SPDX-License-Identifier: Apache-2.0

"""Breslow's partial likelihood and what goes with it, patient by patient (Breslow, Biometrics 30, 1974)."""

from __future__ import annotations

import numpy as np


def breslow(features, time, event, b):
    """Log-likelihood, gradient and information at b; the risk set at t is everybody with time >= t."""
    columns = features.shape[1]
    value, gradient, information = 0.0, np.zeros(columns), np.zeros((columns, columns))
    for t, x in zip(time[event], features[event], strict=True):
        there = features[time >= t]
        w = np.exp(there @ b)
        mean = w @ there / w.sum()
        value += x @ b - np.log(w.sum())
        gradient += x - mean
        information += (there * w[:, np.newaxis]).T @ there / w.sum() - np.outer(mean, mean)
    return value, gradient, information


def maximise(features, time, event, l2=0.0):
    """Newton's optimum of the log-likelihood less l2 / 2 |b|^2, with its log-likelihood and information."""
    b = np.zeros(features.shape[1])
    for _ in range(100):
        value, gradient, information = breslow(features, time, event, b)
        step = np.linalg.solve(information + l2 * np.eye(len(b)), gradient - l2 * b)
        b = b + step
        if np.abs(step).max() < 1e-14:
            break
    value, _, information = breslow(features, time, event, b)
    return b, value, information


def coarsened(time, event, cuts):
    """Times on the grid: an event moves to the next cut, a censored patient back to the last one."""
    moved, seen = [], []
    for t, e in zip(time, event, strict=True):
        later = [cut for cut in cuts if cut >= t]
        if e and later:
            moved.append(later[0])
        else:
            earlier = [cut for cut in cuts if cut <= t]
            moved.append(earlier[-1] if earlier else 0.0)
        seen.append(bool(e and later))
    return np.array(moved), np.array(seen)
