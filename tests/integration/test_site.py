# SPDX-License-Identifier: Apache-2.0

"""The documentation's site: built without a warning, whole, and asking nobody for anything."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from posixpath import join, normpath
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from browser import CHROMIUM, browse, foreign_hosts, look

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "sordino"
MISSING = [name for name in ("furo", "myst_nb", "sphinx") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not here: make docs installs it")

LOADED = {"src", "srcset", "data", "poster", "action", "background", "style"}
"""Attributes that have a browser load something; of `<link>` also href."""


class Page(HTMLParser):
    """What a page links to, what it loads, its anchors, and its styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._style = tag == "style"
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif value and (name in LOADED or (name in ("href", "xlink:href") and tag != "a")):
                self.loads.append(value)

    def handle_endtag(self, _):
        self._style = False

    def handle_data(self, data):
        if self._style:
            self.loads.append(data)


def foreign(loads):
    """Those that name another host, or may: only what is beside the page is its own."""
    return [
        load
        for load in loads
        if re.search(r"(?:^|[\s(\"'])(?:[a-z]+:)?//", load) and "www.w3.org" not in load
    ]


@pytest.fixture(scope="module")
def site():
    """The site's folder; what `make docs` built before is only brought up to date."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "site" / "build.py"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "build" / "docs" / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its path in the site."""
    return {path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def where(page, link):
    """Where a link of a page leads: a path in the site and an anchor, or None for another place."""
    if urlsplit(link).scheme or urlsplit(link).netloc:
        return None
    path, anchor = urldefrag(link)
    return (normpath(join(page, "..", unquote(path))) if path else page), unquote(anchor)


def public():
    """Every name that a package exports, and where a package exports none, those of its modules.

    A name that another package exports is described there: `sordino.Policy`, not in its module.
    """
    packages = {
        ".".join(("sordino", *init.parent.relative_to(PACKAGE).parts)): ast.parse(init.read_text("utf-8"))
        for init in sorted(PACKAGE.rglob("__init__.py"))
    }
    del packages["sordino.cli"]
    elsewhere = {
        f"{node.module}.{alias.name}"
        for tree in packages.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for package, tree in packages.items():
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        exports = [node.value for node in assigned if ast.unparse(node.targets[0]) == "__all__"]
        if exports:
            yield from (f"{package}.{name}" for name in ast.literal_eval(exports[0]))
            continue
        for module in sorted((PACKAGE.parent / package.replace(".", "/")).glob("[a-z]*.py")):
            for node in ast.parse(module.read_text("utf-8")).body:
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                    name = f"{package}.{module.stem}.{node.name}"
                    if name not in elsewhere:
                        yield name


def test_pages_load_nothing_from_another_host(site, pages):
    assert len(pages) > 60
    found = {name: foreign(page.loads) for name, page in pages.items()}
    assert {name: loads for name, loads in found.items() if loads} == {}
    styles = {
        path.name: re.findall(r"url\([^)]*\)|@import[^;]*", path.read_text("utf-8"))
        for path in site.rglob("*.css")
    }
    assert {name: foreign(urls) for name, urls in styles.items() if foreign(urls)} == {}


def test_a_load_from_another_host_is_found():
    text = """<a href="https://a.example">x</a><link rel="icon" href="//b.example/x.png"><script src="x.js">
    </script><img srcset="x.png 1x, https://c.example/y.png 2x">
    <style>p { background: url('https://d.example/') }</style><p>//e.example</p>"""
    assert len(foreign(Page(text).loads)) == 3


def test_every_page_of_docs_is_reached_from_the_index_and_no_link_is_dead(site, pages):
    reached, waiting, dead = set(), ["index.html"], []
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for link in pages[name].links:
            if (place := where(name, link)) is None:
                continue
            path, anchor = place
            if path in pages:
                waiting.append(path)
                if anchor and anchor not in pages[path].anchors:
                    dead.append((name, link))
            elif not (site / path).is_file():
                dead.append((name, link))
    assert dead == []
    written = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb")]
    assert len(written) > 30
    named = {path: path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in written}
    assert [str(path) for path, page in named.items() if page not in reached] == []


def test_every_public_name_is_described(pages):
    described = set().union(*(page.anchors for name, page in pages.items() if name.startswith("reference/")))
    names = list(public())
    assert len(names) > 300
    assert [name for name in names if name not in described] == []


def test_every_command_and_header_is_there(pages):
    from typer.main import get_command

    from sordino.cli.app import app

    commands = get_command(app).commands
    anchors = pages["reference/command-line.html"].anchors
    assert len(commands) > 10
    assert [name for name in commands if f"sordino-{name}" not in anchors] == []
    told = pages["reference/cpp.html"].anchors
    headers = [path.stem for path in (ROOT / "cpp/include/sordino").glob("*.hpp")]
    assert [name for name in headers if f"sordino-{name}-hpp" not in told] == []


# The pages in frames as wide as screens; what sticks out is the harness's own text.
HARNESS = """<!doctype html><title>harness</title><link rel="icon" href="data:,"><body style="margin:0">
<script>
const found = {}, wanted = PAGES.flatMap(page => [1400, 360].map(width => [page, width]));
for (const [page, width] of wanted) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0;display:block`;
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    const drawn = root.querySelectorAll("article svg, article img");
    found[`${page} ${width}`] = {
      wide: root.scrollWidth - width,
      empty: [...drawn].filter(one => one.getBoundingClientRect().height < 5).length,
      text: root.querySelector("article").innerText.length,
    };
    if (Object.keys(found).length === wanted.length) {
      const told = document.createElement("pre");
      told.textContent = "FOUND" + JSON.stringify(found) + "END";
      document.body.append(told);
    }
  };
  frame.src = page;
  document.body.append(frame);
}
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here: apt-get install chromium")
def test_pages_fit_wide_and_narrow_screens_and_search_works_without_a_network(site, tmp_path):
    shown = [
        "index",
        "tutorial",
        "study",
        "protocol",
        "math/discrete-gaussian",
        "reference/command-line",
        "reference/python/sordino",
    ]
    harness = site / "harness.html"
    harness.write_text(HARNESS.replace("PAGES", json.dumps([f"{page}.html" for page in shown])))
    try:
        done, _ = browse(
            site, harness.name, "--virtual-time-budget=20000", "--dump-dom", profile=tmp_path / "a"
        )
    finally:
        harness.unlink()
    told = re.search("<pre>FOUND(.*)END</pre>", done.stdout)
    assert told, done.stderr
    found = json.loads(unescape(told[1]))
    assert {
        page: seen for page, seen in found.items() if seen["wide"] > 0 or seen["empty"] or seen["text"] < 500
    } == {}
    assert "CONSOLE" not in done.stderr
    assert foreign_hosts(tmp_path / "a") == set()

    address = (site / "search.html").as_uri() + "?q=shamir"
    done = look(address, "--virtual-time-budget=20000", "--dump-dom", profile=tmp_path / "b")
    assert "adr/0001-shamir-field.html" in done.stdout
    assert "CONSOLE" not in done.stderr
    assert foreign_hosts(tmp_path / "b") == set()
