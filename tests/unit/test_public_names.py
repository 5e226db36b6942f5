# SPDX-License-Identifier: Apache-2.0

"""The package's own names: they load on first use, and only they are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sordino


def test_every_public_name_loads() -> None:
    assert len(set(sordino.__all__)) == len(sordino.__all__)
    for name in sordino.__all__:
        assert getattr(sordino, name).__name__ == name


def test_dir_lists_the_public_names() -> None:
    assert sorted(dir(sordino)) == sorted([*sordino.__all__, "__version__"])


def test_the_version_is_the_distributions() -> None:
    major, minor, patch = sordino.__version__.split(".")
    assert all(part.isdecimal() for part in (major, minor, patch))


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'sordino' has no attribute 'secure_product'"):
        sordino.secure_product  # noqa: B018


def test_importing_the_package_loads_none_of_it() -> None:
    script = (
        "import sys, sordino\n"
        "print([name for name in ('numpy', 'scipy', 'sklearn', 'cryptography', 'msgspec', 'sordino._core') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
