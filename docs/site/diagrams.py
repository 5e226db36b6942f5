# SPDX-License-Identifier: Apache-2.0

"""The two kinds of Mermaid diagram that the pages hold, drawn as SVG while the site is built.

Mermaid itself is three megabytes of script at every reader, or a browser at whoever builds. A forge draws
the same text with it; here a sequence of messages is two lines of life, and steps are a column with arcs
beside it, forward on the right and back on the left.
"""

from __future__ import annotations

import re
from html import escape

HEAD = """<marker id="{0}-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 L8 4 L0 8 z" class="head"/></marker>"""


def draw(text: str, name: str) -> str:
    """One diagram in Mermaid's notation as an SVG of one line; `name` is unique on its page.

    Raises `ValueError` for a kind or a line that is not known.
    """
    kind, *lines = [line.strip() for line in text.strip().splitlines()]
    if kind == "sequenceDiagram":
        return _sequence(lines, name)
    if kind == "stateDiagram-v2":
        return _steps(lines, name)
    raise ValueError(f"a Mermaid diagram of the kind {kind!r} cannot be drawn")


def _sequence(lines: list[str], name: str) -> str:
    parties: dict[str, str] = {}
    messages: list[tuple[str, str, str, str]] = []
    for line in lines:
        if found := re.fullmatch(r"participant (\w+) as (.+)", line):
            parties[found[1]] = found[2]
        elif found := re.fullmatch(r"(\w+)(-?->>)(\w+): (.+)", line):
            messages.append((found[1], found[2], found[3], found[4]))
        else:
            raise ValueError(f"a line of a sequence that cannot be drawn: {line!r}")
    at = {party: 80 + 300 * place for place, party in enumerate(parties)}
    width, height = 160 + 300 * (len(at) - 1), 70 + 32 * len(messages)
    drawn = []
    for party, title in parties.items():
        drawn.append(_line(at[party], 40, at[party], height - 5, "life"))
        drawn.append(_box(at[party], 22, title))
    for place, (source, arrow, target, label) in enumerate(messages):
        y, x, end = 72 + 32 * place, at[source], at[target]
        drawn.append(_line(x, y, end, y, "answer" if arrow == "-->>" else "", f"url(#{name}-head)"))
        drawn.append(_text((x + end) / 2, y - 5, label, "middle"))
    told = ", ".join(f"{parties[source]} sends {label}" for source, _, _, label in messages)
    return _svg(name, width, height, "Messages in their order: " + told, drawn)


def _steps(lines: list[str], name: str) -> str:
    labels: dict[tuple[str, str], list[str]] = {}
    places: dict[str, int] = {}
    for line in lines:
        found = re.fullmatch(r"(\w+|\[\*\]) --> (\w+)(?:: (.+))?", line)
        if not found:
            raise ValueError(f"a line of steps that cannot be drawn: {line!r}")
        for step in found[1], found[2]:
            places.setdefault(step, len(places))
        labels.setdefault((found[1], found[2]), []).append(found[3] or "")
    gap, middle, half = 78, 330, 52
    drawn = []
    for (source, target), said in labels.items():
        start, end, label = places[source], places[target], ", ".join(said)
        top, bottom = 24 + gap * start, 24 + gap * end
        if start == end:
            path = f"M{middle + half} {top - 7} c26 -4 26 18 0 14"
            drawn += [_path(path, name), _text(middle + half + 24, top + 4, label)]
        elif end == start + 1:
            drawn.append(_line(middle, top + 15, middle, bottom - 15, "", f"url(#{name}-head)"))
            drawn.append(_text(middle + 6, (top + bottom) / 2 + 4, label))
        else:
            side = 1 if end > start else -1
            edge, reach = middle + side * half, side * (40 + 62 * abs(end - start))
            shift = 8 * side  # the ways out and in are apart
            top, bottom, far = top + shift, bottom - shift, edge + reach
            path = f"M{edge} {top} C{far} {top} {far} {bottom} {edge} {bottom}"
            drawn.append(_path(path, name))
            apex = edge + 0.75 * reach
            drawn.append(
                _text(apex + 6 * side, (top + bottom) / 2 + 4, label, "start" if side > 0 else "end")
            )
    for step, place in places.items():
        y = 24 + gap * place
        drawn.append(
            f'<circle cx="{middle}" cy="{y + 8}" r="7" class="head"/>'
            if step == "[*]"
            else _box(middle, y, step)
        )
    told = "; ".join(f"{a} to {b} by {', '.join(said)}" for (a, b), said in labels.items() if a != "[*]")
    return _svg(name, 720, 48 + gap * (len(places) - 1), "Steps: " + told, drawn)


def _svg(name: str, width: float, height: float, title: str, drawn: list[str]) -> str:
    defined = f'<title id="{name}-title">{escape(title)}</title><defs>{HEAD.format(name)}</defs>'
    return (
        f'<div class="diagram"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'style="width:{width:g}px" role="img" aria-labelledby="{name}-title">'
        f"{defined}{''.join(drawn)}</svg></div>"
    )


def _line(x: float, y: float, to_x: float, to_y: float, kind: str, head: str = "") -> str:
    marker = f' marker-end="{head}"' if head else ""
    return f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" class="{kind or "way"}"{marker}/>'


def _path(path: str, name: str) -> str:
    return f'<path d="{path}" class="way" marker-end="url(#{name}-head)"/>'


def _box(x: float, y: float, title: str) -> str:
    text = _text(x, y + 5, title, "middle")
    return f'<rect x="{x - 52:g}" y="{y - 15:g}" width="104" height="30" rx="6"/>{text}'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
