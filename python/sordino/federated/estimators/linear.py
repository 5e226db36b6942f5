"""Linear regression as a scikit-learn regressor that is trained by secure sums."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from sordino.course.simulated import Summing
from sordino.federated.estimators.estimator import FederatedEstimator
from sordino.federated.study.outcomes.number import Number
from sordino.models.linear import Linear
from sordino.models.model import Vector
from sordino.protocol.policy import AcrossRounds


class FederatedLinearRegression(RegressorMixin, FederatedEstimator):  # type: ignore[misc]
    """Linear regression with L2 and L1 penalties, by federated averaging over secure sums.

    The target is brought to mean 0 and standard deviation 1 first, by three secure sums of its own, so that
    the lanes fit whatever its unit is.

    l2  penalty (l2 / 2) ||coef||^2 on half the mean squared error of standardised features and target
    l1  penalty l1 ||coef||_1, which the coordinator applies after every round
    The rest is as in `FederatedEstimator`.

    Fitted: `coef_` (features,) and `intercept_`, both for features and target as they were given,
    `target_mean_` and `target_scale_`, and what `FederatedEstimator` says.
    """

    def __init__(
        self,
        *,
        l2: float = 0.01,
        l1: float = 0.0,
        rounds: int = 60,
        local_steps: int = 1,
        batch_size: int | None = None,
        learning_rate: float | Literal["auto"] = "auto",
        momentum: float = 0.8,
        standardise: bool = True,
        aggregator: Summing = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
    ) -> None:
        self.l2 = l2
        self.l1 = l1
        self.rounds = rounds
        self.local_steps = local_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.standardise = standardise
        self.aggregator = aggregator
        self.across_rounds = across_rounds
        self.max_patients = max_patients

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
