# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from sordino.report.markup import element, joined

SCRIPT = '<script>alert("1")</script>'


def test_text_is_escaped_and_elements_are_not():
    made = element("p", SCRIPT, element("b", "a & b"))
    assert made == '<p>&lt;script&gt;alert("1")&lt;/script&gt;<b>a &amp; b</b></p>'


def test_attribute_cannot_leave_its_quotes():
    assert element("i", title='" onload="x') == '<i title="&quot; onload=&quot;x"></i>'


def test_attributes_take_names_numbers_and_switches():
    made = element("br", class_="a", aria_label="b", x=1 / 3, open=True, hidden=False, id=None)
    assert made == '<br class="a" aria-label="b" x="0.33" open>'


def test_nothing_stands_for_none():
    assert joined("a", None, element("b")) == "a<b></b>"
