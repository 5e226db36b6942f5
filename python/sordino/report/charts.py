# SPDX-License-Identifier: Apache-2.0

"""Small figures as inline SVG: text stays text, colours come from the page, shapes differ besides colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from typing import TypeAlias

from sordino.report.markup import Markup, element, joined

Point: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 380.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 12.0, 44.0


@dataclass(frozen=True)
class Axes:
    """The area of a chart: what its edges stand for, and what is written along them."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str

    def across(self, value: float) -> float:
        """Where a value of x lies."""
        low, high = self.x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(self, value: float) -> float:
        """Where a value of y lies."""
        low, high = self.y
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def at(self, points: Iterable[Point]) -> str:
        """Points as an SVG attribute has them."""
        return " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)

    def frame(self) -> Markup:
        """Grid lines, ticks and labels."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in ticks(*self.y):
            y = self.up(value)
            parts.append(element("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(element("text", number(value), x=LEFT - 6, y=y + 4, class_="end"))
        for value in ticks(*self.x):
            x = self.across(value)
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(element("text", number(value), x=x, y=bottom + 17, class_="middle"))
        middle = (TOP + bottom) / 2
        parts.append(element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
        parts.append(element("text", self.x_label, x=(LEFT + right) / 2, y=HEIGHT - 6, class_="middle label"))
        turned = f"rotate(-90 12 {middle:g})"
        parts.append(element("text", self.y_label, x=12, y=middle, class_="middle label", transform=turned))
        return joined(*parts)


def chart(name: str, title: str, description: str, axes: Axes, *marks: Markup) -> Markup:
    """A figure with its text for those who cannot see it; `name` is unique in the page."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        axes.frame(),
        *marks,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="chart",
    )


def line(axes: Axes, points: Iterable[Point], kind: str) -> Markup:
    """Points joined in their order. The kinds, also of the other marks, are classes of style.css."""
    return element("polyline", points=axes.at(points), class_=f"line {kind}")


def stairs(points: Sequence[Point]) -> list[Point]:
    """A step function: flat from each point to the next one's x."""
    found = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        found += [(x, before), (x, y)]
    return found


def band(axes: Axes, low: Sequence[Point], high: Sequence[Point], kind: str) -> Markup:
    """The area between two lines."""
    return element("polygon", points=axes.at([*high, *reversed(low)]), class_=f"band {kind}")


def dots(axes: Axes, points: Iterable[Point], kind: str, radius: float = 3.5) -> Markup:
    """A dot each."""
    return joined(
        *(
            element("circle", cx=axes.across(x), cy=axes.up(y), r=radius, class_=f"dot {kind}")
            for x, y in points
        )
    )


def whisker(axes: Axes, x: float, low: float, high: float, kind: str) -> Markup:
    """An interval at x."""
    at = axes.across(x)
    return element("line", x1=at, x2=at, y1=axes.up(low), y2=axes.up(high), class_=f"line {kind}")


def note(axes: Axes, x: float, y: float, text: str, kind: str, align: str = "end") -> Markup:
    """Text beside a mark."""
    return element("text", text, x=axes.across(x), y=axes.up(y), class_=f"{align} note {kind}")


def strip(label: str, marks: Iterable[tuple[float, float, str]], height: float = 10.0) -> Markup:
    """A bar that stretches with the page, without text in it: parts from 0 to 1, each of a kind."""
    return element(
        "svg",
        element("title", label),
        *(
            element(
                "rect", x=1000.0 * low, y=0, width=max(1000.0 * (high - low), 1.0), height=height, class_=kind
            )
            for low, high, kind in marks
        ),
        viewBox=f"0 0 1000 {height:g}",
        preserveAspectRatio="none",
        role="img",
        class_="strip",
    )


def interval(
    label: str,
    value: float,
    between: tuple[float, float] | None,
    span: tuple[float, float],
    *,
    hair: float | None = 0.5,
) -> Markup:
    """A strip along `span` with a value, its interval if there is one, and a hair where `hair` is."""

    def place(number: float) -> float:
        low, high = span
        return min(max((number - low) / (high - low), 0.0), 1.0)

    marks = [(0.0, 1.0, "rail")]
    if between is not None:
        marks.append((place(between[0]), place(between[1]), "whisker"))
    at = place(value)
    if hair is not None:
        marks.append((place(hair) - 0.001, place(hair) + 0.001, "half"))
    marks.append((max(at - 0.006, 0.0), min(at + 0.006, 1.0), "value"))
    return strip(label, marks)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, no more than `most`."""
    rough = (high - low) / (most - 1)
    power = 10.0 ** floor(log10(rough))
    step = next(size * power for size in (1.0, 2.0, 2.5, 5.0, 10.0) if size * power >= rough * 0.999)
    first = ceil(low / step - 1e-9)
    found = [round(place * step, 12) for place in range(first, first + most + 1)]
    return [value for value in found if value <= high + 1e-9 * step]


def around(values: Iterable[float], *, zero: bool = False) -> tuple[float, float]:
    """The range of an axis: that of the values and a little room, from zero on where that is meant."""
    finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
    low, high = (0.0 if zero else min(finite)), max(finite)
    room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return (0.0 if zero else low - room), high + room


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:,.10g}" if 1e-4 <= abs(value) < 1e7 or value == 0.0 else f"{value:.3g}"
