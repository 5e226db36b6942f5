# SPDX-License-Identifier: Apache-2.0

"""The page of a report in a real browser: no request, no message on its console, nothing that sticks out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hospitals import write_study
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study
from sordino.report.write import write_report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here: apt-get install chromium")

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

ITS_OWN = {"accounts.google.com", "clients2.google.com", "update.googleapis.com"}
"""Hosts that Chromium looks for whenever it starts, whatever the page."""

# Frames as wide as screens measure the page; what they find is the harness's own text.
HARNESS = """<!doctype html><title>harness</title><link rel="icon" href="data:,"><body style="margin:0">
<script>
const widths = [1280, 680, 360], found = {};
const measure = (frame, width) => {
  const page = frame.contentDocument, root = page.documentElement;
  const all = [...page.querySelectorAll("body *")], drawn = [...page.querySelectorAll("svg")];
  const shown = one => one.closest("details:not([open]) > :not(summary)") === null;
  const inside = box => box.closest(".scroll, .skip") === null;
  found[width] = {
    wide: root.scrollWidth,
    out: all.filter(one => inside(one) && one.getBoundingClientRect().right > width + 1).map(
      one => one.outerHTML.slice(0, 80)),
    empty: drawn.filter(one => Math.min(one.clientWidth, one.clientHeight) < 5).length,
    nameless: drawn.filter(one => !one.querySelector("title")).length,
    drawn: drawn.length,
    figures: [...page.querySelectorAll("figure")].map(one => one.id),
    clipped: [...page.querySelectorAll(".scroll")].filter(shown).filter(
      one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel),
    lang: root.lang,
    unreached: [...page.querySelectorAll("a, summary, [tabindex]")].filter(shown).filter(
      one => (one.focus(), page.activeElement !== one)).length,
  };
  if (Object.keys(found).length === widths.length) {
    const told = document.createElement("pre");
    told.textContent = "FOUND" + JSON.stringify(found) + "END";
    document.body.append(told);
  }
};
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0;display:block`;
  frame.onload = () => measure(frame, width);
  frame.src = "report.html";
  document.body.append(frame);
}
</script>"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run without noise with all that has a figure, in a folder with its report."""
    folder = tmp_path_factory.mktemp("run")
    study = write_study(
        folder,
        test="fraction = 0.4\nrepeats = 3\nbins = 20",
        more='[[dropouts]]\nround = 2\nsite = "north"\n[simulation]\ncompare_pooled = true\n',
    )
    run_study(prepare(study), folder / "out")
    row = {"attack": "membership, likelihood ratio", "target": "secure sum with noise", "figures": {}}
    row["result"] = "81.1% imputed, 81.1% with the model, gained 0.000 (-0.015 to 0.015), of 153 patients"
    row["says"] = "The model gave nothing away beyond what imputation without it finds."
    (folder / "out" / "audit.json").write_text(json.dumps({"rows": [row], "missing": []}))
    write_report(folder / "out")
    return folder / "out"


def browse(folder, page, *more, profile):
    """Chromium on one page of a folder: its output, its messages, and the requests that arrived."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/{page}"
    try:
        done = subprocess.run(
            [
                *(CHROMIUM, *QUIET, f"--user-data-dir={profile}", "--enable-logging=stderr"),
                f"--log-net-log={profile / 'net.json'}",
                *more,
                address,
            ],
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return done, asked


def test_page_fits_wide_and_narrow_screens_and_asks_for_nothing(run, tmp_path):
    (run / "harness.html").write_text(HARNESS)
    done, asked = browse(run, "harness.html", "--virtual-time-budget=10000", "--dump-dom", profile=tmp_path)
    told = re.search("<pre>FOUND(.*)END</pre>", done.stdout)
    assert told, done.stderr
    found = json.loads(unescape(told[1]))
    for width in (1280, 680, 360):
        seen = found[str(width)]
        assert seen["wide"] <= width, seen
        assert seen["out"] == []
        assert width < 600 or seen["clipped"] == []  # a sheet of paper is 680 wide, and cannot be scrolled
        assert (seen["empty"], seen["nameless"], seen["unreached"], seen["lang"]) == (0, 0, 0, "en")
        assert seen["drawn"] >= 15
        assert set(seen["figures"]) == {"timeline", "traffic", "convergence", "roc", "calibration"}
    assert "CONSOLE" not in done.stderr
    assert set(asked) == {"/harness.html", "/report.html"}
    # What the browser asked of anybody else, which would not arrive here.
    urls = set(re.findall(r'"url":"(\w+://[^"/]+)', (tmp_path / "net.json").read_text()))
    foreign = {url for url in urls if not url.startswith(("http://127.0.0.1", "chrome"))}
    assert {url.split("://")[1] for url in foreign} <= ITS_OWN


def test_page_prints(run, tmp_path):
    printed = tmp_path / "report.pdf"
    done, _ = browse(run, "report.html", f"--print-to-pdf={printed}", profile=tmp_path)
    assert printed.read_bytes().startswith(b"%PDF")
    assert "CONSOLE" not in done.stderr


def test_policy_of_the_page_stops_a_request_and_a_script(run, tmp_path):
    """The checks above could fail: a page that asks and runs is seen to."""
    text = (run / "report.html").read_text()
    bad = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "ran"</script></body>'
    (run / "bad.html").write_text(text.replace("</body>", bad))
    done, _ = browse(run, "bad.html", "--dump-dom", profile=tmp_path)
    assert done.stderr.count("Content Security Policy") >= 2
    assert "<title>ran</title>" not in done.stdout
