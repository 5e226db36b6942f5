# SPDX-License-Identifier: Apache-2.0

"""report.html: the report as one page, without a script and without a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sordino.report import figures
from sordino.report.attacks import attack_figures
from sordino.report.figures import table
from sordino.report.markup import Markup, element, joined
from sordino.report.words import UNITS, question

STYLE = Path(__file__).with_name("style.css")
GUARD = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy: whatever a name or label holds, the page asks for nothing and runs nothing."""


def page(report: Mapping[str, Any]) -> str:
    """The whole page, of what `content` made."""
    whom = f", for {report['for_site']} alone" if report["for_site"] else ""
    title = f"{report['study']}: report of a federated study{whom}"
    past = report["history"]
    when = f"{past['started'][:10]} (UTC)" if past["started"] else "time not known"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=GUARD),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),  # else a browser asks for one
        element("title", title),
        element("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    sections = [
        ("warnings", "Read this first", _warnings(report)),
        ("summary", "The study in plain words", _list(report["summary"])),
        ("exposure", "What remains exposed, and to whom", _exposure(report)),
        ("results", "How well the model does", _results(report)),
        ("own", f"At {report['for_site']} alone", _own(report)),
        ("training", "Training", _training(report)),
        ("run", "Sites, rounds and dropouts", _run(report)),
        ("privacy", "Privacy spent", _privacy(report)),
        ("audit", "Attacks on the study itself", _audit(report)),
        ("policy", "The policy", _policy(report)),
        ("card", "Model card", _card(report)),
        ("record", "Versions and hashes", _record(report)),
    ]
    there = [(name, heading, body) for name, heading, body in sections if body is not None]
    links = (element("li", element("a", heading, href=f"#{name}")) for name, heading, _ in there)
    body = element(
        "body",
        element("a", "Skip to the report", href="#main", class_="skip"),
        element(
            "header",
            element("p", "Report of a federated study", class_="kicker"),
            element("h1", report["study"]),
            element(
                "p", f"{when}, {len(past['sites'])} sites, {past['sums']} secure sums{whom}", class_="meta"
            ),
        ),
        element("nav", element("ul", *links), aria_label="Contents"),
        element(
            "main",
            *(
                element(
                    "section",
                    element("h2", heading, id=f"{name}-heading"),
                    part,
                    id=name,
                    aria_labelledby=f"{name}-heading",
                )
                for name, heading, part in there
            ),
            id="main",
        ),
        element("footer", element("p", f"Made by {report['made_by']}; report.json holds the same as data.")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _list(sentences: list[str]) -> Markup:
    return element("ul", *(element("li", sentence) for sentence in sentences))


def _warnings(report: Mapping[str, Any]) -> Markup:
    return joined(
        element(
            "p",
            element("strong", "Federation alone is not anonymisation."),
            " What leaves the sites is only "
            "sums, but a sum still speaks about those in it, and a model can remember patients.",
            class_="first",
        ),
        element("ul", *(element("li", warning) for warning in report["warnings"]), class_="warnings")
        if report["warnings"]
        else element("p", "Nothing else was found that a reader must be warned of."),
    )


def _exposure(report: Mapping[str, Any]) -> Markup:
    return table(
        ["who", "can learn"],
        ([entry["who"], entry["sees"]] for entry in report["exposure"]),
        "Who can learn what",
    )


def _results(report: Mapping[str, Any]) -> Markup:
    test = report["test"]
    if test is None:
        return element("p", "Nothing: no test on held-out patients is in this folder.")
    headline, title, drawn = test["headline"], test["title"], test["figures"]
    parts = [
        figures.scores(
            [(f"split {place}", entry) for place, entry in enumerate(test["splits"], start=1)],
            headline,
            title,
            "split",
        ),
        element(
            "p",
            "From secure sums over the held-out patients of all sites. The hair is at 0.5; the interval is "
            "that of so many patients, not of other hospitals.",
            class_="small",
        ),
    ]
    panels = []
    if bands := drawn.get("bands"):
        panels += [figures.roc(bands, test["splits"][0]), figures.calibration(bands)]
    if curves := drawn.get("curves"):
        time = (report["agreed"].get("data") or {}).get("time") or "time"
        panels.append(figures.survival(curves, f"{time}, in the unit of the data"))
    if panels:
        parts.append(element("div", *panels, class_="panels"))
    elif headline != "r2":
        parts.append(
            element("p", "No curve is drawn: too few held-out patients for cells that are large enough.")
        )
    if test["subgroups"]:
        entries = [(f"{entry['column']}: {entry['cell']}", entry) for entry in test["subgroups"]]
        least = (report["agreed"].get("test") or {}).get("min_subgroup")
        parts += [
            element("h3", "Subgroups of patients"),
            figures.scores(entries, headline, title, "subgroup"),
            element(
                "p",
                f"No subgroup of fewer than {least} held-out patients is told, nor one by which such a one "
                "would show. Where intervals overlap, a difference may be chance.",
                class_="small",
            ),
        ]
    if shared := report["shared_performance"]:
        entries = [(name, entries[0]) for name, entries in shared.items() if entries and entries[0]]
        parts += [
            element("h3", "Sites that opted in"),
            figures.scores(entries, headline, title, "site"),
            element(
                "p",
                "A site's own figures stand in its own report; these sites chose to show theirs.",
                class_="small",
            ),
        ]
    if pooled := (report["simulation"] or {}).get(f"test_{headline}_pooled"):
        federated = report["simulation"][f"test_{headline}_federated"]
        parts.append(
            element(
                "p",
                f"Because this run is a simulation, it can compare: {title} {_mean(federated)} of this "
                f"model, {_mean(pooled)} of the same model on all rows in one place.",
            )
        )
    return joined(*parts)


def _mean(interval: Mapping[str, Any]) -> str:
    return "not defined" if interval["mean"] is None else f"{interval['mean']:.4f}"


def _own(report: Mapping[str, Any]) -> Markup | None:
    own, name = report["own"], report["for_site"]
    if own is None:
        return None
    tests = [test for test in own["own_performance"] if test]
    keys = list(tests[0]) if tests else []
    rows = [
        [f"split {place}", *(_figure(test[key]) for key in keys)] for place, test in enumerate(tests, start=1)
    ]
    return joined(
        element(
            "p",
            f"{name} was left out of {own['left_out']} rounds of training, and worked "
            f"{own.get('seconds', 0.0):.3g} seconds in all.",
        ),
        table(
            ["of its own held-out patients", *(key.replace("_", " ") for key in keys)],
            rows,
            f"The model at {name}",
        )
        if rows
        else element("p", f"{name} held no patients out, so nothing is known of the model there."),
    )


def _figure(value: Any) -> str:
    return "not defined" if value is None else f"{value:.4g}"


def _training(report: Mapping[str, Any]) -> Markup:
    training, past = report["training"], report["history"]
    cox = (report["agreed"].get("model") or {}).get("type") == "cox"
    unit = "minus log-likelihood a patient" if cox else "mean loss"
    every = (report["agreed"].get("training") or {}).get("check_every", 1)
    drawn = figures.convergence(training, unit, every=every)
    stops = [repeat["stopped"] for repeat in training if repeat.get("stopped")]
    parts = [element("div", drawn, class_="panels")] if drawn else []
    if not training:
        parts.append(element("p", "Not finished: losses are written at the end of a run."))
    elif drawn is None:
        parts.append(
            element(
                "p",
                "No loss by round was asked for: with noise it would have been one more thing to pay for.",
            )
        )
    if stops:
        rounds = ", ".join(str(last) for last in sorted({stop["round"] for stop in stops}))
        parts.append(
            element("p", f"Training ended by itself before the most rounds allowed: in round {rounds}.")
        )
    parts += [
        element("p", f"Split {halt['repeat']}, round {halt['number']}: {halt['reason']}")
        for halt in past["halted"]
    ]
    return joined(*parts)


def _run(report: Mapping[str, Any]) -> Markup:
    past = report["history"]
    if not past["rounds"]:
        return element("p", "No sum is in the transcript.")
    parts = [figures.timeline(past), figures.traffic(past["sites"])]
    each = past["seconds_of_a_sum"]
    took = f" {each:.3g} seconds for one of them, half of them less;" if each is not None else ""
    parts.append(
        element(
            "p",
            f"All sums took {past['seconds']:,.1f} seconds,{took} all sites' work in one process included. "
            "How long each site worked stands in its own report only, since it shows about how many "
            "patients it has.",
            class_="small",
        )
    )
    if tests := report["exclusion"]["exclusion"]:
        rows = [
            [
                test["attribute"],
                f"{test['p_value']:.3g}",
                f"{test['needed']:.3g}",
                "yes" if test["correlated"] else "no",
            ]
            for test in tests
        ]
        parts += [
            element("h3", "Are those left out of one kind?"),
            table(
                ["attribute of the sites", "p", "below", "goes with being left out"],
                rows,
                "Permutation tests",
            ),
        ]
    return joined(*parts)


def _privacy(report: Mapping[str, Any]) -> Markup:
    privacy = report["privacy"]
    if privacy is None:
        asked = report["agreed"].get("privacy")
        if asked:
            spent = [one["epsilon"] for one in report["history"]["rounds"] if one.get("epsilon") is not None]
            so_far = f"{spent[-1]:.4g}" if spent else "not known"
            return element(
                "p", f"Epsilon so far: {so_far}, of {asked['epsilon']:g} allowed at delta {asked['delta']:g}."
            )
        return element(
            "p", "No sum had noise, so there is no epsilon: what the results say of one patient has no bound."
        )
    rows = [[question(kind), f"{value:.4g}"] for kind, value in privacy["noise_multipliers"].items()]
    epsilon = privacy["epsilon"]
    drawn = figures.spending(privacy)
    return joined(
        element(
            "p",
            f"Whoever sees all that the run gave out can hardly tell whether {UNITS[privacy['unit']]} was "
            f"in it: any result is at most e^{epsilon:.3g} times as likely with it as without, but for a "
            f"chance of {privacy['delta']:g}. A patient at several hospitals is covered that many times "
            "less well.",
        ),
        element("div", drawn, class_="panels") if drawn else None,
        table(["sum", "noise multiplier"], rows, "Noise, in the shift that one unit can make"),
    )


def _audit(report: Mapping[str, Any]) -> Markup:
    audit = report["audit"]
    if audit is None:
        return element(
            "p",
            "No audit is in this folder: nobody has attacked this study in front of you. ",
            element("code", "sordino audit study.toml --out DIR"),
            " does.",
        )
    told = {picture["file"]: picture for picture in audit.get("pictures_of", [])}
    pictures = (
        element(
            "figure",
            element("img", src=f"data:image/png;base64,{data}", alt=_alt(name, told)),
            element("figcaption", _alt(name, told)),
        )
        for name, data in audit["pictures"].items()
    )
    return joined(
        element("p", _sizes(audit)),
        *attack_figures(audit.get("rows", [])),
        element("h3", "Originals and what was rebuilt") if audit["pictures"] else None,
        element("div", *pictures, class_="panels") if audit["pictures"] else None,
        element("h3", "What the audit lacks") if audit.get("missing") else None,
        _list(audit["missing"]) if audit.get("missing") else None,
        element(
            "p", "An audit that finds nothing proves nothing: a better attack may find more.", class_="small"
        ),
    )


def _sizes(audit: Mapping[str, Any]) -> str:
    """What was attacked, for a reader who sees this part only."""
    quick = "in its quick form, with wide intervals, " if audit.get("quick") else ""
    return (
        f"The attacks of sordino audit, {quick}on trainings of this study over halves of its patients: on "
        "what one site would send without masks, which nobody sees, on the secure sum, on the sum with "
        "noise, and on the final model."
    )


def _alt(name: str, told: Mapping[str, Mapping[str, str]]) -> str:
    if name in told:
        picture = told[name]
        return (
            f"Originals above, what the attack rebuilt below. {picture['of'][:1].upper()}{picture['of'][1:]} "
            f"from {'' if picture['target'].startswith('one ') else 'the '}{picture['target']}: "
            f"{picture['result']}."
        )
    what = name.removesuffix(".png").replace("-", " ")
    return f"Originals above, what the attack rebuilt below: {what}"


def _policy(report: Mapping[str, Any]) -> Markup:
    if not report["policy"]:
        return element("p", "Not known: study.json is not there.")
    asked = [
        [question(one["kind"]), f"{one['lanes']:,}", one["noise"] or "none"]
        for one in report["agreed"]["questions"]
    ]
    return joined(
        _list(report["policy"]),
        element("h3", "What may be asked"),
        table(["sum of", "numbers in it", "noise for one"], asked, "Questions"),
    )


def _card(report: Mapping[str, Any]) -> Markup | None:
    if not report["card"]:
        return None
    parts = [
        joined(element("h3", heading), _list(sentences)) for heading, sentences in report["card"].items()
    ]
    features = report["agreed"]["features"]
    listed = element(
        "details", element("summary", f"The {len(features)} features"), element("p", ", ".join(features))
    )
    return joined(*parts, listed)


def _record(report: Mapping[str, Any]) -> Markup:
    hashes = report["hashes"]
    rows = [
        ["run with", f"sordino {report['run_with']}" if report["run_with"] else "not known"],
        *([f"{name} hash", _code(hashes[name])] for name in ("policy", "roster", "schema")),
        *([f"ledger head of {name}", _code(head)] for name, head in hashes["ledger_heads"].items()),
    ]
    return joined(
        table(["what", "value"], rows, "Versions and hashes"),
        element(
            "p",
            "Compare the roster's hash with the other sites by another way. A ledger's head is the hash of "
            "its last entry: a site whose ledger no longer leads to it has lost or changed something.",
            class_="small",
        ),
    )


def _code(value: str | None) -> str:
    return "not known" if value is None else element("code", value)
