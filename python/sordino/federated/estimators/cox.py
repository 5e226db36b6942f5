# SPDX-License-Identifier: Apache-2.0

"""Cox regression as a scikit-learn estimator, fitted by secure risk-set sums over the sites of its rows."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sordino.course.simulated import Summing, site_names, sites_of_rows
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import AcrossRounds
from sordino.survival.concordance import harrell
from sordino.survival.cox import cox_regression
from sordino.survival.grid import INTERVALS, LEAST_PATIENTS, TimeGrid
from sordino.survival.rows import SurvivalRows, times_and_events


class FederatedCox(BaseEstimator):  # type: ignore[misc]
    """Cox's proportional hazards by Newton steps over secure risk-set sums: the pooled fit on the time grid.

    All sites live in this process, which shows what a study gives but keeps nothing from whoever runs it.

    grid                a number of intervals, increasing times, or "exact" for all event times
    least_patients      so many patients leave between neighbouring times of the grid at least
    discloses_patients  True allows less, so that covariates of single patients can be worked out
    l2                  penalty (l2 / 2) ||coef||^2 on the mean log-likelihood of standardised features
    aggregator          "masked", "plain" for sums in the clear, or a callable that makes one
    across_rounds       "freeze" or "accept", see `sordino.protocol.policy.Policy`
    max_patients        public bound on the rows of one site; None for the next power of two
    max_sums            risk-set sums before it is given up

    Fitted: `coef_` and `standard_errors_`, of shape (features,), for the features as they were given;
    `unique_times_` and `cum_baseline_hazard_` of x = 0, of shape (times,); `log_likelihood_`; `n_iter_`, the
    risk-set sums; `fit_`, all of it (`sordino.survival.cox.CoxFit`); `sites_`, `n_features_in_` and, where
    known, `feature_names_in_`.
    """

    def __init__(
        self,
        *,
        grid: TimeGrid = INTERVALS,
        least_patients: int = LEAST_PATIENTS,
        discloses_patients: bool = False,
        l2: float = 0.0,
        aggregator: Summing = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
        max_sums: int = 50,
    ) -> None:
        self.grid = grid
        self.least_patients = least_patients
        self.discloses_patients = discloses_patients
        self.l2 = l2
        self.aggregator = aggregator
        self.across_rounds = across_rounds
        self.max_patients = max_patients
        self.max_sums = max_sums

    def fit(self, X: ArrayLike, y: ArrayLike, sites: ArrayLike | None = None) -> Self:
        """Fit rows `X` (patients, features) to `y`, each at the site that `sites` names.

        y      a structured array (event, time), as scikit-survival has it, or columns (time, event)
        sites  a label for each row, three at least; by default rows are dealt in turn to three simulated ones

        Raises `InvalidArgument` (a ValueError) for what does not fit together, and as `cox_regression` does.
        """
        features = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        time, event = times_and_events(y)
        check_consistent_length(features, time)
        self.sites_, members = sites_of_rows(sites, len(time))
        columns = tuple(str(name) for name in getattr(self, "feature_names_in_", range(features.shape[1])))
        rows = {
            name: SurvivalRows(
                name, features[members == place], time[members == place], event[members == place], columns
            )
            for place, name in enumerate(site_names(len(self.sites_)))
        }
        self.fit_ = cox_regression(rows, **self.get_params())
        self.coef_, self.standard_errors_ = self.fit_.coefficients, self.fit_.standard_errors
        self.unique_times_, self.cum_baseline_hazard_ = self.fit_.cuts, self.fit_.baseline()
        self.log_likelihood_, self.n_iter_ = self.fit_.log_likelihood, self.fit_.sums
        return self

    def predict(self, X: ArrayLike) -> Vector:
        """Log of the hazard relative to a patient at the mean, shape (patients,): the higher, the sooner."""
        features = self._features(X)
        return self.fit_.score(features)

    def predict_survival(self, X: ArrayLike, times: ArrayLike | None = None) -> Matrix:
        """Chance to survive each time (default: `unique_times_`), shape (patients, times)."""
        features = self._features(X)
        return self.fit_.survival(features, None if times is None else np.asarray(times))

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Harrell's C-index of these rows."""
        predicted = self.predict(X)
        time, event = times_and_events(y)
        check_consistent_length(predicted, time)
        return harrell(time, event, predicted)

    def _features(self, X: ArrayLike) -> Matrix:
        check_is_fitted(self)
        features: Matrix = validate_data(self, X, dtype=np.float64, reset=False)
        return features

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
