# SPDX-License-Identifier: Apache-2.0

"""The model matrix without its batches: least squares with every batch's mean projected out where it is.

The model of feature g is y = alpha + x beta + gamma_batch + delta_batch * noise. With an indicator column for
each batch, the normal equations of beta are those of rows from which the batch's means have been taken
(Frisch, Waugh & Lovell). So a batch needs no lanes of its own, and sums over all batches give

    beta     from the scatter of (x, y) about the batches' means
    alpha    = sum(y - x beta) / N, since sum_i n_i gamma_i = 0 by definition
    sigma^2  = (scatter of y - x beta) / N

Each feature has its own N and its own scatter of x, over the patients who have a value of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector

_DEPENDENT = 1e-8
"""Part of its variance that a covariate must keep once batches and other covariates are taken out."""


@dataclass(frozen=True)
class Moments:
    """Counts, sums and products of (x, y), for every feature y with p covariates x.

    rows      patients with a value, shape (features,)
    sums      shape (features, p + 1)
    scatter   sum of products about the batches' means, shape (features, p + 1, p + 1)
    """

    rows: Vector
    sums: Matrix
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, covariates: Matrix, features: Matrix) -> Moments:
        """Of the rows of one batch; a feature of one value scatters by exactly 0."""
        joint, present = _joint(covariates, features)
        rows = present.sum(axis=0).astype(np.float64)
        first = np.take_along_axis(joint, np.argmax(present, axis=0)[None, :, None], axis=0)
        centred = np.where(present[:, :, None], joint - first, 0.0)
        centred -= centred.sum(axis=0) / np.maximum(rows, 1.0)[:, None]
        centred[~present] = 0.0
        return cls(rows, joint.sum(axis=0), np.einsum("nfi,nfj->fij", centred, centred))

    @classmethod
    def nothing(cls, features: int, covariates: int) -> Moments:
        """Of no rows."""
        width = covariates + 1
        return cls(np.zeros(features), np.zeros((features, width)), np.zeros((features, width, width)))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.rows + other.rows, self.sums + other.sums, self.scatter + other.scatter)

    def products(self) -> NDArray[np.float64]:
        """Sums of products about zero, of one batch: what adds up over the sites that share it."""
        return self.scatter + self._of_means()

    @classmethod
    def from_products(cls, rows: Vector, sums: Matrix, products: NDArray[np.float64]) -> Moments:
        """The inverse of `products`."""
        found = cls(rows, sums, products)
        return cls(rows, sums, products - found._of_means())

    def _of_means(self) -> NDArray[np.float64]:
        outer: NDArray[np.float64] = self.sums[:, :, None] * self.sums[:, None, :]
        outer /= np.maximum(self.rows, 1.0)[:, None, None]
        return outer

    def level(self, beta: Matrix) -> Vector:
        """The mean of y - x beta; 0 where there are no rows. `beta` has shape (features, p)."""
        total = self.sums[:, -1] - np.einsum("fi,fi->f", self.sums[:, :-1], beta)
        level: Vector = total / np.maximum(self.rows, 1.0)
        return level

    def residual(self, beta: Matrix) -> Vector:
        """The scatter of y - x beta."""
        contrast = np.column_stack([-beta, np.ones(len(beta))])
        scatter: Vector = np.einsum("fi,fij,fj->f", contrast, self.scatter, contrast)
        return np.maximum(scatter, 0.0)


def coefficients(total: Moments, covariates: Sequence[str], columns: Sequence[str]) -> Matrix:
    """Beta, shape (features, p).

    Raises `InvalidArgument`, naming the covariate and the feature, where a covariate does not vary within
    the batches, or only together with covariates before it.
    """
    inside, target = total.scatter[:, :-1, :-1], total.scatter[:, :-1, -1]
    for place, name in enumerate(covariates):
        before, cross = inside[:, :place, :place], inside[:, :place, place]
        own = inside[:, place, place]
        rest = own - np.einsum("fi,fi->f", cross, np.linalg.solve(before, cross[:, :, None])[:, :, 0])
        # A covariate is in units of its spread at the sites: about 1 for each of its rows.
        if len(lost := np.flatnonzero(own <= _DEPENDENT * total.rows)):
            raise InvalidArgument(
                f"covariate {name!r} is confounded with the batch: it does not vary within any batch "
                f"(feature {columns[lost[0]]!r})"
            )
        if len(lost := np.flatnonzero(rest <= _DEPENDENT * own)):
            raise InvalidArgument(
                f"covariate {name!r} is confounded: within the batches it follows from the covariates "
                f"{list(covariates[:place])} (feature {columns[lost[0]]!r})"
            )
    solved: Matrix = np.linalg.solve(inside, target[:, :, None])[:, :, 0].astype(np.float64)
    return solved


def _joint(covariates: Matrix, features: Matrix) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(x, y) of shape (patients, features, p + 1), 0 where y is missing, and where it is not."""
    present = ~np.isnan(features)
    shape = (*features.shape, covariates.shape[1])
    joint = np.concatenate(
        [np.broadcast_to(covariates[:, None, :], shape), np.where(present, features, 0.0)[:, :, None]], axis=2
    )
    return np.where(present[:, :, None], joint, 0.0), present
