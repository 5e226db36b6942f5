# SPDX-License-Identifier: Apache-2.0

"""The pages of docs/explain: figures are as their script draws them, tables as the blocks work them out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from integration.test_documents import blocks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "explain"
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["keys", "masks", "round", "split-view", "trade-off"]


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_explanations", FOLDER / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said_of(page: str) -> dict[str, object]:
    """What the first Python blocks of a page define; the later ones need not run for it."""
    names: dict[str, object] = {}
    for block in blocks(FOLDER / page)[:2]:
        exec(compile(block.text, page, "exec"), names)
    return names


def rows(page: str, first: str) -> dict[str, list[str]]:
    """The cells of the table whose head begins with `first`, by the first cell of each row."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    _, found = text.split(f"| {first} |", 1)
    lines = found.split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_the_figures_are_as_the_script_draws_them(draw: ModuleType) -> None:
    figures = [figure() for figure in draw.FIGURES]
    assert sorted(figure.name for figure in figures) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.svg")) == NAMES
    for figure in figures:
        assert (FOLDER / f"{figure.name}.svg").read_text(encoding="utf-8") == figure.svg(), figure.name


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_can_be_read_without_being_seen_and_asks_for_nothing(name: str) -> None:
    path = FOLDER / f"{name}.svg"
    root = ET.parse(path).getroot()
    assert root.get("role") == "img"
    ids = (root.get("aria-labelledby") or "").split()
    said = [next(one for one in root if one.get("id") == each) for each in ids]
    assert [one.tag for one in said] == [f"{SVG}title", f"{SVG}desc"]
    assert all(one.text for one in said)
    assert {one.tag for one in root.iter()} <= {
        SVG + tag for tag in ("svg", "title", "desc", "style", "rect", "text", "polyline", "circle")
    }
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|href|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    pages = [page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")]
    assert sum(len(re.findall(rf"!\[[^\]]{{20,}}\]\({name}\.svg\)", page)) for page in pages) == 1


def test_the_picture_of_masks_has_the_numbers_of_the_page(draw: ModuleType) -> None:
    page = said_of("secure-sum.md")
    texts = [one.text for one in ET.fromstring(draw.masks().svg()).iter(f"{SVG}text")]
    for name in ("alder_birch", "alder_cedar", "birch_cedar"):
        assert f"+{page[name]}" in texts
        assert f"\u2212{page[name]}" in texts
    for name in draw.HAS:
        assert page["mask"](page["seed"](name)) == draw.mask(draw.seed(name))


def test_the_tables_of_odds_are_what_the_blocks_work_out(draw: ModuleType) -> None:
    belief = said_of("epsilon.md")["belief"]
    for before, cells in rows("epsilon.md", "they believed before").items():
        few, many = map(int, before.split(" in "))
        for epsilon, cell in zip((1, 3, 8), cells, strict=True):
            digits = len(cell.removesuffix(" %").partition(".")[2])
            assert cell == f"{100 * belief(few / many, epsilon):.{digits}f} %"
    for alarms, (coin, *cells) in rows("epsilon.md", "false alarms").items():
        few, many = map(int, alarms.split(" in "))
        assert float(coin.removesuffix(" %")) == 100 * few / many
        for epsilon, cell in zip((1, 3, 8), cells, strict=True):
            assert cell == f"{100 * draw.power(epsilon, few / many):.1f} %"


def test_what_is_said_to_hold_a_claim_is_there() -> None:
    claims = rows("secure-sum.md", "claim")
    assert len(claims) >= 10
    for claim, (code, tests) in claims.items():
        for path, name in re.findall(r"`(\w+\.py)`:? `([\w.]+)`", code):
            text = (ROOT / "python/sordino/protocol" / path).read_text(encoding="utf-8")
            for part in name.split("."):
                assert re.search(rf"(def|class) {part}\b", text), f"{claim}: {path} has no {part}"
        found = re.findall(r"`([\w/]+\.py)`:? `(\w+)`", tests)
        assert found, claim
        for path, name in found:
            text = (ROOT / "tests" / path).read_text(encoding="utf-8")
            assert f"def {name}(" in text, f"{claim}: {path} has no {name}"
