# SPDX-License-Identifier: Apache-2.0

"""Every block of README.md, the tutorial, the explanations and the how-tos runs and tells what the page says.

Blocks run in the order of the page.

A comment above a block says what else there is to it:

    <!-- not run: reason -->   it is left out
    <!-- needs NAME -->        it is left out where there is no Python module and no program of that name
    <!-- file: NAME -->        it is the content of that file
    <!-- exits CODE -->        the command fails with this code

A `text` block has lines that the block before it printed, in that order.
"""

from __future__ import annotations

import ast
import io
import logging
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import copy, copytree, ignore_patterns, which

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```(\w*)$")
COMMENT = re.compile(r"<!-- (not run: .+|needs \S+|file: \S+|exits \d+) -->$")
KINDS = {"sh", "python", "text", "toml", "cpp", "cmake", "diff"}
BUILT = [*sorted(ROOT.glob("build/cp3*/libsordino.a")), *ROOT.glob("build/library/libsordino.a")]
"""The C++ library as builds of the package left it for this machine."""


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


def run_shell(block, folder, code=0):
    """What bash printed of a block; its first command that fails is the test's failure, unless it should."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env={**os.environ, "PATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, f"line {block.line}:\n{block.text}\n{done.stdout}"
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


def copy_the_checkout(folder, monkeypatch):
    """Have what the blocks start run a copy of the package in the folder, which they may change."""
    from sordino import _core

    copytree(ROOT / "python", folder / "python", ignore=ignore_patterns("__pycache__"))
    copy(_core.__file__, folder / "python" / "sordino")
    # The finder of an editable install comes before the path.
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [one for one in sys.meta_path if 'Redirecting' not in type(one).__name__]\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "hook"), str(folder / "python")]))


def install_the_library(folder, monkeypatch):
    """Install the C++ library that the package was built from into `installed`."""
    del monkeypatch
    if not BUILT:
        pytest.skip("no build of the package in build/, whose C++ library the page could link")
    run_shell(
        Block("sh", 1, f"cmake --install '{BUILT[0].parent}' --component development --prefix installed\n"),
        folder,
    )


def seconds_of_processor():
    return sum(
        resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def run_document(document, folder):
    """Run a document's blocks in a folder; how many there were of each sort, and of stated values."""
    names, counts, told = {}, Counter(), None
    for block in blocks(ROOT / document):
        mark, _, what = block.comment.partition(" ")
        if mark == "not":
            counts["not run"] += 1
            told = None
        elif mark == "file:":
            counts["files"] += 1
            (folder / what).parent.mkdir(parents=True, exist_ok=True)
            (folder / what).write_text(block.text, encoding="utf-8")
        elif mark == "needs" and not (find_spec(what) or which(what)):
            counts["needing"] += 1
            told = None
        elif block.kind == "sh":
            counts["needing" if mark == "needs" else "sh"] += 1
            told = run_shell(block, folder, int(what) if mark == "exits" else 0)
        elif block.kind == "python":
            counts["needing" if mark == "needs" else "python"] += 1
            with redirect_stdout(io.StringIO()) as printed:
                stated = run_python(block, names)
            if mark != "needs":
                counts["values"] += stated
            told = printed.getvalue()
        elif block.kind == "text" and told is not None:
            counts["text"] += 1
            lines = iter(told.splitlines())
            for line in block.text.splitlines():
                assert line in lines, f"{document}, line {block.line}: not printed: {line}\n{told}"
            told = None
    return counts


PREPARED = {
    "docs/how-to/add-a-model.md": copy_the_checkout,
    "docs/how-to/link-from-cpp.md": install_the_library,
}
"""What stands in for what a reader has beside the folder of a page."""


@pytest.fixture(autouse=True)
def no_handler_stays():
    """What a page hears of the package's loggers, the tests after it do not."""
    yield
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("sordino") and isinstance(logger, logging.Logger):
            logger.handlers[:] = [each for each in logger.handlers if isinstance(each, logging.NullHandler)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("README.md", {"sh": 1, "python": 2, "not run": 1, "values": 1}),
        ("docs/tutorial.md", {"sh": 13, "python": 3, "needing": 1, "not run": 1, "values": 4, "text": 7}),
        ("docs/explain/secure-sum.md", {"python": 7, "values": 21}),
        ("docs/explain/epsilon.md", {"python": 7, "values": 12}),
        ("docs/releasing.md", {"not run": 3}),
        ("docs/how-to/choose-parameters.md", {"sh": 10, "python": 5, "values": 2, "text": 10}),
        ("docs/how-to/add-a-model.md", {"sh": 4, "files": 8, "needing": 1, "text": 3}),
        ("docs/how-to/link-from-cpp.md", {"sh": 2, "files": 2, "needing": 1, "not run": 1, "text": 3}),
        ("docs/how-to/site-floor.md", {"sh": 7, "files": 1, "python": 3, "text": 9}),
    ],
)
def test_blocks_run_and_tell_what_the_document_says(document, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PREPARED.get(document, lambda *_: None)(tmp_path, monkeypatch)
    before = seconds_of_processor()
    assert run_document(document, tmp_path) == Counter(expected)
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
