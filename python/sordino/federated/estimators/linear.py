# SPDX-License-Identifier: Apache-2.0

"""Linear regression as a scikit-learn regressor that is trained by secure sums."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from sordino.federated.estimators.linear_form import LinearFormEstimator
from sordino.federated.study.outcomes.number import Number
from sordino.models.linear import Linear
from sordino.models.model import Vector


class FederatedLinearRegression(RegressorMixin, LinearFormEstimator):  # type: ignore[misc]
    """Linear regression with L2 and L1 penalties, by federated averaging over secure sums.

    The target is brought to mean 0 and standard deviation 1 first, by three secure sums of its own, so that
    the lanes fit whatever its unit is.

    Settings are as in `LinearFormEstimator`; the loss is half the squared error of the standardised target.

    Fitted: `coef_` (features,) and `intercept_`, both for features and target as they were given,
    `target_mean_` and `target_scale_`, and what `FederatedEstimator` says.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sites: ArrayLike | None = None) -> Self:
        """Train on rows `X` (patients, features) with numbers `y`, each at the site that `sites` names.

        `sites` holds a label for each row, of at least three sites; by default the rows are dealt in turn to
        three simulated ones. Raises `InvalidArgument` (a ValueError) for what does not fit together.
        """
        self._check_parameters()
        features, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        rows = self._rows(features, target.astype(np.float64), sites)
        self._model = Linear(self.n_features_in_, self.l2, self.l1)
        state = self._train(self._model, rows, Number())
        self._parameters = state["parameters"]
        self.target_mean_ = float(state["target_mean"][0])
        self.target_scale_ = float(state["target_scale"][0])
        coefficients, offset = self._unscaled(self._parameters[:-1])
        self.coef_ = self.target_scale_ * coefficients
        self.intercept_ = self.target_mean_ + self.target_scale_ * (float(self._parameters[-1]) + offset)
        return self

    def predict(self, X: ArrayLike) -> Vector:
        """The expected number of each row, shape (patients,)."""
        features = self._features(X)
        return self.target_mean_ + self.target_scale_ * self._model.decision(self._parameters, features)
