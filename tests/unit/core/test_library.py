# SPDX-License-Identifier: Apache-2.0

"""The C++ library knows no Python, and the Python package carries nothing of it but the module."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

from sordino import _core

ROOT = Path(__file__).parents[3]


def test_only_the_bindings_include_python() -> None:
    for path in (ROOT / "cpp").rglob("*.[ch]pp"):
        text = path.read_text(encoding="utf-8")
        assert "bindings" in path.parts or ("pybind11" not in text and "Python.h" not in text), path


def test_the_package_ships_no_headers_and_no_static_library() -> None:
    files = metadata.files("sordino")
    assert files is not None
    names = [file.name for file in files]
    assert any(name.startswith("_core.") for name in names)
    assert not [name for name in names if name.endswith((".hpp", ".h", ".a", ".lib", ".cmake"))]


def test_the_stub_names_what_the_module_has() -> None:
    stub = ast.parse((ROOT / "python/sordino/_core.pyi").read_text(encoding="utf-8"))
    stated = {node.name for node in stub.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    stated |= {
        node.target.id
        for node in stub.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    stated = {name for name in stated if not name.startswith("_")}
    assert stated == {name for name in dir(_core) if not name.startswith("_")}


def test_one_version() -> None:
    assert metadata.version("sordino") == _core.__version__
