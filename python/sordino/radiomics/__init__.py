# SPDX-License-Identifier: Apache-2.0

"""Radiomic features out of scans: the same settings at every site, and a row a lesion with its origin.

Needs the extra `radiomics`. Public names load when they are first used, and PyRadiomics with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sordino.radiomics.extraction import Extracted, extract
    from sordino.radiomics.phantom import Phantoms, write_phantoms
    from sordino.radiomics.scans import Failure
    from sordino.radiomics.settings import settings_hash
    from sordino.radiomics.table import settings_of

_HOMES = {
    "Extracted": "extraction",
    "Failure": "scans",
    "Phantoms": "phantom",
    "extract": "extraction",
    "settings_hash": "settings",
    "settings_of": "table",
    "write_phantoms": "phantom",
}

__all__ = ["Extracted", "Failure", "Phantoms", "extract", "settings_hash", "settings_of", "write_phantoms"]

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sordino.radiomics' has no attribute {name!r}")
        return getattr(import_module(f"sordino.radiomics.{_HOMES[name]}"), name)
