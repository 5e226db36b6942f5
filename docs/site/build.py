# SPDX-License-Identifier: Apache-2.0

"""Build the documentation's site, warnings as errors: `python docs/site/build.py [FOLDER]`, or build/docs."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main

from pages import ROOT, write_pages

SITE = Path(__file__).parent


def build(folder: Path) -> int:
    """Lay out FOLDER/pages and build FOLDER/html of them; Sphinx's exit code, 0 for no warning.

    Pages that stayed as they were are not read again, but all are written, since a link may have moved. After
    a warning, or once this code is another, everything is read anew.
    """
    doctrees, stamp = folder / "doctrees", folder / "site.sha256"
    ours = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SITE.glob("*.py")))).hexdigest()
    if not stamp.exists() or stamp.read_text() != ours:
        shutil.rmtree(doctrees, ignore_errors=True)
        shutil.rmtree(folder / "html", ignore_errors=True)
    write_pages(folder / "pages")
    options = ["--quiet", "--fail-on-warning", "--write-all", "--jobs", "auto", "-b", "html"]
    places = ["-d", str(doctrees), "-c", str(SITE), str(folder / "pages"), str(folder / "html")]
    code = main([*options, *places])
    if code == 0:
        stamp.write_text(ours)
    else:
        stamp.unlink(missing_ok=True)
    return code


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"))
