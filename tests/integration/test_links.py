# SPDX-License-Identifier: Apache-2.0

"""Every link of the documentation that stays in the repository leads to a file, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
    ROOT / "bench/README.md",
]
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")


def prose(path):
    """The text of a document without its fenced blocks."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """The anchors that GitHub gives a document's headings: lower case, hyphens for spaces, no punctuation."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?)\s*$", prose(path), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = found.setdefault(slug, 0)
        found[slug] += 1
        if again:
            found[f"{slug}-{again}"] = 1
    return set(found)


def broken(documents):
    """Where links lead nowhere, and how many links stay in the repository."""
    faults, seen = [], 0
    for document in documents:
        for target in LINK.findall(re.sub(r"`[^`\n]*`", "code", prose(document))):
            if re.match(r"[a-z]+:", target):
                continue
            seen += 1
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            if not path.exists():
                faults.append(f"{document.name}: {target}: no such file")
            elif anchor and (path.suffix != ".md" or anchor not in anchors(path)):
                faults.append(f"{document.name}: {target}: no such heading")
    return faults, seen


def test_links_lead_to_files_and_headings():
    faults, seen = broken(DOCUMENTS)
    assert faults == []
    assert seen > 60


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    document = tmp_path / "a.md"
    document.write_text(
        "# One `[two]`\n[x](b.md) [y](#one-two) [z](#three) [w](a.md#one-two)\n```\n[v](c.md)\n```\n"
    )
    faults, seen = broken([document])
    assert faults == ["a.md: b.md: no such file", "a.md: #three: no such heading"]
    assert seen == 4
