# SPDX-License-Identifier: Apache-2.0

"""The tables of bench/README.md and docs/comparison.md hold what the benches printed, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("bench_table", BENCH / "table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_tables_are_those_of_the_figures():
    done = subprocess.run([sys.executable, BENCH / "table.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_bench_was_run_and_has_rows(table):
    scripts = {path.stem for path in BENCH.glob("*.py")} - {"harness", "table"}
    assert set(table.BENCHES) == scripts
    for name in scripts:
        found = json.loads((BENCH / "seen" / f"{name}.json").read_text(encoding="utf-8"))
        assert found["run"]["command"].startswith(f"bench/{name}.py")
        assert table.rows_of({name: found}, name)


def test_what_was_not_reached_is_said(table):
    assert table.faster(11.96, 12) == {
        "compared": "12 times as fast",
        "wanted": "at least 12: **not reached**",
    }
    assert table.faster(12.0, 12)["wanted"] == "at least 12"
    assert table.costs(1.31, 1.3)["wanted"] == "at most 1.3: **not reached**"
    assert table.costs(1.3, 1.3)["wanted"] == "at most 1.3"
    assert table.faster(None) == {"compared": "not here"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.98432, "0.984"),
        (15.04, "15"),
        (811_234.0, "811,000"),
        (1_950.4, "1,950"),
        (999.6, "1,000"),
        (None, "none"),
    ],
)
def test_three_digits_count(table, value, told):
    assert table.short(value) == told


def test_a_page_without_a_place_for_a_table_is_refused(table):
    with pytest.raises(SystemExit, match="no place for table figures"):
        table.filled("# A page\n", "figures", [])


def test_a_table_takes_the_place_of_the_one_before(table):
    page = table.filled(
        "<!-- table a: written by bench/table.py -->\n<!-- end of table a -->\n", "a", ["| x |"]
    )
    assert "| x |" in page
    assert "| x |" not in table.filled(page, "a", ["| y |"])
