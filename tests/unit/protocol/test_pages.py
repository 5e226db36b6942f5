# SPDX-License-Identifier: Apache-2.0

"""The pages say what the code does: diagrams are drawn from the table, links lead somewhere, examples run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagrams_are_those_of_the_transition_table(draw: ModuleType) -> None:
    text = draw.PAGE.read_text(encoding="utf-8")
    assert draw.drawn(text) == text


def test_drawing_replaces_both_diagrams(draw: ModuleType) -> None:
    text = draw.PAGE.read_text(encoding="utf-8")
    bare = re.sub(r"(```mermaid\n).*?(\n```)", r"\1old\2", text, flags=re.DOTALL)
    assert bare.count("\nold\n") == 2
    assert draw.drawn(bare) == text


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> set[str]:
    """The anchors that a renderer makes of a page's headings."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.resolve().is_relative_to(ROOT), f"{page.name} links out of the project: {link}"
        if anchor:
            assert anchor in headings(target), f"{page.name} links to {link}"


def test_the_readmes_first_sum_is_what_it_says() -> None:
    block, *_ = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    for expression, said in re.findall(r"^(outcome\.\w+) +# (\(.*\))$", block, flags=re.MULTILINE):
        assert repr(eval(expression, names)) == said
    outcome, vectors = names["outcome"], names["vectors"]
    survivors = sum(vectors[name] for name in outcome.survivors)
    assert abs(outcome.total - survivors).max() <= len(outcome.survivors) * 2.0**-24
