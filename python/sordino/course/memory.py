# SPDX-License-Identifier: Apache-2.0

"""What a site remembers between questions, which nobody else sees and no question carries.

Common state goes into the body of every question, so a site needs no memory for it. An algorithm with state
of its own at every site keeps it here; a stage must cope with a sum that was made without the site, or not
at all, after the site remembered what it gave.
"""

from __future__ import annotations

from typing import Protocol

from sordino.course.arrays import Arrays


class Memory(Protocol):
    """Named vectors, replaced all at once."""

    def load(self) -> Arrays:
        """What was kept last; empty at first."""

    def keep(self, arrays: Arrays) -> None:
        """Replace it, for good before anything that was made with it is sent."""


class Transient:
    """A memory that ends with the process."""

    def __init__(self) -> None:
        self._arrays: Arrays = {}

    def load(self) -> Arrays:
        """See `Memory`."""
        return self._arrays

    def keep(self, arrays: Arrays) -> None:
        """See `Memory`."""
        self._arrays = dict(arrays)
