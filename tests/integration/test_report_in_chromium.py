# SPDX-License-Identifier: Apache-2.0

"""The page of a report in a real browser: no request, no message on its console, nothing that sticks out."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pytest

import reported
from browser import CHROMIUM, browse, foreign_hosts
from reported import EXTRA, PRIVACY, SUBGROUPS
from sordino.audit.inversion import Rebuilt
from sordino.audit.patches import EDGE, IMAGES
from sordino.audit.pictures import draw_rebuilt
from sordino.audit.rates import Interval
from sordino.report.write import write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here: apt-get install chromium")

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


AUDIT = [
    {
        "kind": "membership",
        "attack": "membership, likelihood ratio",
        "target": "secure sum with noise",
        "result": "AUC 0.511 (0.497 to 0.525); TPR 0.012 (0.008 to 0.020) at 1.0%; "
        "TPR 0.001 (0.000 to 0.006) at 0.1%",
        "says": "The attack did no better here than tossing a coin, as far as so few patients can show.",
        "figures": {"auc": {"value": 0.511, "low": 0.497, "high": 0.525}},
    },
    {
        "kind": "attribute",
        "attack": "attribute inference, mean fractal dimension",
        "target": "one site's raw update",
        "result": "81.1% imputed, 81.1% with the model, gained 0.000 (-0.015 to 0.015), of 153 patients",
        "says": "The model gave nothing away beyond what imputation without it finds.",
        "figures": {"gained": {"value": 0.0, "low": -0.015, "high": 0.015}},
    },
    {
        "kind": "inversion",
        "attack": "inversion, optimised, image patches",
        "target": "final model",
        "result": "median error 0.71 SD; matched 0.000 (0.000 to 0.459); "
        "best match 0.167 (0.004 to 0.641), by chance 0.016",
        "says": "0% of 6 patients were rebuilt within a quarter of a deviation.",
        "figures": {"matched": {"value": 0.0, "low": 0.0, "high": 0.459}},
    },
    {
        "kind": "epsilon",
        "attack": "one-run epsilon, everybody in every batch",
        "target": "control",
        "result": "at least 5.93 of 3.00 claimed",
        "says": "The mechanism was caught: more canaries were found than its epsilon allows.",
        "figures": {"least": 5.93, "claimed": 3.0, "refuted": True},
        "expected": True,
    },
    {
        "kind": "mask",
        "attack": "guessing a mask's seed",
        "target": "control",
        "result": "opened among 2^28; a Mersenne Twister's 2^28 take 0.8 minutes, 2^32 13, on one core",
        "says": "A mask of a generator with 32 bits of seed was opened, and the numbers under it read.",
        "figures": {"opened": True},
        "expected": True,
    },
]

COMMON = {"timeline", "traffic"}
AUDITED = {f"audit-{row['kind']}" for row in AUDIT}
FIGURES = {
    "plain": COMMON | AUDITED | {"convergence", "roc", "calibration"},
    "private": COMMON | {"epsilon", "roc", "calibration"},
    "survival": COMMON | {"convergence", "survival"},
}
"""Of the runs below, all that there are to draw."""


def made(kind, folder):
    """A run of that kind in a folder of its own, with its report."""
    if kind == "plain":
        more = EXTRA + SUBGROUPS + "[simulation]\ncompare_pooled = true\n"
        out = reported.run(folder, test="fraction = 0.4\nrepeats = 3\nbins = 20", more=more)
        (out / "audit.json").write_text(json.dumps({"rows": AUDIT, "missing": ["no noised target"]}))
        rebuilt = Rebuilt(*np.zeros((2, 2, EDGE * EDGE)), np.zeros(2), *[Interval(0, 0, 1)] * 2, 2)
        draw_rebuilt({f"{IMAGES}, final model": rebuilt}, out)
    elif kind == "private":
        more, training = PRIVACY, "rounds = 3\nlearning_rate = 0.5"
        out = reported.run(folder, policy="", more=more, training=training, test="fraction = 0.5\nbins = 4")
    else:
        more = '[model]\ntype = "cox"\nleast_patients = 3\ngrid = 6\n'
        predicts, training = 'time = "time"\nevent = "event"', 'algorithm = "risk_sets"'
        out = reported.run(
            folder, predicts, training=training, more=more, test="fraction = 0.5\nmin_subgroup = 3"
        )
    write_report(out)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by kind, each made when it is asked for first."""
    found = {}

    def of(kind):
        if kind not in found:
            found[kind] = made(kind, tmp_path_factory.mktemp(kind))
        return found[kind]

    return of


@pytest.mark.parametrize("kind", FIGURES)
def test_page_fits_wide_and_narrow_screens_and_asks_for_nothing(runs, tmp_path, kind):
    run = runs(kind)
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
        assert seen["drawn"] >= 8
        assert set(seen["figures"]) - {""} == FIGURES[kind]
    assert "CONSOLE" not in done.stderr
    assert set(asked) == {"/harness.html", "/report.html"}
    assert foreign_hosts(tmp_path) == set()


@pytest.mark.parametrize("kind", FIGURES)
def test_page_prints(runs, tmp_path, kind):
    run = runs(kind)
    printed = tmp_path / "report.pdf"
    done, _ = browse(run, "report.html", f"--print-to-pdf={printed}", profile=tmp_path)
    assert printed.read_bytes().startswith(b"%PDF")
    assert "CONSOLE" not in done.stderr


def test_policy_of_the_page_stops_a_request_and_a_script(runs, tmp_path):
    """The checks above could fail: a page that asks and runs is seen to."""
    run = runs("plain")
    text = (run / "report.html").read_text()
    bad = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "ran"</script></body>'
    (run / "bad.html").write_text(text.replace("</body>", bad))
    done, _ = browse(run, "bad.html", "--dump-dom", profile=tmp_path)
    assert done.stderr.count("Content Security Policy") >= 2
    assert "<title>ran</title>" not in done.stdout
