# SPDX-License-Identifier: Apache-2.0

"""Names in code become links to where they are described, in docstrings and in prose.

A full name, `sordino.protocol.site.Site`, has to lead somewhere: if no page describes it, that is a warning,
and so an error of the build. A bare name leads to what ends in it, if there is just one such thing; else it
stays plain code.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from docstrings import as_rst

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

FULL = re.compile(r"sordino(\.[A-Za-z]\w*)+\Z")
PLAIN = re.compile(r"Bases: (object|ABC|Struct|NamedTuple|Protocol(\[\w+\])?)\Z")
COMMANDS = "reference/command-line"
WHOLE = ("class", "exception", "function")

logger = logging.getLogger(__name__)


class NamesInProse(SphinxTransform):
    """Full names and commands in the pages' code spans wait for their link."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Wrap each of them; what every class is, or is by its technique, is not said."""
        for paragraph in list(self.document.findall(nodes.paragraph)):
            if PLAIN.match(paragraph.astext()):
                paragraph.parent.remove(paragraph)
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            if isinstance(literal.parent, (nodes.reference, addnodes.pending_xref, nodes.title)):
                continue
            if FULL.match(text):
                kind, target = "py", text
            elif command := re.match(r"sordino ([a-z]+(?: [a-z]+)?)(?= |\Z)", text):
                kind, target = "command", command[1]
            else:
                continue
            waiting = addnodes.pending_xref(
                "", refdomain=kind, reftype="obj", reftarget=target, refexplicit=True
            )
            waiting["refdoc"] = self.env.docname
            waiting.source, waiting.line = literal.source, literal.line
            literal.replace_self(waiting)
            waiting += literal


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Element
) -> nodes.Element | None:
    """What Sphinx itself does not find: a command, or the end of a name."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") == "command":
        return _command(app, node, target, text)
    if node.get("refdomain") != "py":
        return None
    found = _ends_in(env, target.removesuffix("()"))
    if found is not None:
        name, entry = found
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text, name)
    if node["reftype"] == "obj" and FULL.match(target) and not _variable(target):
        logger.warning("no page describes %s", target, location=node, type="ref", subtype="sordino")
    return None


def _ends_in(env: BuildEnvironment, target: str) -> tuple[str, Any] | None:
    """The one thing described whose name ends so; a bare word is a class or a function of two words."""
    bare = "." not in target
    if not target or (bare and not (target[:1].isupper() or "_" in target.strip("_"))):
        return None
    found = {
        (entry.docname, entry.node_id): (name, entry)
        for name, entry in env.domains.python_domain.objects.items()
        if (name == target or name.endswith("." + target))
        and not entry.aliased
        and (not bare or entry.objtype in WHOLE)
    }
    return next(iter(found.values())) if len(found) == 1 else None


def _variable(target: str) -> bool:
    """Whether a name is a type variable, of which there is nothing to say."""
    module, _, name = target.rpartition(".")
    return isinstance(getattr(sys.modules.get(module), name, None), TypeVar)


def _command(
    app: Sphinx, node: addnodes.pending_xref, target: str, text: nodes.Element
) -> nodes.Element | None:
    """The command's heading on the page of the command line: of `keys new study` that of `keys new`."""
    known = app.env.tocs[COMMANDS].findall(nodes.reference)
    anchors = {link["anchorname"].removeprefix("#") for link in known}
    for words in target, target.split()[0]:
        anchor = "sordino-" + words.replace(" ", "-")
        if anchor in anchors:
            return make_refnode(app.builder, node["refdoc"], COMMANDS, anchor, text)
    logger.warning("no command is called sordino %s", target, location=node, type="ref", subtype="sordino")
    return None


def rewrite(_app: Sphinx, _what: str, _name: str, _given: object, _options: object, lines: list[str]) -> None:
    """A docstring before Sphinx reads it."""
    lines[:] = as_rst("\n".join(lines))


def legible(
    _app: Sphinx, _what: str, _name: str, _given: object, _options: object, sign: str | None, back: str | None
) -> tuple[str | None, str | None]:
    """A signature that Sphinx can read where a dataclass has a default that is made anew for each object."""
    return (sign.replace("<factory>", "...") if sign else sign), back


def leave_out(
    _app: Sphinx, _what: str, name: str, given: object, skip: bool, _options: object
) -> bool | None:
    """Whether a member has no place on a page: what a library or `NamedTuple` has put there."""
    text = getattr(given, "__doc__", None) or ""
    foreign = re.fullmatch(r"set_(fit|transform|predict|score)_request", name)
    return True if skip or foreign or text.startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this by its name."""
    app.add_transform(NamesInProse)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", legible)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
