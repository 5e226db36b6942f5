# SPDX-License-Identifier: Apache-2.0

"""What all trained estimators share: rows dealt to sites, one training over them, features as it had them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sordino.course.arrays import Arrays
from sordino.course.follow import Event, Halted, follow
from sordino.course.simulated import Summing, site_names, sites_of_rows, summing
from sordino.errors import InvalidArgument
from sordino.federated.site import Site
from sordino.federated.study.outcomes.classes import TwoClasses
from sordino.federated.study.outcomes.outcome import Outcome
from sordino.federated.training import Training
from sordino.models.model import Matrix, Model, Vector
from sordino.protocol.policy import AcrossRounds, Policy, plan_policy
from sordino.statistics.scaling import standardised


class FederatedEstimator(BaseEstimator):  # type: ignore[misc]
    """A model trained by federated averaging over secure sums.

    All sites live in this process, which shows what a study gives but keeps nothing from whoever runs it.
    Which site a row is at is a parameter of `fit`: through a Pipeline or a search it goes by its step,
    `fit(X, y, step__sites=labels)`, or with scikit-learn's metadata routing by `set_fit_request(sites=True)`.

    rounds         rounds of federated averaging
    local_steps    gradient steps at a site in one round
    batch_size     patients in one local step; None for all
    learning_rate  "auto": settled by a secure sum of the sites' curvatures, for models whose is bounded
    momentum       part of the last step that the coordinator adds to the next
    standardise    mean and standard deviation of every feature by secure sums first
    aggregator     "masked"; "plain" for sums in the clear, for comparison; or a callable of policy and sites
                   that makes an `Aggregator`
    across_rounds  "freeze" or "accept", see `sordino.protocol.policy.Policy`
    max_patients   public bound on the rows of one site; None for the number of all rows

    Where training diverges it stops with a `ConvergenceWarning` and the model of the least loss.

    Fitted: `sites_`, `losses_` (mean training loss before each round), `mean_` and `scale_` (None if not
    standardised), `n_iter_` (rounds made), `policy_`, `n_features_in_` and, where known, `feature_names_in_`.
    """

    l2: float
    rounds: int
    local_steps: int
    batch_size: int | None
    learning_rate: float | Literal["auto"]
    momentum: float
    standardise: bool
    aggregator: Summing
    across_rounds: AcrossRounds
    max_patients: int | None

    def _train(self, model: Model, rows: Mapping[str, Site], outcome: Outcome | None = None) -> Arrays:
        """The state after all rounds; sets what `FederatedEstimator` says is fitted."""
        training = Training(
            columns=self.n_features_in_,
            sites=len(rows),
            max_patients=self.max_patients or sum(len(site.features) for site in rows.values()),
            l2=self.l2,
            rounds=self.rounds,
            local_steps=self.local_steps,
            batch_size=self.batch_size,
            learning_rate=None if isinstance(self.learning_rate, str) else self.learning_rate,
            momentum=self.momentum,
            standardise=self.standardise,
            learner=model,
            outcome=TwoClasses() if outcome is None else outcome,
        )
        turns = training.turns()
        self.policy_: Policy = plan_policy(
            study=type(self).__name__,
            sites=len(rows),
            plan=training.questions(),
            across_rounds=self.across_rounds,
            rounds=len(turns),
        )
        with summing(self.aggregator, self.policy_, tuple(rows)) as aggregator:
            state = follow(turns, aggregator, rows, training.initial(), notify=_warn)
        self.losses_ = state["losses"]
        self.n_iter_ = len(self.losses_)
        self.mean_, self.scale_ = state.get("mean"), state.get("scale")
        return state

    def _rows(self, features: Matrix, target: Vector, sites: ArrayLike | None) -> dict[str, Site]:
        """The rows of each site; sets `sites_`."""
        self.sites_, members = sites_of_rows(sites, len(target))
        columns = tuple(str(name) for name in getattr(self, "feature_names_in_", range(features.shape[1])))
        return {
            name: Site(name, features[members == place], target[members == place], columns)
            for place, name in enumerate(site_names(len(self.sites_)))
        }

    def _features(self, X: ArrayLike) -> Matrix:
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        # Standardised rather than folded into the parameters: an offset far from zero would cancel badly.
        if self.mean_ is None or self.scale_ is None:
            return standardised(features, {})
        return standardised(features, {"mean": self.mean_, "scale": self.scale_})

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
        bounds = [("momentum", 0.0, 1.0)]
        bounds += [(name, 0.0, float("inf")) for name in ("l1", "l2") if hasattr(self, name)]
        if self.learning_rate != "auto":
            bounds.append(("learning_rate", np.nextafter(0.0, 1.0), float("inf")))
        for name, least, below in bounds:
            value = getattr(self, name)
            if not isinstance(value, Real) or not least <= float(value) < below:
                raise InvalidArgument(
                    f"{name} must be a number from {least:g} and below {below:g}, got {value!r}"
                )
        if self.across_rounds not in ("freeze", "accept"):
            raise InvalidArgument(f"across_rounds must be 'freeze' or 'accept', got {self.across_rounds!r}")


def _warn(event: Event) -> None:
    if isinstance(event, Halted):
        what = f"training stopped, the best model so far is kept: {event.reason}"
        warnings.warn(what, ConvergenceWarning, stacklevel=5)


class FederatedClassifier(ClassifierMixin, FederatedEstimator):  # type: ignore[misc]
    """An estimator of classes, which are those of all rows together: a site may lack any of them."""

    def _classes_at_sites(self, X: ArrayLike, y: ArrayLike, sites: ArrayLike | None) -> dict[str, Site]:
        """The checked rows of each site, their classes as codes; sets `classes_`."""
        self._check_parameters()
        features, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidArgument(f"the target holds one class only: {self.classes_[0]!r}")
        return self._rows(features, codes.astype(np.float64), sites)

    def _named(self, codes: NDArray[np.intp]) -> NDArray[Any]:
        classes: NDArray[Any] = self.classes_[codes]
        return classes
