# SPDX-License-Identifier: Apache-2.0

"""Clocks of hospitals may be an hour apart: nothing here looks at one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sordino.adapters

FOLDER = Path(sordino.adapters.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_adapter_reads_a_clock_but_the_monotonic_one(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "time":
            assert node.attr in ("monotonic", "sleep")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            assert "datetime" not in names
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time")
