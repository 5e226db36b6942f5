# SPDX-License-Identifier: Apache-2.0

"""Execute the notebooks: every NAME.py here becomes NAME.ipynb with its outputs.

    python docs/notebooks/execute.py --data DATA [NAME ...]
    python docs/notebooks/execute.py --prose [NAME ...]

NAME.py, in jupytext's percent format, is what is edited and reviewed; NAME.ipynb is made of it and committed
for readers. DATA has the folders keek2020, nsclc-captk and tcga-brca; what is to be in them stands in each
notebook. `--prose` takes over what changed in the text alone, and executes nothing. Needs the extra
`notebooks`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("keek2020", "nsclc-captk", "tcga-brca")

LARGEST = 300_000
"""Bytes of a notebook: more is no page to read."""

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""Of every notebook: nothing about the machine, the time or the person that executed it."""


def read_source(path: Path) -> Any:
    """The notebook of a source, without outputs; the same source gives the same bytes."""
    import jupytext

    book = jupytext.read(path)
    if book.cells[0].source.startswith("# SPDX"):
        del book.cells[0]
    for place, cell in enumerate(book.cells, start=1):
        cell.id, cell.metadata = f"cell-{place:02}", {}
    book.metadata, book.nbformat, book.nbformat_minor = METADATA, 4, 5
    return book


def executed(path: Path, data: Path) -> str:
    """The notebook of a source, run in a fresh kernel over the folder `data`.

    Raises `ValueError` for what is no good for readers, see `check`.
    """
    import nbformat
    from nbclient import NotebookClient

    book = read_source(path)
    client = NotebookClient(
        book,
        timeout=1800,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    )
    client.execute(env={**os.environ, "SORDINO_SHARED_DATA": str(data.resolve())})
    book.metadata = METADATA
    for cell in book.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = list(_joined(cell.outputs))
    text = nbformat.writes(book)
    if faults := check(text):
        raise ValueError(f"{path.name}: {'; '.join(faults)}")
    return text + "\n"


def reworded(path: Path, text: str) -> str:
    """An executed notebook with the prose that its source has by now; `ValueError` where the code differs."""
    import nbformat

    source, book = read_source(path), nbformat.reads(text, as_version=4)
    codes, kept = ([cell for cell in one.cells if cell.cell_type == "code"] for one in (source, book))
    if [cell.source for cell in codes] != [cell.source for cell in kept]:
        raise ValueError(f"{path.name}: its code is another by now; execute it")
    for cell, old in zip(codes, kept, strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return nbformat.writes(source) + "\n"


def _joined(outputs: list[Any]) -> Iterator[Any]:
    """Pieces of one stream put together: how they were cut is chance."""
    last = None
    for output in outputs:
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
            continue
        if last is not None:
            yield last
        last = output
    if last is not None:
        yield last


def check(text: str) -> list[str]:
    """What is wrong with an executed notebook's text: a form that is none, errors, paths, names, size."""
    import nbformat

    faults = []
    book = nbformat.reads(text, as_version=4)
    try:
        nbformat.validate(book)
    except nbformat.ValidationError as error:
        return [f"no valid notebook: {error.message}"]
    codes = [cell for cell in book.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in codes] != list(range(1, len(codes) + 1)):
        faults.append("not every code cell was executed, in order")
    for cell in codes:
        for output in cell.outputs:
            if output.output_type == "error":
                faults.append(f"cell {cell.execution_count} failed: {output.ename}: {output.evalue}")
            elif output.get("name") == "stderr":
                faults.append(f"cell {cell.execution_count} wrote to stderr: {output.text.strip()[:200]}")
    first = book.cells[0] if book.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        faults.append("the first cell does not begin with the title")
    if extra := [cell.id for cell in book.cells if cell.metadata] + sorted(
        set(book.metadata) - set(METADATA)
    ):
        faults.append(f"metadata beyond the kernel's name: {extra}")
    secret = {str(Path.home()), str(HERE.parents[1]), tempfile.gettempdir()} - {"/"}
    if shown := sorted(one for one in secret if one in text):
        faults.append(f"shows paths of a machine: {shown}")
    if shown := re.findall(r"(?:/home/|/Users/|/tmp/|/root/|[A-Z]:\\\\)[\w.-]+", text):
        faults.append(f"shows paths of a machine: {sorted(set(shown))}")
    if len(text.encode()) > LARGEST:
        faults.append(f"has {len(text.encode()):,} bytes, {LARGEST:,} are the most")
    return faults


def key_figures(text: str) -> dict[str, tuple[float, float]]:
    """What the last cell of a notebook prints: by name a figure, and how far another execution may be off."""
    last = json.loads(text)["cells"][-1]
    printed = "".join(line for output in last["outputs"] for line in output["text"])
    return {name: (value, tolerance) for name, (value, tolerance) in json.loads(printed).items()}


def main() -> None:
    """Execute the notebooks that are named, or all, and say which key figures moved too far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if left out")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--data", type=Path, help="folder of the three studies' data")
    how.add_argument("--prose", action="store_true", help="only put changed prose into the notebooks")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"no notebook {unknown[0]!r}, there are {', '.join(NAMES)}")
    if given.data is not None and not given.data.is_dir():
        parser.error(f"{given.data} is no folder")
    for name in given.names or NAMES:
        made = HERE / f"{name}.ipynb"
        if given.prose:
            text = reworded(HERE / f"{name}.py", made.read_text(encoding="utf-8"))
            made.write_text(text, encoding="utf-8")
            continue
        before = key_figures(made.read_text(encoding="utf-8")) if made.exists() else {}
        text = executed(HERE / f"{name}.py", given.data)
        for figure, (value, tolerance) in key_figures(text).items():
            if figure in before and not abs(value - before[figure][0]) <= tolerance:
                print(f"{name}: {figure} is {value:g}, it was {before[figure][0]:g}")
        made.write_text(text, encoding="utf-8")
        print(f"{made.name}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
