# SPDX-License-Identifier: Apache-2.0

"""What a description takes for a site's rows, and all of them with the same columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix

SiteData: TypeAlias = Any
"""A site's rows: anything with `features` and `columns`, a pair (matrix, columns), or a pandas DataFrame."""


@dataclass(frozen=True, repr=False)
class FeatureRows:
    """One site's patients, a row of features each, NaN where a value is missing."""

    name: str
    features: Matrix
    columns: tuple[str, ...]

    def __repr__(self) -> str:
        return f"FeatureRows({self.name!r})"


def feature_rows(sites: Mapping[str, SiteData]) -> dict[str, FeatureRows]:
    """Every site's rows; a site that lacks a column of another has no value of it.

    Columns come in the order in which the sites, sorted by name, have them. Raises `InvalidArgument`, naming
    the site and the column, for fewer than three sites and for what is no table of numbers.
    """
    if len(sites) < 3:
        raise InvalidArgument(f"a secure sum needs three sites or more, got {len(sites)}")
    given = {name: _site(name, sites[name]) for name in sorted(sites)}
    columns = tuple(dict.fromkeys(column for one in given.values() for column in one.columns))
    return {name: _widened(one, columns) for name, one in given.items()}


def _site(name: str, data: SiteData) -> FeatureRows:
    if hasattr(data, "to_numpy"):
        matrix, columns = data, tuple(str(column) for column in data.columns)
    elif isinstance(data, tuple) and len(data) == 2:
        matrix, columns = data[0], tuple(str(column) for column in data[1])
    elif hasattr(data, "features") and hasattr(data, "columns"):
        matrix, columns = data.features, tuple(data.columns)
    else:
        raise InvalidArgument(f"site {name!r} must be rows, a pair (matrix, columns) or a DataFrame")
    features = _numbers(name, matrix, columns)
    if features.ndim != 2 or features.shape[1] != len(columns):
        raise InvalidArgument(
            f"site {name!r} has {len(columns)} columns and features of shape {features.shape}"
        )
    if len(set(columns)) < len(columns) or not columns:
        raise InvalidArgument(f"site {name!r}: columns must be distinct names, one at least")
    if not len(features):
        raise InvalidArgument(f"site {name!r} has no patients")
    return FeatureRows(name, features, columns)


def _numbers(name: str, matrix: Any, columns: tuple[str, ...]) -> Matrix:
    try:
        if hasattr(matrix, "to_numpy"):
            return np.asarray(matrix.to_numpy(dtype=np.float64, na_value=np.nan))
        return np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.asarray(matrix, dtype=object)
    if table.ndim == 2:
        for place, column in enumerate(table.T):
            for cell in column:
                try:
                    float(np.nan if cell is None else cell)
                except (TypeError, ValueError):
                    where = columns[place] if place < len(columns) else place
                    raise InvalidArgument(
                        f"site {name!r}, column {where!r} is not numeric: it holds {cell!r}"
                    ) from None
    raise InvalidArgument(f"site {name!r}: the features must be numbers, shape (patients, columns)")


def _widened(one: FeatureRows, columns: tuple[str, ...]) -> FeatureRows:
    if one.columns == columns:
        return one
    features = np.full((len(one.features), len(columns)), np.nan)
    places = {name: place for place, name in enumerate(columns)}
    features[:, [places[name] for name in one.columns]] = one.features
    return FeatureRows(one.name, features, columns)
