# SPDX-License-Identifier: Apache-2.0

"""HTML and SVG from nested calls; every text is escaped unless it is markup already."""

from __future__ import annotations

from html import escape

EMPTY = {"br", "link", "meta", "img"}


class Markup(str):
    """Text that holds elements and may stand in a page as it is."""

    __slots__ = ()


def element(tag: str, *content: str | None, **attributes: str | float | bool | None) -> Markup:
    """An element; None stands for nothing, a text is escaped.

    An attribute's name loses an underscore at its end and has dashes for the others: `class_`, `aria_label`.
    True is an attribute without a value, None and False none at all.
    """
    given = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_value(value)}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in EMPTY:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(*content)}</{tag}>")


def joined(*content: str | None) -> Markup:
    """Several parts, one after the other."""
    return Markup("".join(_text(part) for part in content if part is not None))


def _text(part: str) -> str:
    return part if isinstance(part, Markup) else escape(part, quote=False)


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{round(value, 2):g}"
