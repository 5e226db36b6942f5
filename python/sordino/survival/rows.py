# SPDX-License-Identifier: Apache-2.0

"""One site's patients with the time that each was followed, and whether it ended in the event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sordino.errors import InvalidArgument
from sordino.models.model import Matrix, Vector

Flags = NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class SurvivalRows:
    """What one site holds.

    features   float64 of shape (patients, columns), without missing values
    time       float64 of shape (patients,), above zero
    event      bool of shape (patients,); False where the patient was censored at `time`
    columns    names of the features, for messages
    group      for each patient the place of its group among the study's groups, shape (patients,); by
               default all are in the first

    Raises `InvalidArgument`, naming the site, for anything else, a site without patients included.
    """

    name: str
    features: Matrix
    time: Vector
    event: Flags
    columns: tuple[str, ...]
    group: NDArray[np.intp] | None = field(default=None)

    def __post_init__(self) -> None:
        def refuse(why: str) -> None:
            raise InvalidArgument(f"site {self.name!r}: {why}")

        patients = len(self.time)
        if not patients:
            refuse("there are no patients")
        if self.features.shape != (patients, len(self.columns)) or self.event.shape != (patients,):
            refuse(
                f"features {self.features.shape}, times {self.time.shape}, events {self.event.shape} and "
                f"{len(self.columns)} columns do not fit together"
            )
        if self.event.dtype != np.bool_:
            refuse("events must be True or False")
        if wrong := np.flatnonzero(~(np.isfinite(self.time) & (self.time > 0.0))).tolist():
            refuse(
                f"row {wrong[0]} has the time {self.time[wrong[0]]:g}; times must be finite and above zero: "
                "leave out patients that were not followed"
            )
        missing = np.argwhere(~np.isfinite(self.features))
        if len(missing):
            row, column = missing[0]
            refuse(
                f"row {row} has no finite {self.columns[column]!r}; leave out such patients, "
                "or impute them first"
            )

    @property
    def groups(self) -> NDArray[np.intp]:
        """The group of each patient."""
        return np.zeros(len(self.time), dtype=np.intp) if self.group is None else self.group

    def __repr__(self) -> str:
        return f"SurvivalRows({self.name!r})"


def times_and_events(y: ArrayLike) -> tuple[Vector, Flags]:
    """Times and events of a target.

    y   a structured array of two fields, the event (bool) and the time, as scikit-survival has it, or numbers
        of shape (patients, 2): time, and 1 for an event, 0 for none

    Raises `InvalidArgument` for anything else.
    """
    given: NDArray[Any] = np.asarray(y)
    if given.dtype.names is not None:
        if len(given.dtype.names) != 2:
            raise InvalidArgument(f"a survival target has two fields, got {list(given.dtype.names)}")
        first, second = (given[name] for name in given.dtype.names)
        event, time = (first, second) if first.dtype == np.bool_ else (second, first)
    elif given.ndim == 2 and given.shape[1] == 2:
        time, event = given.T
    else:
        raise InvalidArgument(
            "y must be a structured array (event, time) or numbers (time, event) of shape (patients, 2), "
            f"got shape {given.shape}"
        )
    if time.dtype.kind not in "buif" or event.dtype.kind not in "buif":
        raise InvalidArgument("times and events must be numbers")
    if not np.isin(event, (0, 1)).all():
        raise InvalidArgument("an event is 1 (True), or 0 (False) where the patient was censored")
    return np.asarray(time, dtype=np.float64), np.asarray(event == 1)
