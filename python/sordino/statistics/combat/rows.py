# SPDX-License-Identifier: Apache-2.0

"""Which scanner a patient was on, what is to be preserved, and which scanners several sites share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sordino.errors import InvalidArgument, ValueOutOfRange
from sordino.models.model import Matrix
from sordino.protocol.groups import thin_group
from sordino.protocol.policy import EVERYONE

LARGEST = 1e150
"""Values beyond it cannot be squared."""

NO_LABELS = frozenset(("", "nan", "None", "<NA>", "NaT"))
"""What a missing label reads as."""

OWN = "own"
"""The lane group of the sites that have a batch which they do not share, where not every site has one."""

Held: TypeAlias = Mapping[str, Collection[str]]
"""The batches that stand at each site, which every site declares."""


class SplitBatchWarning(UserWarning):
    """A batch that too few sites share for a sum of its own became a batch for each of these sites."""


@dataclass(frozen=True)
class Covariate:
    """What harmonisation preserves: a number, or with `levels` (public, in order) one of several classes."""

    name: str
    levels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns in the model; the first level is the base of the others."""
        return tuple(f"{self.name}={level}" for level in self.levels[1:]) if self.levels else (self.name,)

    def coded(self, values: ArrayLike, where: str) -> Matrix:
        """The values as columns of the model; raises `InvalidArgument` for what is missing or unknown."""
        given = np.asarray(values)
        if self.levels:
            labels = given.astype(str)
            if unknown := sorted(set(labels.ravel().tolist()) - set(self.levels)):
                raise InvalidArgument(
                    f"{where}: covariate {self.name!r} has the levels {list(self.levels)}, not {unknown[0]!r}"
                )
            return np.column_stack([np.zeros((len(labels), 0)), *(labels == one for one in self.levels[1:])])
        try:
            numbers = given.astype(np.float64)
        except ValueError:
            raise InvalidArgument(
                f"{where}: covariate {self.name!r} is not numeric: declare its levels"
            ) from None
        if not np.all(np.abs(numbers) <= LARGEST):
            raise InvalidArgument(f"{where}: covariate {self.name!r} is missing, infinite or too large")
        return numbers.reshape(len(numbers), 1)


@dataclass(frozen=True, repr=False)
class BatchRows:
    """One site's patients.

    features      float64 of shape (patients, columns), NaN where a value is missing
    covariates    float64 of shape (patients, columns of the covariates)
    batches       the batch of each patient
    """

    name: str
    features: Matrix
    covariates: Matrix
    batches: NDArray[np.str_]
    columns: tuple[str, ...]

    def __repr__(self) -> str:
        return f"BatchRows({self.name!r})"

    @classmethod
    def of(
        cls,
        name: str,
        features: ArrayLike,
        batches: ArrayLike,
        given: Mapping[str, ArrayLike],
        covariates: Sequence[Covariate],
        columns: Sequence[str] | None = None,
    ) -> BatchRows:
        """Rows whose parts fit each other. Raises `InvalidArgument` for what does not, naming the site."""
        where = f"site {name!r}"
        try:
            matrix = np.asarray(features, dtype=np.float64)
        except (TypeError, ValueError):
            raise InvalidArgument(f"{where}: the features must be numbers") from None
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise InvalidArgument(f"{where}: features must be (patients, columns), got {matrix.shape}")
        names = tuple(map(str, range(matrix.shape[1]) if columns is None else columns))
        if len(names) != matrix.shape[1]:
            raise InvalidArgument(f"{where} has {matrix.shape[1]} features, the study has {len(names)}")
        wrong = np.any(np.abs(matrix) > LARGEST, axis=0)
        if wrong.any():
            raise ValueOutOfRange(
                f"{where}, feature {names[np.argmax(wrong)]!r}: a value is infinite or above {LARGEST:g}"
            )
        labels = np.asarray(batches).astype(str)
        if missing := NO_LABELS & set(labels.ravel().tolist()):
            raise InvalidArgument(f"{where}: a patient has no batch, but {min(missing)!r}")
        if labels.shape != (len(matrix),):
            raise InvalidArgument(f"{where}: batch must hold a label for each of the {len(matrix)} patients")
        if set(given) != {one.name for one in covariates}:
            raise InvalidArgument(
                f"{where} has the covariates {sorted(given)}, the study {[one.name for one in covariates]}"
            )
        coded = [np.zeros((len(matrix), 0)), *(one.coded(given[one.name], where) for one in covariates)]
        if any(len(one) != len(matrix) for one in coded):
            raise InvalidArgument(f"{where}: each covariate must have {len(matrix)} values, one a patient")
        return cls(name, matrix, np.column_stack(coded), labels, names)

    def check_features(self, layout: Layout) -> None:
        """Raise `ValueOutOfRange` for a feature of which the site has no value in one of its lane groups."""
        labels = layout.held[self.name]
        own = sorted(set(labels) - set(layout.shared))
        for group, where in [
            *([(own, "")] if own else []),
            *(([label], f" in the shared batch {label!r}") for label in layout.shared if label in labels),
        ]:
            absent = np.all(np.isnan(self.features[np.isin(self.batches, group)]), axis=0)
            if absent.any():
                raise ValueOutOfRange(
                    f"site {self.name!r} lacks the feature {self.columns[np.argmax(absent)]!r}{where}: "
                    "without it a sum would be over fewer sites; leave the feature out everywhere"
                )


@dataclass(frozen=True)
class Layout:
    """Which batches are summed over sites, and which stay where they are.

    shared   batches with lanes of their own, in order; every other batch is one for each site that has it
    split    batches that stand at several sites and are not shared
    """

    held: Held
    shared: tuple[str, ...]
    split: tuple[str, ...]

    @classmethod
    def of(cls, held: Held, min_cohort: int) -> Layout:
        """Share what may be shared: no combination of sums may be over 1 to min_cohort - 1 sites."""
        homes = {label: sum(label in own for own in held.values()) for own in held.values() for label in own}
        several = sorted((label for label, sites in homes.items() if sites > 1), key=lambda one: -homes[one])
        kept: list[str] = []
        for label in several:
            layout = cls(held, (*kept, label), ())
            if not thin_group(layout.names - {EVERYONE}, layout.groups, tuple(held), min_cohort):
                kept.append(label)
        return cls(held, tuple(kept), tuple(sorted(set(several) - set(kept))))

    @cached_property
    def groups(self) -> dict[str, frozenset[str]]:
        """The lane groups that each site declares."""
        own = {site: frozenset(labels) - set(self.shared) for site, labels in self.held.items()}
        name = EVERYONE if all(own.values()) else OWN
        return {
            site: frozenset(self.group(label) for label in labels if label in self.shared)
            | frozenset([name] if own[site] else [])
            for site, labels in self.held.items()
        }

    @cached_property
    def names(self) -> frozenset[str]:
        """All lane groups."""
        return frozenset().union(*self.groups.values())

    @cached_property
    def own(self) -> str | None:
        """The lane group of the batches that stay at one site; None where there are none."""
        return next((name for name in (EVERYONE, OWN) if name in self.names), None)

    @property
    def batches(self) -> int:
        """How many batches there are, each site's part of a split one counted by itself."""
        return len(self.shared) + sum(len(set(own) - set(self.shared)) for own in self.held.values())

    def group(self, batch: str) -> str:
        """The lane group of a shared batch; names of groups are public, labels need not fit them."""
        return f"batch{self.shared.index(batch)}"
