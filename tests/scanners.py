# SPDX-License-Identifier: Apache-2.0

"""Made-up hospitals whose scanners shift and stretch what they measure, for tests of harmonisation."""

from __future__ import annotations

import numpy as np

SCALES = np.array([1.0, 1e-6, 1e5, 1.0, 20.0, 1e-12])
OFFSETS = np.array([0.0, 1e-6, -3e5, 1e4, 0.0, 0.0])


def hospitals(sites=5, *, patients=18, seed=0):
    """(features, covariates) by site: six features of many magnitudes, that depend on age and sex."""
    random = np.random.default_rng(seed)
    features, covariates = {}, {}
    for place in range(sites):
        size = patients + 3 * place
        age, sex = random.normal(60.0, 9.0, size), random.choice(["f", "m"], size)
        truth = random.normal(size=(size, 6)) * (0.7 + 0.3 * place) + random.normal(size=6)
        truth += 0.05 * (age - 60.0)[:, None] + 0.6 * (sex == "m")[:, None] * np.arange(6)
        features[f"s{place}"] = truth * SCALES + OFFSETS
        covariates[f"s{place}"] = {"age": age, "sex": sex}
    return features, covariates


def pooled(features, batch=None, covariates=None, *, without=()):
    """Rows, batches and coded covariates of all sites but those `without`, for a pooled computation."""
    sites = [site for site in sorted(features) if site not in without]
    rows = np.concatenate([features[site] for site in sites])
    labels = np.concatenate(
        [[site] * len(features[site]) if batch is None else batch[site] for site in sites]
    )
    coded = None
    if covariates is not None:
        ages = np.concatenate([covariates[site]["age"] for site in sites]) - 60.0
        sexes = np.concatenate([covariates[site]["sex"] for site in sites]) == "m"
        coded = np.column_stack([ages, sexes])
    return rows, labels, coded


def stacked(by_site, *, without=()):
    """The sites' rows in order."""
    return np.concatenate([rows for site, rows in sorted(by_site.items()) if site not in without])
