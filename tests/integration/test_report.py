# SPDX-License-Identifier: Apache-2.0

"""Reports of real runs, whole and broken, of every kind of model."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import product

import pytest
from typer.testing import CliRunner

from hospitals import NAMES, write_study
from reported import EXTRA, PRIVACY, SCRIPT, SUBGROUPS, run
from sordino.cli import app
from sordino.errors import ConfigError, RoundAborted
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study
from sordino.report.content import content
from sordino.report.page import page as drawn
from sordino.report.write import write_report


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without noise, with dropouts, subgroups and two splits."""
    folder = tmp_path_factory.mktemp("whole")
    more = EXTRA + SUBGROUPS + "[simulation]\ncompare_pooled = true\n"
    return run(folder, test="fraction = 0.4\nrepeats = 3\nbins = 20", more=more)


class Page(HTMLParser):
    """What a page holds: its tags, its headings, and everything that it could ask a network for."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.headings, self.asked, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.asked += [given[key] for key in ("src", "href", "action", "data") if key in given]


def read(out, site=None):
    """The report of a folder: its data and its page, whose form is checked."""
    shown = write_report(out, site)
    text = shown.read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:")) for link in page.asked)
    assert len(page.ids) == len(set(page.ids))
    assert page.headings[0] == 1
    assert all(later <= before + 1 for before, later in zip(page.headings, page.headings[1:], strict=False))
    assert {link[1:] for link in page.asked if link.startswith("#")} <= set(page.ids)
    return json.loads(shown.with_suffix(".json").read_text()), text, page


def test_whole_run_shows_every_figure(whole):
    report, text, page = read(whole)
    assert {"timeline", "convergence", "roc", "calibration", "traffic"} <= set(page.ids)
    assert report["finished"]
    assert report["missing"] == []
    assert "Federation alone is not anonymisation." in text
    assert text.index("Read this first") < text.index("The study in plain words")
    assert report["history"]["sites"]["north"]["left_out"] == 3  # a split
    assert report["history"]["sites"]["south"]["vanished_after_upload"] == 3
    assert len(report["test"]["splits"]) == 3
    low, high = report["test"]["splits"][0]["interval"]
    assert low < report["test"]["splits"][0]["auc"] <= high
    assert re.fullmatch("[0-9a-f]{64}", report["hashes"]["roster"])
    assert set(report["hashes"]["ledger_heads"]) == set(NAMES)
    for told in ("north", "south"):
        assert told in text


def test_bands_hold_enough_patients_and_all_of_them(whole):
    test = content(whole)["test"]
    bands = test["figures"]["bands"]
    repeats = json.loads((whole / "metrics.json").read_text())["secure_sums"]["repeats"]
    assert ["figures" in repeat for repeat in repeats] == [True, False, False]
    assert all(band["patients"] >= 10 for band in bands)
    assert sum(band["patients"] for band in bands) == test["splits"][0]["patients"]
    assert sum(band["positives"] for band in bands) == test["splits"][0]["positives"]
    assert all(band["from"] <= band["mean_predicted"] <= band["to"] for band in bands)


def test_subgroups_have_intervals(whole):
    told = [entry for entry in content(whole)["test"]["subgroups"] if "withheld" not in entry]
    assert told
    assert all(entry["patients"] >= 10 and len(entry["interval"]) == 2 for entry in told)


def test_own_figures_are_in_the_own_report_only(whole):
    own = json.loads((whole / "sites" / "west" / "report.json").read_text())["own_performance"]
    mine, text, _ = read(whole, "west")
    assert mine["own"]["own_performance"] == own
    assert "At west alone" in text
    everybody, text, _ = read(whole)
    assert everybody["own"] is None
    assert "At west alone" not in text
    assert (whole / "sites" / "west" / "site-report.html").stat().st_mode & 0o077 == 0
    assert json.loads((whole / "sites" / "west" / "report.json").read_text())["own_performance"] == own


@pytest.mark.parametrize("name", ["nobody", "..", "../..", "west/../west"])
def test_site_that_has_no_report_is_named(whole, name):
    with pytest.raises(ConfigError, match="has no report of a site.*there are east, north, south, west"):
        write_report(whole, name)


def test_names_are_text_wherever_they_stand(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("state"))
    for name in ("study.json", "transcript.jsonl", "sites.json", "metrics.json"):
        path = out / name
        path.write_text(
            path.read_text().replace('"north"', json.dumps(f'"{SCRIPT}')).replace('"sex"', json.dumps(SCRIPT))
        )
    report, text, page = read(out)
    assert f'"{SCRIPT}' in report["history"]["sites"]
    assert "script" not in page.tags
    assert text.count("&lt;script&gt;") > 5
    assert "<script" not in text


def test_same_folder_gives_the_same_report(whole):
    first = write_report(whole).read_bytes()
    assert write_report(whole).read_bytes() == first


def test_private_run_shows_what_it_spent(tmp_path):
    report, text, page = read(
        run(tmp_path, policy="", more=PRIVACY, training="rounds = 3\nlearning_rate = 0.5")
    )
    assert "epsilon" in page.ids
    assert report["privacy"]["epsilon"] <= 60
    assert "No loss by round was asked for" in text
    assert any("Epsilon is" in warning for warning in report["warnings"])
    assert not any("No sum has noise" in warning for warning in report["warnings"])


def test_private_run_that_was_interrupted_says_what_it_spent_so_far(tmp_path):
    study = write_study(tmp_path, policy="", more=PRIVACY, training="rounds = 3\nlearning_rate = 0.5")
    with contextlib.suppress(KeyboardInterrupt):
        run_study(prepare(study), tmp_path / "out", watch=stop_after(5))
    report, text, _ = read(tmp_path / "out")
    spent = report["history"]["rounds"][-1]["epsilon"]
    assert 0 < spent < 60
    assert f"Epsilon so far: {spent:.4g}, of 60 allowed" in text


def test_survival_run_shows_curves_by_risk(tmp_path):
    predicts = 'time = "time"\nevent = "event"'
    more = '[model]\ntype = "cox"\nleast_patients = 3\ngrid = 6\n'
    out = run(
        tmp_path,
        predicts,
        training='algorithm = "risk_sets"',
        more=more,
        test="fraction = 0.5\nmin_subgroup = 3",
    )
    report, _, page = read(out)
    assert {"survival", "convergence"} <= set(page.ids)
    for curve in report["test"]["figures"]["curves"]:
        assert curve["survival"] == sorted(curve["survival"], reverse=True)
        assert all(
            low <= at <= high
            for low, at, high in zip(*(curve[key] for key in ("low", "survival", "high")), strict=True)
        )


def test_run_for_a_number_says_what_has_no_interval(tmp_path):
    more = '[model]\ntype = "linear"\n'
    report, text, _ = read(run(tmp_path, 'target = "size"', more=more))
    assert report["test"]["headline"] == "r2"
    assert report["test"]["splits"][0]["interval"] is None
    assert "not known" in text


def test_perceptron_is_reported_like_any_classifier(tmp_path):
    more = '[model]\ntype = "mlp"\nhidden = [4]\n'
    _, text, page = read(run(tmp_path, more=more, training="rounds = 4\nlearning_rate = 0.1"))
    assert "roc" in page.ids
    assert "a multi-layer perceptron of two classes" in text


def test_run_without_a_test_set_says_so(tmp_path):
    study = write_study(tmp_path)
    study.write_text(study.read_text().replace("[test]\nfraction = 0.3\n", ""))
    run_study(prepare(study), tmp_path / "out")
    report, _, page = read(tmp_path / "out")
    assert report["test"] is None
    assert any("No patient was held out" in warning for warning in report["warnings"])
    assert "timeline" in page.ids


def test_run_that_could_not_finish_says_what_is_missing(tmp_path):
    more = "".join(f'[[dropouts]]\nround = 3\nsite = "{name}"\n' for name in NAMES[:2])
    study = write_study(tmp_path, more=more)
    with contextlib.suppress(KeyboardInterrupt, RoundAborted):
        run_study(prepare(study), tmp_path / "out", watch=stop_after(5))
    report, text, page = read(tmp_path / "out")
    assert not report["finished"]
    assert report["warnings"][0].startswith("This run is not finished: 5 of 9 planned sums")
    assert any("metrics.json is not there" in said for said in report["missing"])
    assert report["policy"]
    assert "timeline" in page.ids
    assert "Not finished: losses are written at the end of a run." in text


def stop_after(sums):
    """A watcher that interrupts the run."""

    def watch(now):
        if now.done == sums:
            raise KeyboardInterrupt

    return watch


def test_transcript_that_is_cut_or_damaged_loses_those_lines_only(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("state"))
    before = content(out)["history"]["sums"]
    path = out / "transcript.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = '{"event": "sum", broken'
    path.write_text("\n".join(lines)[:-30])
    report, _, _ = read(out)
    assert report["history"]["sums"] == before - 1
    assert any("ends in the middle of a line" in said for said in report["missing"])
    assert any("is damaged in line 3" in said for said in report["missing"])


def test_study_without_results_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match="holds nothing of a run; give the folder"):
        write_report(tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert "holds nothing of a run" in done.output


def test_folder_that_cannot_be_written_is_named(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("state"))
    (out / "report.json.new").mkdir()  # a folder in the way also stops root
    with pytest.raises(ConfigError, match="out: cannot be written"):
        write_report(out)


def test_damaged_results_are_told_and_left_out(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("state"))
    (out / "metrics.json").write_text('{"secure_sums": ')
    (out / "study.json").write_text("[]")
    (out / "sites.json").write_text('{"sites": {}}')
    report, _, _ = read(out)
    assert {said.split()[0] for said in report["missing"]} == {"metrics.json", "study.json", "sites.json"}


ROWS = [
    {
        "kind": "membership",
        "attack": "membership, likelihood ratio",
        "target": "final model",
        "result": "AUC 0.610 (0.570 to 0.650)",
        "says": "better than a coin",
        "figures": {"auc": {"value": 0.61, "low": 0.57, "high": 0.65}},
        "expected": None,
    },
    {
        "kind": "epsilon",
        "attack": "one-run epsilon, patients",
        "target": "secure sum with noise",
        "result": "at least 3.40 of 3.00 claimed",
        "says": "caught",
        "figures": {"least": 3.4, "claimed": 3.0, "refuted": True},
        "expected": None,
    },
    {
        "kind": "mask",
        "attack": "guessing a seed",
        "target": "control",
        "result": "not opened",
        "says": "it is closed",
        "figures": {},
        "expected": False,
    },
    {
        "kind": "inversion",
        "attack": "inversion, risk-set sums",
        "target": "secure sum",
        "result": "41 of 122 rows read off",
        "says": "it is open",
        "figures": {"opened": 41, "patients": 122, "error": 1e-9},
    },
    {
        "attack": "of another version",
        "target": "raw update",
        "result": "1e-13",
        "says": "it is open",
        "figures": {},
    },
]


def with_audit(whole, folder, **changes):
    """The run with an audit beside it."""
    out = shutil.copytree(whole, folder / "out", ignore=shutil.ignore_patterns("state"))
    audit = {"study": "tested", "quick": True, "rows": ROWS, "missing": ["no noise"], **changes}
    (out / "audit.json").write_text(json.dumps(audit))
    (out / "raw-update.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return out


def test_audits_are_shown_with_their_pictures_and_warned_of(whole, tmp_path):
    policy = json.loads((whole / "study.json").read_text())["policy"]
    report, text, page = read(with_audit(whole, tmp_path, policy=policy))
    assert report["audit"]["rows"] == ROWS
    assert {"audit-membership", "audit-epsilon", "audit-mask"} <= set(page.ids)
    assert "of another version" in text
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in text
    assert 'alt="Originals above, what the attack rebuilt below: raw update"' in text
    told = [warning for warning in report["warnings"] if "ttack" in warning or "audit" in warning]
    assert len(told) == 3
    assert any("risk sets show single patients' rows: 41 of 122" in said for said in report["warnings"])
    assert "Do not trust its epsilon" in told[0]
    assert "its control did not come out" in told[1]
    assert "AUC 0.610 (0.570 to 0.650), where a coin has 0.5" in told[2]


def test_audit_of_another_study_is_told(whole, tmp_path):
    report, _, _ = read(with_audit(whole, tmp_path, policy="00"))
    assert any("of another study" in warning for warning in report["warnings"])


def test_audit_of_an_older_format_is_left_out_and_told(whole, tmp_path):
    report, text, _ = read(with_audit(whole, tmp_path, rows=[{"attack": "a", "target": "b"}]))
    assert any("audit.json is damaged or of another format" in said for said in report["missing"])
    assert "better than a coin" not in text


def keys_of(value, path=()):
    """The place of every key in nested JSON; of a list the first element stands for all."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*path, key)
            yield from keys_of(part, (*path, key))
    elif isinstance(value, list) and value:
        yield from keys_of(value[0], (*path, 0))


@pytest.mark.parametrize("name", ["study.json", "metrics.json", "sites.json"])
def test_results_with_any_key_lost_or_changed_are_told_or_reported_without_it(whole, tmp_path, name):
    out = shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("state"))
    given = json.loads((out / name).read_text())
    places, told = list(keys_of(given)), 0
    for place, change in product(places, (None, "another type")):
        lacking = json.loads(json.dumps(given))
        *way, last = place
        inside = lacking
        for step in way:
            inside = inside[step]
        inside[last] = change
        if change is None:
            del inside[last]
        (out / name).write_text(json.dumps(lacking))
        found = content(out)
        drawn(found)
        told += any(said.startswith(f"{name} is damaged or of another format") for said in found["missing"])
    assert told >= 5
    assert told < 2 * len(places)


@pytest.mark.parametrize("keep", [0.5, 0.97])
def test_ledger_that_is_cut_short_is_told(whole, tmp_path, keep):
    out = shutil.copytree(whole, tmp_path / "out")
    assert content(out)["missing"] == []
    path = out / "state" / "session" / "sites" / "south" / "journal" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: int(keep * len(lines))]))
    report, _, _ = read(out)
    lost = [warning for warning in report["warnings"] if "ledger of south no longer leads" in warning]
    assert len(lost) == 1
    path.write_bytes(b"".join(lines)[:-20])
    report, _, _ = read(out)
    assert any("ledger of south ends in the middle of a line" in said for said in report["missing"])
    lines[3], lines[4] = lines[4], lines[3]
    path.write_bytes(b"".join(lines))
    report, _, _ = read(out)
    assert any(
        "ledger of south is damaged" in said and str(tmp_path) not in said for said in report["missing"]
    )


def test_command_writes_the_page_and_says_where(whole):
    done = CliRunner().invoke(app, ["report", str(whole)])
    assert done.exit_code == 0
    assert done.output.strip() == str(whole / "report.html")
