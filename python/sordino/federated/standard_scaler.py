# SPDX-License-Identifier: Apache-2.0

"""scikit-learn's StandardScaler, its means and variances by secure sums over the sites of its rows."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sordino.course.simulated import Summing, site_names, sites_of_rows
from sordino.errors import InvalidArgument
from sordino.models.model import Matrix
from sordino.protocol.policy import AcrossRounds
from sordino.statistics.describing import describe


class FederatedStandardScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features less their mean, over their standard deviation (over n), both by four secure sums.

    All sites live in this process, which shows what a study gives but keeps nothing from whoever runs it. NaN
    is a missing value, left as it is; a constant feature is not scaled.

    with_mean, with_std   whether to take off the mean and to divide by the standard deviation
    aggregator            "masked", "plain" for sums in the clear, or a callable that makes one
    across_rounds         "freeze" or "accept", see `sordino.protocol.policy.Policy`
    max_patients          public bound on the rows of one site; None for the next power of two

    Fitted, each of shape (features,): `mean_`, `var_` (over n), `scale_` (None without `with_std`),
    `n_samples_seen_` (present values); `sites_`, `n_features_in_` and, where known, `feature_names_in_`.
    """

    def __init__(
        self,
        *,
        with_mean: bool = True,
        with_std: bool = True,
        aggregator: Summing = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
    ) -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.aggregator = aggregator
        self.across_rounds = across_rounds
        self.max_patients = max_patients

    def fit(
        self,
        X: ArrayLike,
        y: object = None,  # noqa: ARG002 (a pipeline hands it over)
        sites: ArrayLike | None = None,
    ) -> Self:
        """Learn means and variances of rows `X` (patients, features), each at the site that `sites` names.

        `sites` holds a label for each row, of at least three sites; by default the rows are dealt in turn to
        three simulated ones. Raises `InvalidArgument` (a ValueError) for what does not fit together, and for
        a feature that too few sites have.
        """
        rows: Matrix = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2
        )
        self.sites_, members = sites_of_rows(sites, len(rows))
        columns = tuple(str(name) for name in getattr(self, "feature_names_in_", range(rows.shape[1])))
        found = describe(
            {
                name: (rows[members == place], columns)
                for place, name in enumerate(site_names(len(self.sites_)))
            },
            aggregator=self.aggregator,
            grid=None,
            min_patients=1,
            max_patients=self.max_patients,
            across_rounds=self.across_rounds,
        )
        if found.withheld:
            name, why = next(iter(found.withheld.items()))
            raise InvalidArgument(f"feature {name!r} cannot be scaled: {why}")
        count = found.count
        self.n_samples_seen_ = count.astype(np.int64)
        self.mean_ = found.mean
        # One value has no variance over n - 1, and none over n.
        self.var_ = np.where(count > 1.0, found.variance, 0.0) * (count - 1.0) / count
        self.scale_ = np.where(self.var_ > 0.0, np.sqrt(self.var_), 1.0) if self.with_std else None
        return self

    def transform(self, X: ArrayLike) -> Matrix:
        """(X - mean_) / scale_, float64 of the shape of `X`."""
        rows = self._rows(X)
        rows = rows - self.mean_ if self.with_mean else rows
        return rows if self.scale_ is None else rows / self.scale_

    def inverse_transform(self, X: ArrayLike) -> Matrix:
        """What `transform` made `X` of."""
        rows = self._rows(X)
        rows = rows if self.scale_ is None else rows * self.scale_
        return rows + self.mean_ if self.with_mean else rows

    def _rows(self, X: ArrayLike) -> Matrix:
        check_is_fitted(self)
        rows: Matrix = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False, copy=True
        )
        return rows

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
