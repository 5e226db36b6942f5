# SPDX-License-Identifier: Apache-2.0

"""Draw the figures of docs/explain anew: `python docs/explain/draw.py`. A test holds the files to it.

Plain SVG without scripts or fonts: text stays text, both colour schemes are in the file, and every figure has
a title and a description for those who cannot see it. Numbers are worked out by sordino, as in the pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from math import hypot
from pathlib import Path
from statistics import NormalDist
from xml.sax.saxutils import escape

import numpy as np

from sordino import _core
from sordino.privacy import noise_multiplier

FOLDER = Path(__file__).parent
HAS = {"alder": 12, "birch": 30, "cedar": 7}
RING = 256
DELTA = 1e-5
EPSILONS = (1, 3, 8)

STYLE = """
svg { --paper: #fdfdfb; --ink: #1c1c1a; --soft: #585852; --rule: #d5d4cc; --one: #1f4e8c; --two: #a8400f;
  --three: #4a6b1e; --bad: #a3201a; --in: #e3ebf5; --alert: #f9e4df; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #191a1b; --ink: #e8e6e0; --soft: #aeaba3; --rule: #45464a; --one: #8ab6f0; --two: #f0a06a;
    --three: #a9cf78; --bad: #ff8d80; --in: #26364a; --alert: #43241f; }
}
text { font: 14px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: var(--ink); }
.small { font-size: 12.5px; }
.soft { fill: var(--soft); }
.head { font-weight: 600; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
text.one { fill: var(--one); } text.two { fill: var(--two); } text.three { fill: var(--three); }
text.bad { fill: var(--bad); font-weight: 600; }
.paper { fill: var(--paper); stroke: var(--rule); }
.box { fill: var(--in); stroke: var(--one); stroke-width: 1.2; }
.plain { fill: none; stroke: var(--rule); stroke-width: 1.2; }
.alert { fill: var(--alert); stroke: var(--bad); stroke-width: 1.2; }
.line { fill: none; stroke: var(--ink); stroke-width: 1.4; }
.thin { fill: none; stroke: var(--rule); stroke-width: 1; }
.dashed { stroke-dasharray: 5 4; }
.line.one { stroke: var(--one); } .line.two { stroke: var(--two); } .line.three { stroke: var(--three); }
.line.bad { stroke: var(--bad); } .line.soft { stroke: var(--soft); }
.curve { stroke-width: 2.2; }
.dot { fill: var(--ink); }
.dot.bad { fill: var(--bad); }
""".strip()


class Figure:
    """A drawing of so many pixels; `kind` of a mark is its classes in STYLE."""

    def __init__(self, name: str, width: int, height: int, title: str, description: str) -> None:
        self.name = name
        self._open = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-labelledby="title desc">\n'
            f'<title id="title">{escape(title)}</title>\n<desc id="desc">{escape(description)}</desc>\n'
            f"<style>\n{STYLE}\n</style>\n"
        )
        self._marks: list[str] = []
        self.box(0.5, 0.5, width - 1, height - 1, "paper", radius=8)

    def text(self, x: float, y: float, said: object, kind: str = "", *, upwards: bool = False) -> None:
        """One line of text with its base line at y."""
        at = f'x="{_number(x)}" y="{_number(y)}"'
        turned = f' transform="rotate(-90 {_number(x)} {_number(y)})"' if upwards else ""
        self._marks.append(f'<text {at} class="{kind}"{turned}>{escape(str(said))}</text>')

    def lines(self, x: float, y: float, said: Iterable[str], kind: str = "small", step: float = 17) -> None:
        """Lines of text, the first with its base line at y."""
        for place, line in enumerate(said):
            self.text(x, y + place * step, line, kind)

    def box(
        self, x: float, y: float, width: float, height: float, kind: str = "box", radius: float = 5
    ) -> None:
        """A rectangle with round corners."""
        numbers = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
        self._marks.append(f'<rect {numbers} rx="{_number(radius)}" class="{kind}"/>')

    def line(self, points: Iterable[tuple[float, float]], kind: str = "") -> None:
        """Points joined in their order."""
        at = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._marks.append(f'<polyline points="{at}" class="line {kind}"/>')

    def arrow(self, start: tuple[float, float], end: tuple[float, float], kind: str = "") -> None:
        """A line with a head at its end."""
        self.line((start, end), kind)
        self.head(start, end, kind)

    def head(self, start: tuple[float, float], end: tuple[float, float], kind: str = "") -> None:
        """The head of an arrow from `start` to `end`."""
        across, down = end[0] - start[0], end[1] - start[1]
        length = hypot(across, down)
        along = (across / length, down / length)
        wings = [
            (end[0] - 8 * along[0] - side * 4 * along[1], end[1] - 8 * along[1] + side * 4 * along[0])
            for side in (1, -1)
        ]
        self.line((wings[0], end, wings[1]), kind.replace("dashed", ""))

    def dot(self, x: float, y: float, kind: str = "") -> None:
        """A small disc."""
        self._marks.append(f'<circle cx="{_number(x)}" cy="{_number(y)}" r="3.5" class="dot {kind}"/>')

    def cross(self, x: float, y: float) -> None:
        """Where something ends."""
        for side in (1, -1):
            self.line(((x - 7, y - side * 7), (x + 7, y + side * 7)), "bad curve")

    def svg(self) -> str:
        """The file."""
        return self._open + "\n".join(self._marks) + "\n</svg>\n"


def _number(value: float) -> str:
    return f"{round(value, 1):g}"


def seed(name: str) -> bytes:
    """A seed made of a name, so that everybody sees the same numbers."""
    return hashlib.sha256(name.encode()).digest()


def mask(of: bytes) -> int:
    """The first number of a seed's keystream, mod 256."""
    lanes = np.zeros(1, np.uint32)
    _core.add_masks(lanes, of, b"")
    return int(lanes[0] % RING)


def masks() -> Figure:
    """Three hospitals' numbers, the masks of each pair, what is sent, and the sum."""
    figure = Figure(
        "masks",
        720,
        372,
        "Masks cancel in pairs",
        "A table with a column for each of alder, birch and cedar and one for their sum. Each pair of "
        "hospitals has a number that the first adds and the second subtracts, so each of these rows sums "
        "to zero. What each sends looks random; the sum of what they send is the sum of what they have, "
        "on a clock of 256 hours.",
    )
    columns = {name: 260 + 125 * place for place, name in enumerate(HAS)} | {"sum": 645}
    for name, x in columns.items():
        figure.text(x, 36, name, "head middle")
    figure.text(24, 72, "has")
    sent = dict(HAS)
    for name, value in HAS.items():
        figure.text(columns[name], 72, value, "middle")
    figure.text(columns["sum"], 72, sum(HAS.values()), "middle head")
    figure.line(((16, 88), (704, 88)), "thin")
    names = list(HAS)
    pairs = [(0, 1, "one"), (0, 2, "two"), (1, 2, "three")]
    for row, (first, second, kind) in enumerate(pairs):
        one, other = names[first], names[second]
        y, value = 124 + 52 * row, mask(seed(f"{one}-{other}"))
        figure.text(24, y, f"mask of {one} and {other}", kind)
        figure.line(((columns[one] + 32, y - 5), (columns[other] - 32, y - 5)), kind)
        for name, sign in ((one, "+"), (other, "\u2212")):
            figure.box(columns[name] - 32, y - 20, 64, 30, "paper")
            figure.text(columns[name], y, f"{sign}{value}", f"middle {kind}")
        figure.text(columns["sum"], y, 0, "middle soft")
        sent[one], sent[other] = sent[one] + value, sent[other] - value
    figure.line(((16, 254), (704, 254)), "thin")
    figure.text(24, 288, "together")
    figure.text(24, 334, "sends, mod 256", "head")
    for name in names:
        figure.text(columns[name], 288, str(sent[name]).replace("-", "\u2212"), "middle soft")
        figure.box(columns[name] - 32, 312, 64, 34)
        figure.text(columns[name], 334, sent[name] % RING, "middle head")
    total = sum(value % RING for value in sent.values())
    figure.text(columns["sum"], 326, total, "middle soft")
    figure.text(columns["sum"], 346, f"mod 256 = {total % RING}", "middle head")
    return figure


def sequence() -> Figure:
    """A round of three hospitals, of which one vanishes between its upload and the unmasking."""
    figure = Figure(
        "round",
        760,
        570,
        "A round in which a hospital vanishes after its upload",
        "A sequence diagram with the coordinator, alder, birch and cedar. R1: all three send masked "
        "numbers with sealed shares. Then cedar vanishes. R2: alder and birch sign who is in the sum, "
        "which makes a certificate of two signatures. R3: on it they reveal their own self masks. R4: "
        "each opens the box that cedar had sealed for it and gives its share of cedar's self mask. The "
        "coordinator rebuilds that mask and has the sum, 49.",
    )
    columns = {"coordinator": 120.0, "alder": 340.0, "birch": 500.0, "cedar": 660.0}
    bottom, lost = 490.0, 194.0
    for name, x in columns.items():
        figure.box(x - 52, 16, 104, 30)
        figure.text(x, 36, name, "head middle")
        figure.line(((x, 46), (x, lost if name == "cedar" else bottom)), "thin")
    figure.cross(columns["cedar"], lost)
    figure.text(columns["cedar"], lost + 24, "vanishes", "bad middle")

    def request(y: float, said: str, to: Sequence[str]) -> None:
        figure.text(columns["coordinator"] + 12, y - 8, said, "small")
        figure.line(((columns["coordinator"], y), (columns[to[-1]], y)), "one")
        for name in to:
            figure.head((columns["coordinator"], y), (columns[name], y), "one")

    def answer(y: float, said: str, by: Sequence[str]) -> None:
        figure.text(columns["coordinator"] + 12, y - 8, said, "small")
        figure.line(((columns[by[-1]], y), (columns["coordinator"], y)), "two dashed")
        figure.head((columns[by[-1]], y), (columns["coordinator"], y), "two")
        for name in by:
            figure.dot(columns[name], y)

    everyone, left = list(HAS), list(HAS)[:2]
    steps = [
        (
            "R1",
            66,
            "the question, and who takes part",
            everyone,
            "masked number, commitments, sealed shares",
            everyone,
        ),
        ("R2", 172, "statement: alder, birch, cedar", left, "signature", left),
        ("R3", 278, "certificate: statement, 2 signatures", left, "own self mask", left),
        ("R4", 384, "certificate, cedar's sealed shares", left, "one share of cedar's self mask", left),
    ]
    for name, y, asked, to, said, by in steps:
        figure.line(((16, y), (columns["cedar"] + 52 if y < lost else columns["birch"] + 52, y)), "thin")
        figure.text(24, y + 24, name, "head")
        request(y + 44, asked, to)
        answer(y + 84, said, by)
    figure.line(((16, bottom), (columns["birch"] + 52, bottom)), "thin")
    figure.lines(
        columns["coordinator"] - 96,
        bottom + 26,
        [
            "2 shares rebuild cedar's self mask; its commitment says that it is the right one.",
            "Three masked numbers, less three self masks; the pair masks cancel:",
        ],
        "small",
    )
    figure.text(24, bottom + 64, "12 + 30 + 7 = 49", "head")
    return figure


def keys() -> Figure:
    """Which party ever holds which secret of alder's."""
    figure = Figure(
        "keys",
        760,
        420,
        "Who holds which of alder's secrets",
        "A table. Rows are alder's secrets, columns are alder, birch, cedar and the coordinator. Number, "
        "signing key, box key and base of the noise stay at alder. Pair secret and mask key of alder and "
        "birch are at both; the coordinator gets the mask key only if one of the two is in the sum and "
        "the other is not. Birch and cedar hold one share each of self seed, mask keys and links; the "
        "coordinator gets the self seed only if alder is in the sum.",
    )
    columns = [300.0, 410.0, 500.0, 640.0]
    for name, x in zip(("alder", "birch", "cedar", "coordinator"), columns, strict=True):
        figure.text(x, 34, name, "head middle")
    rows = [
        ("its number", "for ever", "holds", "", "", "never"),
        ("signing key", "for ever", "holds", "", "", "never"),
        ("box key of set-up", "until the receipt", "holds", "", "", "never"),
        ("pair secret with birch", "stepped on each round", "holds", "holds", "", "never"),
        ("mask key with birch", "one round", "holds", "holds", "a share", "if only one is in the sum"),
        ("self seed", "one round", "holds", "a share", "a share", "if alder is in the sum"),
        ("links of the noise", "one round", "holds", "a share", "a share", "those beyond the dropouts"),
        ("base of the noise", "until it is drawn", "holds", "", "", "never"),
    ]
    for place, (secret, lives, *held) in enumerate(rows):
        y = 50 + 45 * place
        figure.line(((16, y), (744, y)), "thin")
        figure.text(24, y + 20, secret)
        figure.text(24, y + 37, lives, "small soft")
        for x, what in zip(columns, held, strict=True):
            if what in ("holds", "a share"):
                figure.box(x - 36, y + 9, 72, 27, "box" if what == "holds" else "plain")
                figure.text(x, y + 27, what, "small middle")
            elif what:
                figure.text(x, y + 27, what, "small middle soft" if what == "never" else "small middle two")
    return figure


def split_view() -> Figure:
    """The attack of two stories in one round, and the count of signatures that stops it."""
    figure = Figure(
        "split-view",
        760,
        500,
        "Two stories in one round, and why only one can be certified",
        "On the left, without a certificate: the coordinator tells alder and birch that cedar is out, and"
        " gets their mask keys with cedar; it tells cedar that it is in, and gets its self mask. Together"
        " these open cedar's number. On the right, with a certificate of three signatures of four "
        "hospitals, of which elm lies: the story without cedar gets three signatures, of alder, birch and"
        " elm; the story with cedar gets two, of cedar and elm. Cedar reveals nothing.",
    )
    figure.line(((360, 16), (360, 400)), "thin")
    figure.text(24, 36, "Without a certificate", "head")
    figure.box(24, 196, 132, 34)
    figure.text(90, 218, "coordinator", "head middle")
    for name, y in (("alder", 78.0), ("birch", 138.0), ("cedar", 306.0)):
        figure.box(256, y - 20, 84, 32)
        figure.text(298, y + 1, name, "head middle")
    figure.text(24, 74, "\u201ccedar is out\u201d", "one")
    figure.arrow((100, 194), (254, 80), "one")
    figure.arrow((120, 194), (254, 140), "one")
    figure.lines(204, 178, ["they reveal their", "masks with cedar"], "small two")
    figure.text(24, 300, "\u201cyou are in\u201d", "one")
    figure.arrow((100, 232), (254, 304), "one")
    figure.lines(204, 346, ["reveals its", "self mask"], "small two")
    figure.box(24, 344, 152, 50, "alert")
    figure.lines(36, 365, ["all masks on cedar\u2019s", "number are known: 7"], "small")

    figure.text(384, 36, "With a certificate: 3 of 4 must sign", "head")
    stories = [
        (60.0, "\u201ccedar is out\u201d", ("alder", "birch", "elm"), "3 signatures: certified", "box"),
        (220.0, "\u201ccedar is in\u201d", ("cedar", "elm"), "2 signatures: no certificate", "alert"),
    ]
    for y, said, signers, outcome, kind in stories:
        figure.box(384, y, 352, 140, "plain")
        figure.text(400, y + 26, said, "one")
        for place, name in enumerate(signers):
            x = 400 + 108 * place
            figure.box(x, y + 42, 96, 34, "alert" if name == "elm" else "box")
            figure.text(x + 48, y + 64, f"\u2713 {name}", "middle")
        figure.box(400, y + 94, 320, 32, kind)
        figure.text(560, y + 115, outcome, "middle head" if kind == "box" else "middle bad")
    figure.text(384, 384, "elm works with the coordinator and signs both", "small soft")
    figure.line(((16, 400), (744, 400)), "thin")
    figure.lines(
        24,
        426,
        [
            "An honest hospital signs one story a round, and journals it before the signature leaves.",
            "There can be 3 honest signatures and elm\u2019s two: 5. Two certificates would need 6.",
            "In general 2t > n + c: more than all hospitals, with the liars counted twice.",
        ],
        step=22,
    )
    return figure


def trade_off() -> Figure:
    """The most true positives that any attack can have at each rate of false ones."""
    figure = Figure(
        "trade-off",
        640,
        456,
        "How well the best attack can tell whether one patient took part",
        "Curves of true positives against false positives, both from 0 to 100 per cent, for epsilon 1, 3 "
        "and 8 at delta 1e-5 with Gaussian noise. The diagonal is a coin. Epsilon 1 stays close to it; at"
        " epsilon 8 the curve is far above it. At 1 per cent false positives the best attack has "
        + ", ".join(f"{100 * power(epsilon, 0.01):.1f}" for epsilon in EPSILONS)
        + " per cent true ones.",
    )
    left, right, top, bottom = 76.0, 616.0, 24.0, 400.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * (right - left), bottom - y * (bottom - top)

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        figure.line((at(0, tick), at(1, tick)), "thin")
        figure.line((at(tick, 0), at(tick, 1)), "thin")
        figure.text(left - 8, at(0, tick)[1] + 5, f"{tick:.0%}", "small end soft")
        figure.text(at(tick, 0)[0], bottom + 20, f"{tick:.0%}", "small middle soft")
    figure.text((left + right) / 2, bottom + 44, "false positives: called a participant, was none", "middle")
    figure.text(
        22, (top + bottom) / 2, "true positives: participants who are called so", "middle", upwards=True
    )
    figure.line((at(0, 0), at(1, 1)), "soft dashed")
    figure.text(at(0.73, 0)[0], at(0, 0.66)[1], "a coin", "small soft")
    rates = [
        0.0,
        *np.geomspace(1e-6, 1e-2, 30),
        *np.linspace(0.015, 0.985, 98),
        *(1 - np.geomspace(1e-2, 1e-6, 30)),
        1.0,
    ]
    for place, (epsilon, kind) in enumerate(zip(EPSILONS, ("three", "one", "two"), strict=True)):
        figure.line([at(rate, power(epsilon, rate)) for rate in rates], f"{kind} curve")
        x, y = at(0.71, 0.21 - 0.075 * (2 - place) + 0.075)
        figure.line(((x, y - 5), (x + 34, y - 5)), f"{kind} curve")
        figure.text(x + 44, y, f"epsilon {epsilon}", f"head {kind}")
    return figure


def power(epsilon: float, false_positives: float) -> float:
    """The largest rate of true positives under Gaussian noise of (epsilon, DELTA) (Dong, Roth & Su 2022)."""
    if not 0 < false_positives < 1:
        return false_positives
    normal = NormalDist()
    return normal.cdf(normal.inv_cdf(false_positives) + _shift(epsilon))


@cache
def _shift(epsilon: float) -> float:
    """How far one unit moves the sum, in standard deviations of its noise."""
    return 1 / noise_multiplier(epsilon, DELTA)


FIGURES = (masks, sequence, keys, split_view, trade_off)


if __name__ == "__main__":
    for draw in FIGURES:
        figure = draw()
        (FOLDER / f"{figure.name}.svg").write_text(figure.svg(), encoding="utf-8")
