# SPDX-License-Identifier: Apache-2.0

"""One version and one date in every place that states them."""

from __future__ import annotations

import re
from pathlib import Path

import sordino

ROOT = Path(__file__).parents[2]


def found(pattern: str, name: str) -> list[str]:
    return re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    headings = found(r"^## (.+)$", "CHANGELOG.md")
    assert headings[0] == "Unreleased"
    (version,) = found(r'version_string = "(.+)"', "cpp/include/sordino/version.hpp")
    assert headings[1].split(" - ")[0] == version == sordino.__version__


def test_the_citation_is_of_the_newest_release() -> None:
    version, date = found(r"^## (\d\S*) - (\d{4}-\d\d-\d\d)$", "CHANGELOG.md")[0]
    assert found(r"^version: (.+)$", "CITATION.cff") == [version]
    assert found(r'^date-released: "(.+)"$', "CITATION.cff") == [date]
