# SPDX-License-Identifier: Apache-2.0

"""`import sordino` costs next to nothing, and a first sum no package that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

MOST = 0.050  # seconds of the processor, more than numpy and msgspec alone
RUNS = 5
IMPORT = """
import time, numpy, msgspec
start = time.process_time()
import sordino
print(time.process_time() - start)
"""
FIRST_SUM = """
import json, sys, sordino
sordino.secure_sum({name: [1.0, 2.0] for name in ("alder", "birch", "cedar")})
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def told(script: str) -> Any:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_sordino_is_as_quick_as_numpy_and_msgspec_alone() -> None:
    fastest = min(
        told(IMPORT) for _ in range(RUNS)
    )  # what other processes do to one run is no cost of the import
    assert 0.0 < fastest < MOST


def test_a_first_sum_loads_no_heavy_package() -> None:
    heavy = {"matplotlib", "pandas", "radiomics", "rich", "SimpleITK", "sklearn", "tenseal", "typer"}
    assert heavy.isdisjoint(told(FIRST_SUM))
