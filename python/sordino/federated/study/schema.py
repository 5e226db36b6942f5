# SPDX-License-Identifier: Apache-2.0

"""What every site's data must look like, as one hash that all agree on before the first sum."""

from __future__ import annotations

from dataclasses import dataclass

from sordino.protocol.encoding import digest


@dataclass(frozen=True)
class Schema:
    """The meaning of a site's rows.

    features  names of the features, in the order of the model's coefficients; each is a float64
    coding    what is predicted: its columns and what stands in them, as `Outcome.coding` says it
    extraction  the settings hash by which features were extracted from scans, empty for others
    subgroups columns by which held-out patients are parted, and the cells in the order of their lanes
    harmonise what ComBat is made of, as `HarmoniseTable.meaning` says it
    """

    features: tuple[str, ...]
    coding: tuple[object, ...]
    extraction: str = ""
    subgroups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    harmonise: tuple[object, ...] = ()

    @property
    def digest(self) -> bytes:
        """Hash over all of it and the type of every feature, 32 bytes."""
        extraction = (self.extraction,) if self.extraction else ()
        rest = (*extraction, *self.subgroups, *self.harmonise)
        return digest("feature-schema", self.features, "float64", *self.coding, *rest)
