# SPDX-License-Identifier: Apache-2.0

"""ComBat over pooled rows, plainly, feature by feature, from Johnson, Li & Rabinovic (2007).

A design matrix with a column for each batch, least squares, standardisation, empirical Bayes by iteration.
Reference batch: Zhang, Jenkins, Manimaran & Johnson (2018). Location only: as sva and neuroCombat have it.
Missing values (NaN): each feature over the rows that have it.
"""

from __future__ import annotations

import numpy as np


def combat(
    features,
    batches,
    covariates=None,
    *,
    empirical_bayes=True,
    location_only=False,
    reference=None,
    tolerance=1e-4,
):
    """(adjusted, estimates): `features` (patients, columns), `covariates` (patients, p)."""
    features, batches = np.asarray(features, dtype=float), np.asarray(batches)
    patients, columns = features.shape
    covariates = np.zeros((patients, 0)) if covariates is None else np.asarray(covariates, dtype=float)
    labels = sorted(set(batches.tolist()))
    design = np.column_stack([*((batches == label).astype(float) for label in labels), covariates])
    mean = np.full((patients, columns), np.nan)
    alpha, sigma = np.full(columns, np.nan), np.full(columns, np.nan)
    beta = np.full((columns, covariates.shape[1]), np.nan)
    for g in range(columns):
        here = ~np.isnan(features[:, g])
        y, matrix = features[here, g], design[here]
        coefficients = np.linalg.lstsq(matrix, y, rcond=None)[0]
        beta[g] = coefficients[len(labels) :]
        residual = y - matrix @ coefficients
        if reference is None:
            sizes = matrix[:, : len(labels)].sum(axis=0)
            alpha[g] = sizes @ coefficients[: len(labels)] / sizes.sum()
            sigma[g] = np.sqrt(np.mean(residual**2))
        else:
            alpha[g] = coefficients[labels.index(reference)]
            sigma[g] = np.sqrt(np.mean(residual[batches[here] == reference] ** 2))
        mean[:, g] = alpha[g] + covariates @ beta[g]
    z = (features - mean) / sigma
    adjusted, gammas, deltas = features.copy(), {}, {}
    for label in labels:
        here = batches == label
        if label == reference:
            continue
        gamma, delta = _effect(z[here], empirical_bayes, location_only, tolerance)
        adjusted[here] = (z[here] - gamma) / np.sqrt(delta) * sigma + mean[here]
        gammas[label], deltas[label] = gamma, delta
    return adjusted, {"alpha": alpha, "beta": beta, "sigma": sigma, "gamma": gammas, "delta": deltas}


def _effect(z, empirical_bayes, location_only, tolerance):
    n = (~np.isnan(z)).sum(axis=0)
    gamma_hat = np.nanmean(z, axis=0)
    delta_hat = np.ones(z.shape[1]) if location_only else np.nanvar(z, axis=0, ddof=1)
    if not empirical_bayes:
        return gamma_hat, delta_hat
    gamma_bar, tau2 = gamma_hat.mean(), gamma_hat.var(ddof=1)
    if location_only:
        return (tau2 * gamma_hat + gamma_bar) / (tau2 + 1), delta_hat
    v, s2 = delta_hat.mean(), delta_hat.var(ddof=1)
    lam, theta = (v**2 + 2 * s2) / s2, (v**3 + v * s2) / s2
    gamma, delta = gamma_hat, delta_hat
    while True:
        new_gamma = (n * tau2 * gamma_hat + delta * gamma_bar) / (n * tau2 + delta)
        new_delta = (theta + 0.5 * np.nansum((z - new_gamma) ** 2, axis=0)) / (n / 2 + lam - 1)
        change = max(np.max(abs(new_gamma - gamma) / abs(gamma)), np.max(abs(new_delta - delta) / delta))
        gamma, delta = new_gamma, new_delta
        if change < tolerance:
            return gamma, delta
