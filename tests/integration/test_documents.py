# SPDX-License-Identifier: Apache-2.0

"""Every block of shell and Python in README.md and the tutorial runs, in order, and tells what it says."""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```(\w*)$")
COMMENT = re.compile(r"<!-- (not run: .+|needs \w+) -->$")
KINDS = {"sh", "python", "text", "toml"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line that it begins at, and the comment above it, if any."""

    kind: str
    line: int
    text: str
    comment: str = ""


def blocks(path):
    """The fenced blocks of a document, in order."""
    found, opened, comment, inside = [], None, "", []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if opened is not None:
            if line == "```":
                found.append(Block(opened, number - len(inside) - 1, "\n".join(inside) + "\n", comment))
                opened, comment, inside = None, "", []
            else:
                inside.append(line)
        elif match := FENCE.fullmatch(line):
            opened = match[1]
            assert opened in KINDS, f"{path.name}, line {number}: a block of no known language: {line}"
        else:
            match = COMMENT.fullmatch(line)
            comment = match[1] if match else ""
    assert opened is None, f"{path.name}: a block does not end"
    return found


def run_shell(block, folder):
    """What bash printed of a block; its first command that fails is the test's failure."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env={**os.environ, "PATH": search},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_python(block, names):
    """Run a block statement by statement; the number of values that its comments state, all of them true."""
    lines, stated = block.text.splitlines(), 0
    for statement in ast.parse(block.text).body:
        if not isinstance(statement, ast.Expr):
            exec(compile(ast.Module([statement], []), "<block>", "exec"), names)
            continue
        value = eval(compile(ast.Expression(statement.value), "<block>", "eval"), names)
        said = lines[statement.end_lineno - 1][statement.end_col_offset :].strip().removeprefix("#")
        try:
            expected = ast.literal_eval(said.strip())
        except (SyntaxError, ValueError):
            continue  # prose
        assert value == expected, f"line {block.line + statement.lineno}: it is {value!r}, not {expected!r}"
        stated += 1
    return stated


def seconds_of_processor():
    return sum(
        resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


@pytest.mark.parametrize(
    ("document", "shell", "python", "needing", "not_run", "values", "printed"),
    [
        ("README.md", 1, 2, 0, 1, 1, 0),
        ("docs/tutorial.md", 13, 3, 1, 1, 4, 7),
        ("docs/explain/secure-sum.md", 0, 7, 0, 0, 21, 0),
        ("docs/explain/epsilon.md", 0, 7, 0, 0, 12, 0),
        ("docs/releasing.md", 0, 0, 0, 3, 0, 0),
    ],
)
def test_blocks_run_and_tell_what_the_document_says(
    document, shell, python, needing, not_run, values, printed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = seconds_of_processor()
    names, counts, told = {}, dict.fromkeys(["sh", "python", "needing", "not run", "values", "text"], 0), None
    for block in blocks(ROOT / document):
        if block.comment.startswith("not run"):
            counts["not run"] += 1
            told = None
        elif block.kind == "sh":
            extra = block.comment.removeprefix("needs ")
            counts["needing" if extra else "sh"] += 1
            told = run_shell(block, tmp_path) if not extra or find_spec(extra) else None
        elif block.kind == "python":
            counts["python"] += 1
            counts["values"] += run_python(block, names)
            told = None
        elif block.kind == "text" and told is not None:
            counts["text"] += 1
            lines = iter(told.splitlines())
            for line in block.text.splitlines():
                assert line in lines, f"{document}, line {block.line}: not printed: {line}\n{told}"
            told = None
    assert counts == {
        "sh": shell,
        "python": python,
        "needing": needing,
        "not run": not_run,
        "values": values,
        "text": printed,
    }
    assert seconds_of_processor() - before < 30


def test_a_block_that_fails_or_tells_otherwise_is_found(tmp_path):
    with pytest.raises(AssertionError, match="line 1"):
        run_shell(Block("sh", 1, "false\ntrue\n"), tmp_path)
    with pytest.raises(AssertionError, match="it is 2, not 3"):
        run_python(Block("python", 1, "1 + 1  # 3\n"), {})
    document = tmp_path / "a.md"
    document.write_text("```\nls\n```\n")
    with pytest.raises(AssertionError, match="no known language"):
        blocks(document)
