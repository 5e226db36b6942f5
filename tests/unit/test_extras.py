# SPDX-License-Identifier: Apache-2.0

"""What needs an extra says in one line what to install, and nothing else needs one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from wheels.bare import BRINGS, NEEDS

ROOT = Path(__file__).parents[2]
TOOLS = {"bench", "dev", "docs", "notebooks", "test", "wheel"}  # extras that no part of the package needs


def test_every_extra_of_users_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(BRINGS) == set(project["optional-dependencies"]) - TOOLS
    for extra in BRINGS:
        assert f"pip install 'sordino[{extra}]'" in NEEDS.values()


def test_without_extras_everything_is_imported_and_what_needs_one_says_which(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tests" / "wheels" / "bare.py", "--hide"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"without extras: {len(NEEDS)} things say what to install\n"
