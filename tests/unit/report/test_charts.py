# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from sordino.report import charts
from sordino.report.page import STYLE


@pytest.mark.parametrize("span", [(0.0, 1.0), (-3.2, 8.9), (0.0, 1e-6), (1e5, 1.000001e5), (0.0, 365.0)])
def test_ticks_are_few_round_and_inside(span):
    found = charts.ticks(*span)
    assert 2 <= len(found) <= 6
    assert all(span[0] - 1e-9 <= value <= span[1] * (1 + 1e-9) for value in found)


def test_axis_of_equal_or_undefined_values_has_a_width():
    assert charts.around([2.0, 2.0]) == (1.0, 3.0)
    assert charts.around([0.0]) == (-1.0, 1.0)
    low, high = charts.around([float("nan")], zero=True)
    assert low == 0.0 < high


def test_stairs_stay_until_the_next_time():
    assert charts.stairs([(0, 1.0), (2, 0.5)]) == [(0, 1.0), (2, 1.0), (2, 0.5)]
    assert charts.stairs([]) == []


def test_chart_is_well_formed_and_tells_what_it_shows():
    axes = charts.Axes((0.0, 1.0), (0.0, 2.0), "x <in> mm", "y")
    drawn = charts.chart("one", "A & B", "falls", axes, charts.line(axes, [(0, 0), (1, 2)], "first"))
    svg = ET.fromstring(drawn)
    assert svg.get("role") == "img"
    named = {part.get("id"): part.text for part in svg if part.tag in ("title", "desc")}
    assert named == {"one-title": "A & B", "one-desc": "falls"}
    assert svg.get("aria-labelledby").split() == list(named)
    assert "x <in> mm" in [text.text for text in svg.iter("text")]


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted([_luminance(one), _luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_and_marks_stand_out_in_light_and_dark():
    schemes = re.findall(r":root \{(.*?)\}", Path(STYLE).read_text(), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for text in ("ink", "soft", "link", "bad", "one", "two", "warn"):
            assert _contrast(colours[text], colours["paper"]) >= 4.5, text
        for text in ("ink", "link"):
            assert _contrast(colours[text], colours["alert"]) >= 4.5, text
        for mark in ("bad", "one", "warn"):
            assert _contrast(colours[mark], colours["in"]) >= 2.5, mark
