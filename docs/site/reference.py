# SPDX-License-Identifier: Apache-2.0

"""The pages of the reference that are made of the code: Python's names, the command line, the C++ headers."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from docstrings import as_rst

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "sordino"
HEADERS = ROOT / "cpp" / "include" / "sordino"

# What a reader meets first comes first; the rest follows by name.
FIRST = ("sordino", "sordino.privacy", "sordino.statistics", "sordino.survival", "sordino.radiomics")


@dataclass(frozen=True)
class Unit:
    """A page of names: a package and its own modules, without the packages inside it.

    modules   full names, sorted
    public    what the package exports, name -> (full name of its module, directive that describes it); empty
              where the modules' own names are the public ones
    """

    name: str
    modules: tuple[str, ...]
    public: dict[str, tuple[str, str]]


def units() -> list[Unit]:
    """Every package but the command line, which has a page of its own."""
    found = []
    for init in sorted(PACKAGE.rglob("__init__.py")):
        name = ".".join(("sordino", *init.parent.relative_to(PACKAGE).parts))
        modules = sorted(path.stem for path in init.parent.glob("[a-z]*.py"))
        if name != "sordino.cli":
            found.append(Unit(name, tuple(f"{name}.{stem}" for stem in modules), _exported(init)))
    return sorted(
        found, key=lambda unit: (FIRST.index(unit.name) if unit.name in FIRST else len(FIRST), unit.name)
    )


def _exported(init: Path) -> dict[str, tuple[str, str]]:
    tree = ast.parse(init.read_text(encoding="utf-8"))
    names: list[str] = []
    homes: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                names = ast.literal_eval(node.value)
            case ast.ImportFrom(module=str(home)):
                homes |= dict.fromkeys((alias.name for alias in node.names), home)
    return {name: (homes[name], _directive(homes[name], name)) for name in names}


def _directive(home: str, name: str) -> str:
    for node in ast.parse(_path(home).read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=found) if found == name:
                return "autofunction"
            case ast.ClassDef(name=found, bases=bases) if found == name:
                error = any(re.search("Error|Exception|Warning", ast.unparse(base)) for base in bases)
                return "autoexception" if error else "autoclass"
    return "autodata"


def python_pages() -> dict[str, str]:
    """By path: a page for each package, and the page that leads to them."""
    every = units()
    exported = {(home, name): unit.name for unit in every for name, (home, _) in unit.public.items()}
    lines = [*_title("Python", "="), "A page for each package: what it exports first, then its modules.", ""]
    lines += [
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {unit.name.removeprefix('sordino.')} <python/{unit.name}>" for unit in every),
        "",
    ]
    return {"reference/python.rst": "\n".join(lines)} | {
        f"reference/python/{unit.name}.rst": _page(unit, exported) for unit in every
    }


def _page(unit: Unit, exported: dict[tuple[str, str], str]) -> str:
    lines = [*_title(unit.name, "="), f".. automodule:: {unit.name}", ""]
    for name, (_, directive) in unit.public.items():
        members = [] if directive in ("autodata", "autofunction") else ["   :members:"]
        lines += [f".. {directive}:: {unit.name}.{name}", *members, ""]
    for module in unit.modules:
        lines += _section(
            module, unit, {name: package for (home, name), package in exported.items() if home == module}
        )
    return "\n".join(lines)


def _section(module: str, unit: Unit, elsewhere: dict[str, str]) -> list[str]:
    """A module; `elsewhere` are those of its names that a package exports, which are described there."""
    lines = _title(module.removeprefix(unit.name + "."), "-")
    if (
        module.removeprefix(unit.name + ".") in unit.public
    ):  # what is exported hides the module that it is from
        tree = ast.parse(_path(module).read_text(encoding="utf-8"))
        lines += as_rst(ast.get_docstring(tree) or "")
        for node in tree.body:
            if (
                isinstance(node, (ast.ClassDef, ast.FunctionDef))
                and node.name not in elsewhere
                and node.name[0] != "_"
            ):
                lines += [f".. {_directive(module, node.name)}:: {module}.{node.name}", ""]
    else:
        lines += [f".. automodule:: {module}", "   :members:"]
        lines += [f"   :exclude-members: {', '.join(elsewhere)}"] if elsewhere else []
    lines.append("")
    if elsewhere:
        links = ", ".join(f":py:obj:`~{package}.{name}`" for name, package in elsewhere.items())
        lines += [f"Exported, and described there: {links}.", ""]
    return lines


def command_page() -> dict[str, str]:
    """Every command with its arguments and options, as Typer itself tells them in Markdown."""
    from typer.cli import app
    from typer.main import get_command
    from typer.testing import CliRunner

    done = CliRunner().invoke(
        app, ["sordino.cli", "utils", "docs", "--name", "sordino", "--title", "Command line"]
    )
    if done.exit_code != 0:
        raise RuntimeError(f"Typer could not tell the commands: {done.output}") from done.exception
    return {
        "reference/command-line.md": _whole(done.stdout, get_command(import_module("sordino.cli.app").app))
    }


def _whole(text: str, program: Any) -> str:
    """Typer's page, its lists of commands with whole first lines and links; Typer cuts them short."""
    lines, group = [], program
    for line in text.splitlines():
        if heading := re.match(r"#+ `sordino (\w+)`$", line):
            group = program.commands[heading[1]]
        if (item := re.match(r"\* `(\w+)`: ", line)) and item[1] in getattr(group, "commands", {}):
            name = f"sordino {item[1]}" if group is program else f"sordino {group.name} {item[1]}"
            told = group.commands[item[1]].help.split("\n\n")[0].replace("\n", " ")
            line = f"* [`{name}`](#{name.replace(' ', '-')}): {told}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def header_page() -> dict[str, str]:
    """The public C++ headers: what each says of itself, and the declarations with their comments."""
    lines = [
        *_title("C++", "="),
        "What a C++ program includes. All of it is in the namespace ``sordino``.",
        "",
    ]
    for path in sorted(HEADERS.glob("*.hpp")):
        about, code = _header(path.read_text(encoding="utf-8"))
        lines += [*_title(f"sordino/{path.name}", "-"), *about, ".. code-block:: cpp", ""]
        lines += [f"   {line}" if line else "" for line in code]
        lines.append("")
    return {"reference/cpp.rst": "\n".join(lines)}


def _header(text: str) -> tuple[list[str], list[str]]:
    """The comment that a header begins with, in reStructuredText, and the lines after it."""
    lines = text.splitlines()
    count = next(place for place, line in enumerate(lines) if not line.startswith("//"))
    comment = [line.removeprefix("//").removeprefix(" ") for line in lines[:count]]
    comment = [line for line in comment if not line.startswith("SPDX-")]
    return as_rst("\n".join(comment)), lines[count:]


def _path(module: str) -> Path:
    return PACKAGE.parent / (module.replace(".", "/") + ".py")


def _title(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]
