# SPDX-License-Identifier: Apache-2.0

"""Logistic regression as a scikit-learn classifier that is trained by secure sums."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Tags
from sklearn.utils.multiclass import type_of_target

from sordino.errors import InvalidArgument
from sordino.federated.estimators.estimator import FederatedClassifier
from sordino.federated.estimators.linear_form import LinearFormEstimator
from sordino.models.logistic import Logistic
from sordino.models.model import Vector


class FederatedLogisticRegression(FederatedClassifier, LinearFormEstimator):
    """Logistic regression for two classes with L2 and L1 penalties, by federated averaging over secure sums.

    Settings are as in `LinearFormEstimator`; the loss is the log loss of a patient.

    Fitted: `coef_` (1, features) and `intercept_` (1,), both for the features as they were given, `classes_`,
    and what `FederatedEstimator` says.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sites: ArrayLike | None = None) -> Self:
        """Train on rows `X` (patients, features) with two classes `y`, each at the site that `sites` names.

        `sites` holds a label for each row, of at least three sites; by default the rows are dealt in turn to
        three simulated ones. Raises `InvalidArgument` (a ValueError) for what does not fit together.
        """
        rows = self._classes_at_sites(X, y, sites)
        if len(self.classes_) > 2:
            raise InvalidArgument(
                "Only binary classification is supported. The type of the target is "
                f"{type_of_target(y)}; for more classes there is FederatedMLPClassifier."
            )
        self._model = Logistic(self.n_features_in_, self.l2, self.l1)
        self._parameters = self._train(self._model, rows)["parameters"]
        coefficients, offset = self._unscaled(self._parameters[:-1])
        self.coef_ = coefficients[np.newaxis]
        self.intercept_ = self._parameters[-1:] + offset
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Log odds of `classes_[1]`, shape (patients,)."""
        features = self._features(X)
        return self._model.decision(self._parameters, features)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class, shape (patients, 2)."""
        features = self._features(X)
        positive = self._model.probability(self._parameters, features)
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likelier class of each row, shape (patients,)."""
        return self._named((self.decision_function(X) > 0.0).astype(np.intp))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
