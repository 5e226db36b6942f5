# SPDX-License-Identifier: Apache-2.0

"""The CPU chooses the implementation, `SORDINO_CPU` overrides it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sordino import _core
from sordino.errors import InvalidArgument


def run(code: str, cpu: str | None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "SORDINO_CPU"}
    if cpu is not None:
        environment["SORDINO_CPU"] = cpu
    done = subprocess.run(
        [sys.executable, "-c", f"from sordino import _core\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout + done.stderr).strip().rsplit("\n", 1)[-1]


def test_portable_is_always_there_and_last() -> None:
    assert _core.backends()[-1] == "portable"
    assert len(set(_core.backends())) == len(_core.backends())


def test_the_fastest_is_the_default() -> None:
    for nothing in (None, ""):
        assert run("print(_core.backend())", nothing) == _core.backends()[0]


@pytest.mark.parametrize("name", _core.backends())
def test_environment_names_the_backend(name: str) -> None:
    assert run("print(_core.backend())", name) == name


@pytest.mark.parametrize(
    "use", ["_core.backend()", "_core.keystream(bytes(32), bytearray(1))", "_core.select_backend(None)"]
)
def test_unknown_name_is_refused_at_first_use(use: str) -> None:
    said = run(use, "abacus")
    assert said.startswith(
        "sordino.errors.InvalidArgument: SORDINO_CPU: this CPU has no PRG backend 'abacus'"
    )


def test_select_backend(backend: str) -> None:
    assert _core.backend() == backend
    with pytest.raises(InvalidArgument, match="^name: "):
        _core.select_backend("abacus")
    with pytest.raises(InvalidArgument, match="^name: "):
        _core.select_backend(3)  # type: ignore[arg-type]
    assert _core.backend() == backend
