# SPDX-License-Identifier: Apache-2.0

"""Run the quick part of the suite against the sordino that is installed: `python tests/wheels/quick.py`.

The quick part is tests/unit: every kernel against its reference with every backend of this CPU, every value
and every refusal, in about a minute. What is left out needs no wheel to be tried: liars, crashes, whole
studies. The package has to be an installed one; this checkout's files would say nothing about a wheel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sordino
from sordino import _core

ROOT = Path(__file__).parents[2]


def main(*arguments: str) -> int:
    package, module = Path(sordino.__file__).parent, Path(_core.__file__).parent
    if package != module or package.parent.name != "site-packages" or package == ROOT / "python" / "sordino":
        raise SystemExit(f"no installed wheel: sordino is in {package}, its module in {module}")
    print(f"sordino {sordino.__version__} in {package}, {_core.backend()}, Python {sys.version.split()[0]}")
    return pytest.main(
        [
            *(
                "--rootdir",
                str(ROOT),
                "-c",
                str(ROOT / "pyproject.toml"),
                "-p",
                "no:cacheprovider",
                "--quiet",
            ),
            *("--numprocesses", "2", "--dist", "loadscope", "--no-loadscope-reorder"),
            *(arguments or [str(ROOT / "tests" / "unit")]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
