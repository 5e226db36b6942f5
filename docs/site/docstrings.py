# SPDX-License-Identifier: Apache-2.0

"""Docstrings as they are written here, in reStructuredText for Sphinx.

They are plain prose in four shapes: paragraphs, columns of a name and what it means, numbered or dashed
lists, and indented formulas. Whatever reStructuredText would read into them (`2**b`, `|U|`, `b_i`) is
escaped, so they mean what they say; what stands in backticks becomes code, and a link where it names
something that has a page.
"""

from __future__ import annotations

import re
from textwrap import dedent

CODE = re.compile(r"(`+)(.+?)\1")
NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*\Z")
ROW = re.compile(r"(\S+(?: \S+)*?)\s{2,}(\S.*)")
ITEM = re.compile(r"(-|\d+\.) (.*)")


def as_rst(text: str) -> list[str]:
    """The lines of a docstring in reStructuredText."""
    lines: list[str] = []
    for block in re.split(r"\n[ \t]*\n", dedent(text).strip("\n")):
        lines += _block(block.split("\n"))
    return lines


def inline(text: str) -> str:
    """One paragraph's text: code stays code, a name in it may become a link, the rest is only itself."""
    parts, end = [], 0
    for span in CODE.finditer(text):
        parts.append(_escaped(text[end : span.start()]))
        code = span[2].strip()
        role = f":py:obj:`{code}`" if NAME.match(code) else f"``{code}``"
        # An inline mark is seen only between spaces or punctuation; "\ " is no space on the page.
        before = "" if not re.search(r"""[^\s'"(\[{<\-/:]\Z""", text[: span.start()]) else r"\ "
        after = "" if not re.match(r"""[^\s'")\]}>\-/:.,;!?]""", text[span.end() :]) else r"\ "
        parts.append(before + role + after)
        end = span.end()
    return "".join(parts) + _escaped(text[end:])


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|_`])", r"\\\1", text)


def _block(lines: list[str]) -> list[str]:
    if all(line.startswith(" ") for line in lines):
        return ["::", "", *(f"    {line}" for line in dedent("\n".join(lines)).split("\n")), ""]
    if ITEM.match(lines[0]):
        return _list(lines)
    if ROW.match(lines[0]):
        return _columns(lines)
    text = inline(" ".join(line.strip() for line in lines))
    return [re.sub(r"\A([-+=~>.]|\(?\w{1,3}[.)]\s)", r"\\\1", text), ""]  # it begins no list


def _columns(lines: list[str]) -> list[str]:
    """A definition list; a line that is neither a row nor its continuation begins a paragraph after it."""
    rows: list[tuple[str, list[str]]] = []
    for place, line in enumerate(lines):
        if line.startswith(" "):
            rows[-1][1].append(line.strip())
        elif row := ROW.match(line):
            rows.append((row[1], [row[2]]))
        else:
            return [*_defined(rows), *_block(lines[place:])]
    return _defined(rows)


def _defined(rows: list[tuple[str, list[str]]]) -> list[str]:
    found = []
    for names, text in rows:
        terms = [f"``{name}``" if NAME.match(name) else _escaped(name) for name in names.split(", ")]
        found += [", ".join(terms), f"    {inline(' '.join(text))}", ""]
    return found


def _list(lines: list[str]) -> list[str]:
    items: list[list[str]] = []
    for line in lines:
        if item := ITEM.match(line):
            items.append([item[2]])
        else:
            items[-1].append(line.strip())
    mark = "-" if lines[0].startswith("-") else "#."
    return [*(f"{mark} {inline(' '.join(item))}" for item in items), ""]
