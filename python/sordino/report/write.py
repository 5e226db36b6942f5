# SPDX-License-Identifier: Apache-2.0

"""Writing the two files of a report beside what they are made from."""

from __future__ import annotations

import json
from pathlib import Path

from sordino.errors import ConfigError
from sordino.files.durable import write_durably
from sordino.report.content import content
from sordino.report.page import page


def write_report(folder: Path, site: str | None = None) -> Path:
    """Write `report.html` and `report.json` into `folder`, and return the path of the page.

    With `site` they are `site-report.html` and `site-report.json` in that site's own folder, which only its
    owner may read. Raises `ConfigError` if there is nothing to report, or it cannot be written.
    """
    found = content(folder, site)
    where, name = (folder, "report") if site is None else (folder / "sites" / site, "site-report")
    shown = where / f"{name}.html"
    try:
        write_durably(where / f"{name}.json", json.dumps(found, indent=1, allow_nan=False).encode() + b"\n")
        write_durably(shown, page(found).encode())
    except OSError as error:
        raise ConfigError(f"{where}: cannot be written: {error.strerror}") from None
    return shown
