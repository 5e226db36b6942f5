# SPDX-License-Identifier: Apache-2.0

"""Executed notebooks of the three real studies: whole, made of their sources, telling nothing of anyone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data"))
LONG = os.environ.get("SORDINO_LONG") == "1"

found = importlib.util.spec_from_file_location("execute", ROOT / "docs" / "notebooks" / "execute.py")
notebooks = importlib.util.module_from_spec(found)
found.loader.exec_module(notebooks)

SAID = {
    "keek2020": {
        "federated AUC": ("examples/keek2020.toml", "twenty splits: {:.3f}"),
        "pooled AUC": ("examples/keek2020.toml", "pooled rows {:.3f}"),
        "federated AUC with ComBat": ("examples/keek2020.toml", "by hospital, {:.3f}"),
    },
    "nsclc-captk": {
        "late fusion": ("examples/nsclc-captk.toml", "late fusion       {:.3f}"),
        "early fusion": ("examples/nsclc-captk.toml", "early fusion      {:.3f}"),
        "clinical alone": ("examples/nsclc-captk.toml", "clinical alone    {:.3f}"),
        "imaging alone": ("examples/nsclc-captk.toml", "imaging alone     {:.3f}"),
    },
    "tcga-brca": {
        "C-index, risk sets": ("examples/tcga_brca.py", "risk sets, 16 times         {:.3f}"),
        "C-index, exact times": ("examples/tcga_brca.py", "risk sets, exact times      {:.3f}"),
    },
}
"""Where else a key figure is told, and in which words."""

PATIENTS = re.compile(r"TCGA-\w\w-\w{4}|(?:AMC|R01)-\d{3}|(?:AVL|UMCU|VUMC|MAASTRO)\d{3}")


@pytest.fixture(params=notebooks.NAMES)
def name(request):
    return request.param


@pytest.fixture
def text(name):
    return (ROOT / "docs" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")


def test_notebook_is_valid_executed_in_order_and_says_nothing_of_the_machine(text):
    assert notebooks.check(text) == []


def test_notebook_is_made_of_its_source(name, text):
    source = notebooks.read_source(ROOT / "docs" / "notebooks" / f"{name}.py")
    made = nbformat.reads(text, as_version=4)
    assert [(cell.id, cell.cell_type, cell.source) for cell in made.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in source.cells
    ]


def test_every_section_of_a_study_is_there_and_figures_are_drawn(text):
    book = nbformat.reads(text, as_version=4)
    prose = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    for section in ("**Question.**", "**Data.**", "licen", "## Who was missing", "## Who learned what"):
        assert section in prose
    for section in ("## With noise", "## Audit", "## Limits", "ithout noise"):
        assert section in prose
    drawn = [
        output
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]
    assert len(drawn) >= 3


def test_no_patient_is_named(text):
    assert not PATIENTS.findall(text)


@pytest.mark.parametrize("study", sorted(SAID))
def test_key_figures_are_those_that_the_examples_tell(study):
    text = (ROOT / "docs" / "notebooks" / f"{study}.ipynb").read_text(encoding="utf-8")
    figures = notebooks.key_figures(text)
    for figure, (document, words) in SAID[study].items():
        said = words.format(figures[figure][0])
        assert said in (ROOT / document).read_text(encoding="utf-8")


def test_what_is_wrong_with_a_notebook_is_found(text):
    assert notebooks.check(text.replace("\n   ]", "\n   ]", 1)) == []
    book = json.loads(text)
    first, *others = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    first["execution_count"] = others[0]["execution_count"]
    first["outputs"] = [
        {"output_type": "stream", "name": "stderr", "text": ["a warning of /home/somebody/data.csv\n"]},
        {"output_type": "error", "ename": "ValueError", "evalue": "wrong", "traceback": []},
    ]
    others[0]["metadata"] = {"execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"}}
    book["cells"][0]["source"] = ["no title"]
    faults = " ".join(notebooks.check(json.dumps(book)))
    for fault in ("in order", "ValueError", "stderr", "paths of a machine", "metadata", "title"):
        assert fault in faults
    book["cells"][0]["source"] = ["# " + "x" * notebooks.LARGEST]
    assert "are the most" in " ".join(notebooks.check(json.dumps(book)))
    del first["outputs"]
    assert "no valid notebook" in " ".join(notebooks.check(json.dumps(book)))


@pytest.mark.skipif(not LONG, reason="some minutes: SORDINO_LONG=1 executes the notebooks")
@pytest.mark.skipif(find_spec("nbclient") is None, reason="needs the extra notebooks")
@pytest.mark.skipif(
    not SHARED.exists(), reason=f"{SHARED} is not there; SORDINO_SHARED_DATA may say where it is"
)
def test_executed_again_the_key_figures_are_the_same(name, text):
    told = notebooks.key_figures(text)
    again = notebooks.key_figures(notebooks.executed(ROOT / "docs" / "notebooks" / f"{name}.py", SHARED))
    assert again.keys() == told.keys()
    for figure, (value, tolerance) in told.items():
        assert again[figure][0] == pytest.approx(value, abs=tolerance), figure


def test_links_of_the_prose_lead_to_files(text):
    book = nbformat.reads(text, as_version=4)
    prose = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert len(links) >= 2
    assert [link for link in links if not (ROOT / "docs" / "notebooks" / link).exists()] == []
