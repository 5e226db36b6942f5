"""A scikit-learn classifier that is trained by secure sums over the sites of its rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from sordino.aggregation.base import Aggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.follow import follow
from sordino.errors import InvalidArgument
from sordino.federated.site import Site
from sordino.federated.training import Training
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import AcrossRounds, Policy, plan_policy
from sordino.statistics.scaling import standardised

SIMULATED_SITES = 3


class FederatedLogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """L2-regularised logistic regression for two classes, by federated averaging over secure sums.

    All sites live in this process, which shows what a study gives but keeps nothing from whoever runs it.

    l2             penalty (l2 / 2) ||coef||^2 on the mean log loss of standardised features
    rounds         rounds of federated averaging
    local_steps    gradient steps at a site in one round
    batch_size     patients in one local step; None for all
    learning_rate  "auto": settled by a secure sum of the sites' curvatures
    momentum       part of the last step that the coordinator adds to the next
    standardise    mean and standard deviation of every feature by secure sums first
    aggregator     "masked", or "plain" for sums in the clear, for comparison
    across_rounds  "freeze" or "accept", see `sordino.protocol.policy.Policy`
    max_patients   public bound on the rows of one site; None for the number of all rows

    Fitted: `coef_` (1, features) and `intercept_` (1,), both for the features as they were given, `classes_`,
    `sites_`, `losses_` (mean training loss before each round), `mean_` and `scale_` (None if not
    standardised), `n_iter_`, `policy_`, `n_features_in_` and, where known, `feature_names_in_`.
    """

    def __init__(
        self,
        *,
        l2: float = 0.01,
        rounds: int = 60,
        local_steps: int = 1,
        batch_size: int | None = None,
        learning_rate: float | Literal["auto"] = "auto",
        momentum: float = 0.8,
        standardise: bool = True,
        aggregator: Literal["masked", "plain"] = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
    ) -> None:
        self.l2 = l2
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
        """Train on rows `X` (patients, features) with two classes `y`, each at the site that `sites` names.

        `sites` holds a label for each row, of at least three sites; by default the rows are dealt in turn to
        three simulated ones. Raises `InvalidArgument` (a ValueError) for what does not fit together.
        """
        self._check_parameters()
        checked = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        features: Matrix = checked[0]
        labels: NDArray[Any] = checked[1]
        check_classification_targets(labels)
        kind = type_of_target(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) > 2:
            raise InvalidArgument(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        if len(self.classes_) < 2:
            raise InvalidArgument(f"the target holds one class only: {self.classes_[0]!r}")
        self.sites_, members = _site_of_each_row(sites, len(labels))
        names = tuple(f"site-{number:04d}" for number in range(len(self.sites_)))
        columns = tuple(str(name) for name in getattr(self, "feature_names_in_", range(features.shape[1])))
        rows = {
            name: Site(name, features[members == place], codes[members == place].astype(np.float64), columns)
            for place, name in enumerate(names)
        }
        training = Training(
            columns=features.shape[1],
            sites=len(names),
            max_patients=len(labels) if self.max_patients is None else self.max_patients,
            l2=self.l2,
            rounds=self.rounds,
            local_steps=self.local_steps,
            batch_size=self.batch_size,
            learning_rate=None if isinstance(self.learning_rate, str) else self.learning_rate,
            momentum=self.momentum,
            standardise=self.standardise,
        )
        turns = training.turns()
        self.policy_ = plan_policy(
            study="FederatedLogisticRegression",
            sites=len(names),
            plan=training.questions(),
            across_rounds=self.across_rounds,
            rounds=len(turns),
        )
        with _aggregator(self.aggregator, self.policy_, names) as aggregator:
            state = follow(turns, aggregator, rows, training.initial())
        self.n_iter_ = self.rounds
        self.losses_ = state["losses"]
        self.mean_, self.scale_ = state.get("mean"), state.get("scale")
        parameters = state["parameters"]
        scale = np.ones(features.shape[1]) if self.scale_ is None else self.scale_
        mean = np.zeros(features.shape[1]) if self.mean_ is None else self.mean_
        self.coef_ = (parameters[:-1] / scale)[np.newaxis, :]
        self.intercept_ = parameters[-1:] - self.coef_ @ mean
        self._parameters = parameters
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Log odds of `classes_[1]`, shape (patients,)."""
        features = self._features(X)
        return Logistic(features.shape[1], self.l2).decision(self._parameters, features)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class, shape (patients, 2)."""
        features = self._features(X)
        positive = Logistic(features.shape[1], self.l2).probability(self._parameters, features)
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likelier class of each row, shape (patients,)."""
        decision = self.decision_function(X)
        classes: NDArray[Any] = self.classes_[(decision > 0.0).astype(np.intp)]
        return classes

    def _check_parameters(self) -> None:
        """In `fit`, not in `__init__`: scikit-learn sets parameters without it."""
        whole = [("rounds", 100_000), ("local_steps", 10_000), ("batch_size", None), ("max_patients", None)]
        for name, most in whole:
            value = getattr(self, name)
            if value is None and most is None:
                continue
            if not isinstance(value, Integral) or not 1 <= int(value) <= (most or int(value)):
                raise InvalidArgument(
                    f"{name} must be a whole number from 1 to {most or 'any'}, got {value!r}"
                )
        bounds = [("l2", 0.0, float("inf")), ("momentum", 0.0, 1.0)]
        if self.learning_rate != "auto":
            bounds.append(("learning_rate", np.nextafter(0.0, 1.0), float("inf")))
        for name, least, below in bounds:
            value = getattr(self, name)
            if not isinstance(value, Real) or not least <= float(value) < below:
                raise InvalidArgument(
                    f"{name} must be a number from {least:g} and below {below:g}, got {value!r}"
                )
        for name, allowed in [("aggregator", ("masked", "plain")), ("across_rounds", ("freeze", "accept"))]:
            if getattr(self, name) not in allowed:
                raise InvalidArgument(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")

    def _features(self, X: ArrayLike) -> Matrix:
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        # Standardised rather than folded into coef_: a constant offset far from zero would cancel badly.
        if self.mean_ is None or self.scale_ is None:
            known = {}
        else:
            known = {"mean": self.mean_, "scale": self.scale_}
        return standardised(features, known)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _site_of_each_row(sites: ArrayLike | None, rows: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The distinct labels, sorted, and for each row the place of its label."""
    if sites is None:
        labels = np.array([f"simulated-{number}" for number in range(1, SIMULATED_SITES + 1)])
        return _enough(labels[:rows]), np.arange(rows, dtype=np.intp) % SIMULATED_SITES
    given = np.asarray(sites)
    if given.shape != (rows,):
        raise InvalidArgument(f"sites must hold a label for each of the {rows} rows, got shape {given.shape}")
    labels, members = np.unique(given, return_inverse=True)
    return _enough(labels), members


def _enough(labels: NDArray[Any]) -> NDArray[Any]:
    if len(labels) < SIMULATED_SITES:
        raise InvalidArgument(f"a secure sum needs rows at three sites or more, got {len(labels)}")
    return labels


def _aggregator(kind: str, policy: Policy, names: Sequence[str]) -> Aggregator:
    if kind == "plain":
        with warnings.catch_warnings():
            # Whoever asks for the comparison by name has been told.
            warnings.simplefilter("ignore", PlainSumWarning)
            return PlainAggregator(policy, names)
    from sordino.aggregation.masked import MaskedAggregator

    return MaskedAggregator(policy, names)
