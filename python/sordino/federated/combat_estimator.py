# SPDX-License-Identifier: Apache-2.0

"""A scikit-learn transformer that takes scanners' effects out of features, by secure sums over sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix
from sordino.protocol.policy import AcrossRounds
from sordino.statistics.combat import harmonise

Column: TypeAlias = int | str
Labels: TypeAlias = Column | Callable[[Matrix], ArrayLike]
"""A column of X, by its index or its name, or a function that gives each row of X a label."""


class FederatedComBat(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """ComBat by secure sums over the sites of the rows, each with the labels that are columns of X.

    scikit-learn hands `fit` and `transform` of a pipeline nothing but X, so batches, sites and covariates are
    in it. `transform` leaves the columns of batches and sites out and covariates as they are. All sites live
    in this process, which shows what a study gives but keeps nothing from whoever runs it.

    batch          column of the scanner, numbers for labels, or a function of X; None: the site is the batch
    sites          the same for the site of each row; None: every batch is a site of its own
    covariates     columns of numbers whose effect is preserved
    categorical    columns of class numbers whose effect is preserved
    reference      the batch that the others are made like
    aggregator     "masked", or "plain" for sums in the clear, for comparison
    The others are those of `sordino.statistics.combat.harmonise`; so are the errors.

    Fitted: `harmonised_` (the common estimates and the batches' effects), `constant_` (features left as they
    are), `sites_`, `survivors_`, `policy_`, `n_features_in_` and, where known, `feature_names_in_`.
    """

    def __init__(
        self,
        *,
        batch: Labels | None = None,
        sites: Labels | None = None,
        covariates: Sequence[Column] = (),
        categorical: Sequence[Column] = (),
        empirical_bayes: bool = True,
        location_only: bool = False,
        reference: float | str | None = None,
        discloses_reference: bool = False,
        discloses_patients: bool = False,
        tolerance: float = 1e-4,
        aggregator: Literal["masked", "plain"] = "masked",
        across_rounds: AcrossRounds = "freeze",
        max_patients: int | None = None,
    ) -> None:
        self.batch = batch
        self.sites = sites
        self.covariates = covariates
        self.categorical = categorical
        self.empirical_bayes = empirical_bayes
        self.location_only = location_only
        self.reference = reference
        self.discloses_reference = discloses_reference
        self.discloses_patients = discloses_patients
        self.tolerance = tolerance
        self.aggregator = aggregator
        self.across_rounds = across_rounds
        self.max_patients = max_patients

    def fit(self, X: ArrayLike, y: object = None) -> Self:  # noqa: ARG002 (a pipeline hands it over)
        """Learn the batches' effects from rows `X`, NaN where a feature is missing; `y` is not used."""
        if self.batch is None and self.sites is None:
            raise InvalidArgument("batch or sites must say where the label of a row is")
        if self.aggregator not in ("masked", "plain"):
            raise InvalidArgument(f'aggregator must be "masked" or "plain", got {self.aggregator!r}')
        rows: Matrix = validate_data(
            self,
            X,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2,
            ensure_min_features=2 if self.empirical_bayes else 1,
        )
        self._find_columns()
        where, scanners = self._labels(rows)
        self.sites_ = np.unique(where)
        self._names = {label: f"site-{place:04d}" for place, label in enumerate(self.sites_.tolist())}
        here = {name: where == label for label, name in self._names.items()}
        given = {name: self._covariates(rows[own]) for name, own in here.items()}
        done = harmonise(
            {name: rows[own][:, self._features] for name, own in here.items()},
            batch={name: scanners[own] for name, own in here.items()},
            covariates=given,
            levels={
                self._column_names[place]: np.unique(_labelled(rows[:, place])).tolist()
                for place in self._classes
            },
            columns=[self._column_names[place] for place in self._features],
            empirical_bayes=self.empirical_bayes,
            location_only=self.location_only,
            reference=None if self.reference is None else _label(self.reference),
            discloses_reference=self.discloses_reference,
            discloses_patients=self.discloses_patients,
            tolerance=self.tolerance,
            aggregator=self.aggregator,
            across_rounds=self.across_rounds,
            max_patients=self.max_patients,
        )
        self.survivors_ = self.sites_[
            [name in done.sums["combat"].survivors for name in self._names.values()]
        ]
        self.constant_, self.policy_ = done.constant, done.policy
        self.harmonised_ = replace(done, adjusted={}, sums={})  # no rows: a model may be passed on
        return self

    def transform(self, X: ArrayLike) -> Matrix:
        """Rows without their batches' effects, (rows, columns but those of batch and site), float64.

        Raises `InvalidArgument` for a site or a batch that `fit` did not see.
        """
        check_is_fitted(self)
        rows: Matrix = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False, copy=True
        )
        where, scanners = self._labels(rows)
        for label in np.unique(where).tolist():
            if label not in self._names:
                raise InvalidArgument(f"site {label!r} was not in the fit, only {self.sites_.tolist()}")
            own = where == label
            rows[np.ix_(own, self._features)] = self.harmonised_.adjust(
                self._names[label],
                rows[own][:, self._features],
                batch=scanners[own],
                covariates=self._covariates(rows[own]),
            )
        return rows[:, self._kept]

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """Names of the columns that `transform` gives."""
        check_is_fitted(self)
        names: NDArray[Any] = _check_feature_names_in(self, input_features)
        return names[self._kept]

    def _find_columns(self) -> None:
        """Which columns are labels, covariates and features."""
        self._column_names = [
            str(name) for name in getattr(self, "feature_names_in_", range(self.n_features_in_))
        ]
        labels = [
            self._place(one) for one in (self.batch, self.sites) if one is not None and not callable(one)
        ]
        self._numbers = [self._place(one) for one in self.covariates]
        self._classes = [self._place(one) for one in self.categorical]
        preserved = [*self._numbers, *self._classes]
        if len(set(preserved)) < len(preserved) or set(preserved) & set(labels):
            raise InvalidArgument("a column is named twice among batch, sites, covariates and categorical")
        self._kept = [place for place in range(self.n_features_in_) if place not in labels]
        self._features = [place for place in self._kept if place not in preserved]
        if not self._features:
            raise InvalidArgument("no column of X is left to be harmonised")

    def _place(self, column: Column) -> int:
        if isinstance(column, str):
            if column not in self._column_names:
                raise InvalidArgument(f"X has no column {column!r}, only {self._column_names}")
            return self._column_names.index(column)
        if not -self.n_features_in_ <= column < self.n_features_in_:
            raise InvalidArgument(f"X has {self.n_features_in_} columns, so none of index {column}")
        return int(column) % int(self.n_features_in_)

    def _labels(self, rows: Matrix) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Site and batch of each row."""
        scanner = self.sites if self.batch is None else self.batch
        site = self.batch if self.sites is None else self.sites
        where, scanners = (self._labels_of(one, rows) for one in (site, scanner) if one is not None)
        return where, scanners

    def _labels_of(self, asked: Labels, rows: Matrix) -> NDArray[np.str_]:
        labels = _labelled(asked(rows) if callable(asked) else rows[:, self._place(asked)])
        if labels.shape != (len(rows),):
            raise InvalidArgument(f"there must be a label for each of the {len(rows)} rows")
        return labels

    def _covariates(self, rows: Matrix) -> dict[str, ArrayLike]:
        numbers: dict[str, ArrayLike] = {self._column_names[one]: rows[:, one] for one in self._numbers}
        return numbers | {self._column_names[one]: _labelled(rows[:, one]) for one in self._classes}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _labelled(values: ArrayLike) -> NDArray[np.str_]:
    """Labels as texts; raises `InvalidArgument` where a number is missing."""
    return np.array([_label(value) for value in np.asarray(values).tolist()], dtype=np.str_)


def _label(value: object) -> str:
    if isinstance(value, (int, float)):
        if not isfinite(value):
            raise InvalidArgument("the batch, the site or the class of a row is missing")
        return f"{value:.17g}"
    return str(value)
