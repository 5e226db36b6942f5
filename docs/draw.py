# SPDX-License-Identifier: Apache-2.0

"""Write the diagrams of docs/protocol.md anew from the protocol's transition table: `python docs/draw.py`."""

from __future__ import annotations

import re
from pathlib import Path

from sordino.protocol.transitions import sequence_diagram, step_diagram

PAGE = Path(__file__).with_name("protocol.md")


def drawn(text: str) -> str:
    """The page with both diagrams as the table has them now."""
    for name, diagram in (("messages", sequence_diagram()), ("steps", step_diagram())):
        text = re.sub(
            rf"(<!-- {name} -->\n+```mermaid\n).*?(\n```)",
            lambda found, diagram=diagram: found[1] + diagram + found[2],
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
