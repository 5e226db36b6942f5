# SPDX-License-Identifier: Apache-2.0

"""The tree of pages that Sphinx reads: docs/, what is made of the code, and where links lead outside docs/.

A page is Markdown that reads on a forge too. Its links into the repository, to a source or an example, would
lead out of the site, which has no address of a repository to send them to. So whatever a page links to
becomes a page: other Markdown as it is, a source or a folder of them as its text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from diagrams import draw
from reference import command_page, header_page, python_pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# By part: patterns of pages in the order of the navigation. A page of docs/ that none of them names goes to
# the end of the explanations, so that it cannot be missing.
PARTS = {
    "Tutorial": ("tutorial", "notebooks/*"),
    "How to": ("how-to/*", "flower", "nvflare", "operations", "radiomics", "report"),
    "Explanations": (
        "explain/*",
        "protocol",
        "threat-model",
        "privacy",
        "choosing",
        "comparison",
        "audit",
        "models",
        "statistics",
        "survival",
        "combat",
        "math",
        "adr",
    ),
    "Reference": (
        "reference/command-line",
        "study",
        "reference/python",
        "reference/cpp",
        "project",
        "code",
        "genindex",
    ),
}

# Folders whose pages stand behind one of their own.
FOLDERS = {
    "math": ("Proofs", "What the code rests on, written out."),
    "adr": ("Decisions", "What was decided, and why."),
    "project": ("The project", "What the repository says of itself."),
    "code": ("Sources", "The files that these pages speak of, as they are in the repository."),
}

PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")

FENCED = re.compile(r"^(```+|~~~+).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\[(?:[^\]\[]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
LANGUAGES = {
    ".py": "python",
    ".toml": "toml",
    ".cpp": "cpp",
    ".hpp": "cpp",
    ".txt": "cmake",
    ".sh": "sh",
    ".md": "md",
}
SKIPPED = re.compile(r"__pycache__|\.(pyc|so|png|gz)$")


class Tree:
    """The pages in a folder. One that is as it was is not touched, so that Sphinx need not read it again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[str] = set()
        self._wanted: list[Path] = []

    def write(self, page: str, text: str) -> None:
        """Put a page, by its path in the site, there."""
        self._put(page, text.encode())

    def _put(self, page: str, content: bytes) -> None:
        self.written.add(page)
        path = self.folder / page
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def add(self, path: Path) -> None:
        """Put a page, a notebook or a picture of the repository there, its links rewritten."""
        page = self.place_of(path)
        if path.suffix == ".md":
            self.write(page, self._drawn(self._relinked(path.read_text(encoding="utf-8"), path), path))
        elif path.suffix == ".ipynb":
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = self._relinked("".join(cell["source"]), path)
            self.write(page, json.dumps(notebook, indent=1, sort_keys=True))
        else:
            self._put(page, path.read_bytes())

    def add_sources(self) -> None:
        """A page for each file or folder outside docs/ that a page has linked to."""
        for path in sorted(set(self._wanted)):
            files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
            name = path.relative_to(ROOT).as_posix()
            lines = [f"# {name}", ""]
            for each in files:
                if SKIPPED.search(each.as_posix()):
                    continue
                if path.is_dir():
                    lines += [f"## {each.relative_to(path).as_posix()}", ""]
                language = LANGUAGES.get(each.suffix, "text")
                lines += [
                    f"~~~~~~~~{language}",
                    each.read_text(encoding="utf-8").rstrip("\n"),
                    "~~~~~~~~",
                    "",
                ]
            self.write(self.place_of(path), "\n".join(lines))

    def place_of(self, path: Path) -> str:
        """Where a file or folder of the repository is in the site."""
        name = path.relative_to(ROOT).as_posix()
        if name in ("README.md", "docs"):
            return "index.md"
        if name in PROJECT:
            return f"project/{name.removesuffix('/README.md').removesuffix('.md')}.md"
        if name.startswith("docs/") and path.suffix != ".py":
            inside = name.removeprefix("docs/")
            return (f"{inside}/index.md" if inside in FOLDERS else "index.md") if path.is_dir() else inside
        return f"code/{name}.md"

    def _relinked(self, text: str, path: Path) -> str:
        """The text with each link into the repository led to where it is in the site; fenced blocks stay."""
        parts, end = [], 0
        for fence in FENCED.finditer(text):
            parts += [self._links(text[end : fence.start()], path), fence[0]]
            end = fence.end()
        return "".join(parts) + self._links(text[end:], path)

    def _links(self, prose: str, path: Path) -> str:
        here = PurePosixPath(self.place_of(path)).parent

        def lead(link: re.Match[str]) -> str:
            if link[2] is None or re.match(r"[a-z]+:|#", link[3]):
                return link[0]
            name, mark, anchor = link[3].partition("#")
            target = Path(os.path.normpath(path.parent / name))
            if not target.exists() or not target.is_relative_to(ROOT):
                return link[0]  # Sphinx says that it leads nowhere
            place = self.place_of(target)
            if place.startswith("code/"):
                self._wanted.append(target)
            return f"{link[2]}{os.path.relpath(place, here)}{mark}{anchor}{link[4]}"

        return re.sub(rf"(`+)(?:(?!\1).)+\1|{LINK.pattern}", lead, prose, flags=re.DOTALL)

    def _drawn(self, text: str, path: Path) -> str:
        count = iter(range(100))
        return MERMAID.sub(lambda found: draw(found[1], f"{path.stem}-{next(count)}") + "\n", text)

    def finish(self) -> None:
        """Remove pages that an earlier build wrote and this one did not."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.relative_to(self.folder).as_posix() not in self.written:
                path.unlink()


def write_pages(folder: Path) -> None:
    """Write all that Sphinx reads into `folder`."""
    tree = Tree(folder)
    site = Path(__file__).parent
    for path in sorted(DOCS.rglob("*")):
        if (
            path.is_file()
            and not path.is_relative_to(site)
            and not re.search(r"\.(py|pyc)$|\.ipynb_checkpoints", str(path))
        ):
            tree.add(path)
    for name in PROJECT:
        tree.add(ROOT / name)
    for page, text in (python_pages() | command_page() | header_page()).items():
        tree.write(page, text)
    tree.add_sources()
    for name, (title, about) in FOLDERS.items():
        inside = sorted(page for page in tree.written if page.startswith(f"{name}/") and page.endswith(".md"))
        tree.write(
            f"{name}/index.md", f"# {title}\n\n{about}\n\n" + _toctree(f"/{_stem(page)}" for page in inside)
        )
    navigation = "\n".join(
        _toctree(pages, f":caption: {part}", ":hidden:") for part, pages in _parts(tree.written).items()
    )
    index = (folder / "index.md").read_text(encoding="utf-8")
    tree.write("index.md", f"{index}\n{navigation}")
    tree.finish()


def _parts(written: set[str]) -> dict[str, list[str]]:
    """The pages of each part of the navigation, in order."""
    pages = {_stem(page) for page in written if page.endswith((".md", ".rst", ".ipynb"))} - {"index"}
    pages = {page.removesuffix("/index") for page in pages}
    pages = {page for page in pages if page.split("/")[0] not in FOLDERS or "/" not in page}
    pages = {page for page in pages if not page.startswith("reference/python/")} | {"genindex"}
    parts: dict[str, list[str]] = {}
    for part, patterns in PARTS.items():
        parts[part] = [page for pattern in patterns for page in sorted(pages) if fnmatchcase(page, pattern)]
        pages -= set(parts[part])
    parts["Explanations"] += sorted(pages)
    return {
        part: [f"{page}/index" if page in FOLDERS else page for page in named]
        for part, named in parts.items()
    }


def _stem(page: str) -> str:
    return str(PurePosixPath(page).with_suffix(""))


def _toctree(pages: Iterable[str], *options: str) -> str:
    return "\n".join(["```{toctree}", *(options or (":maxdepth: 1",)), "", *pages, "```", ""])
