# SPDX-License-Identifier: Apache-2.0

"""What an audit found: a row for each attack on each target, and what could not be tried."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

from sordino.audit.inversion import Rebuilt
from sordino.audit.pictures import file_name

FORMAT, VERSION = "sordino-audit", 1

CONTROL, NULL = "control", "null"

Kind: TypeAlias = Literal["membership", "attribute", "inversion", "epsilon", "mask"]


@dataclass(frozen=True)
class Row:
    """One line of the table. `result` is what was measured; `says` is that in a sentence.

    expected   of a control, whether the attack won it; of a null, whether it did not; None of other targets
    """

    kind: Kind
    attack: str
    target: str
    result: str
    says: str
    figures: dict[str, Any]
    expected: bool | None = None


@dataclass
class Report:
    """What an audit found; `missing` says what could not be tried and why.

    policy, schema   hashes of the study, as hex: the same as in the files of its runs
    pictures         what can be drawn, by name
    private          names of the pictures that show patients of the study, and not phantoms
    """

    study: str
    policy: str
    schema: str
    quick: bool
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    pictures: dict[str, Rebuilt] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)

    def summary(self) -> dict[str, Any]:
        """For audit.json; figures are finite or None."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "sordino": version("sordino"),
            "study": self.study,
            "policy": self.policy,
            "schema": self.schema,
            "quick": self.quick,
            "rows": [asdict(row) for row in self.rows],
            "missing": self.missing,
            "pictures_of": [
                {"file": file_name(name), "of": what, "target": target, "result": self._rebuilt(what, target)}
                for name in self.pictures
                for what, target in [name.split(", ", 1)]
            ],
            "note": "an audit that finds nothing proves nothing: a better attack may find more",
        }

    def _rebuilt(self, what: str, target: str) -> str:
        found = (row for row in self.rows if row.attack.endswith(f", {what}") and row.target == target)
        return next(row.result for row in found)
