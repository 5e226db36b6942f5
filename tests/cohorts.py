# SPDX-License-Identifier: Apache-2.0

"""Survival data for tests: made-up patients, and those of real data sets dealt to sites."""

from __future__ import annotations

import numpy as np

from sordino.survival.rows import SurvivalRows


def at_sites(features, time, event, where, columns=None):
    """The rows of each site that `where` names."""
    columns = columns or tuple(f"feature {number}" for number in range(features.shape[1]))
    return {
        str(name): SurvivalRows(
            str(name), features[where == name], time[where == name], event[where == name], columns
        )
        for name in np.unique(where)
    }


def lung():
    """lifelines' `load_lung`: patients with all of these values, at their institutions."""
    from lifelines.datasets import load_lung

    columns = ["age", "sex", "ph.ecog", "ph.karno", "pat.karno"]
    table = load_lung()[["inst", "time", "status", *columns]].dropna()
    where = np.array([f"inst-{int(number):02}" for number in table["inst"]])
    return (
        table[columns].to_numpy(float),
        table["time"].to_numpy(float),
        table["status"].to_numpy() == 1,
        where,
        tuple(columns),
    )


def rossi():
    """lifelines' `load_rossi`, dealt in turn to five sites."""
    from lifelines.datasets import load_rossi

    table = load_rossi()
    columns = [name for name in table.columns if name not in ("week", "arrest")]
    return (
        table[columns].to_numpy(float),
        table["week"].to_numpy(float),
        table["arrest"].to_numpy() == 1,
        np.array([f"site-{row % 5}" for row in range(len(table))]),
        tuple(columns),
    )


def made(patients=240, columns=3, sites=4, seed=0, digits=0):
    """Exponential times, some censored, at sites that differ in their features' means."""
    random = np.random.default_rng(seed)
    where = random.integers(0, sites, patients)
    features = random.normal(size=(patients, columns)) + 0.3 * where[:, np.newaxis]
    truth = np.linspace(0.8, -0.6, columns)
    time = 100.0 * random.exponential(np.exp(-features @ truth))
    censored = 100.0 * random.exponential(2.0, size=patients)
    event = time <= censored
    time = np.maximum(np.round(np.minimum(time, censored), digits), 10.0**-digits)
    return features, time, event, np.array([f"site-{number}" for number in where])
