# SPDX-License-Identifier: Apache-2.0

"""The accounting's public names: they load on first use, and only they are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sordino import privacy


def test_every_public_name_loads() -> None:
    assert len(set(privacy.__all__)) == len(privacy.__all__)
    assert sorted(dir(privacy)) == sorted(privacy.__all__)
    for name in privacy.__all__:
        assert getattr(privacy, name).__name__ == name


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match=r"module 'sordino\.privacy' has no attribute 'Ledgers'"):
        privacy.Ledgers  # noqa: B018


def test_importing_the_accounting_loads_none_of_it() -> None:
    script = (
        "import sys, sordino.privacy\n"
        "print([name for name in ('numpy', 'scipy', 'msgspec', 'dp_accounting') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
