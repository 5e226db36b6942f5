# SPDX-License-Identifier: Apache-2.0

"""A multi-layer perceptron as a scikit-learn classifier that is trained by secure sums."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sordino.course.simulated import Summing
from sordino.errors import InvalidArgument
from sordino.federated.estimators.estimator import FederatedClassifier
from sordino.models.layers import Activation
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.protocol.policy import AcrossRounds


class FederatedMLPClassifier(FederatedClassifier):
    """A multi-layer perceptron for two classes or more, by federated averaging over secure sums.

    hidden         units of each hidden layer
    activation     "relu" or "tanh"
    l2             penalty (l2 / 2) ||weights||^2 on the mean log loss of standardised features
    learning_rate  a number: no rate is known to be safe for a network
    seed           of the first weights, public
    The rest is as in `FederatedEstimator`.

    Fitted: `coefs_` and `intercepts_`, the weights (inputs, outputs) and biases (outputs,) of each layer, for
    features as the network sees them, standardised if `standardise`; `classes_`, and what
    `FederatedEstimator` says.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (16,),
        activation: Activation = "relu",
        l2: float = 0.001,
        rounds: int = 60,
        local_steps: int = 5,
        batch_size: int | None = None,
        learning_rate: float = 0.1,
        momentum: float = 0.8,
        standardise: bool = True,
        seed: int = 0,
        aggregator: Summing = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.l2 = l2
        self.rounds = rounds
        self.local_steps = local_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.standardise = standardise
        self.seed = seed
        self.aggregator = aggregator
        self.across_rounds = across_rounds
        self.max_patients = max_patients

    def fit(self, X: ArrayLike, y: ArrayLike, sites: ArrayLike | None = None) -> Self:
        """Train on rows `X` (patients, features) with classes `y`, each at the site that `sites` names.

        `sites` holds a label for each row, of at least three sites; by default the rows are dealt in turn to
        three simulated ones. Raises `InvalidArgument` (a ValueError) for what does not fit together.
        """
        rows = self._classes_at_sites(X, y, sites)
        hidden: Any = self.hidden  # whatever was given
        seed: Any = self.seed
        if not isinstance(hidden, Sequence) or not all(isinstance(units, Integral) for units in hidden):
            raise InvalidArgument(f"hidden must be a sequence of whole numbers, got {hidden!r}")
        if not isinstance(seed, Integral):
            raise InvalidArgument(f"seed must be a whole number, got {seed!r}")
        self._model = MultiLayerPerceptron(
            self.n_features_in_,
            tuple(hidden),
            self.activation,
            l2=self.l2,
            seed=int(seed),
            classes=len(self.classes_),
        )
        self._parameters = self._train(self._model, rows)["parameters"]
        layers = self._model.layers.parts(self._parameters)
        self.coefs_ = [weights for weights, _ in layers]
        self.intercepts_ = [biases for _, biases in layers]
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class, shape (patients, classes)."""
        features = self._features(X)
        probability = self._model.probability(self._parameters, features)
        return np.column_stack([1.0 - probability, probability]) if probability.ndim == 1 else probability

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest class of each row, shape (patients,)."""
        return self._named(self.predict_proba(X).argmax(axis=1))
