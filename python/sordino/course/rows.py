# SPDX-License-Identifier: Apache-2.0

"""What every site's rows have, whatever else a stage needs of them."""

from __future__ import annotations

from typing import Protocol

from sordino.models.model import Matrix


class Rows(Protocol):
    """One site's patients: a row of `features` each, float64 of shape (patients, columns)."""

    @property
    def name(self) -> str:
        """The site's name in the roster."""

    @property
    def features(self) -> Matrix:
        """One row for each patient."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, for messages."""
