# SPDX-License-Identifier: Apache-2.0

"""The figures of a report, each with the table of what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sordino.report import charts
from sordino.report.charts import Axes, Point
from sordino.report.history import STATES
from sordino.report.intervals import wilson
from sordino.report.markup import Markup, element, joined
from sordino.report.words import question

COLUMNS = 1000
"""Sums that one strip of the timeline shows apart; of more, neighbours share a column, the worst is shown."""


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str | None = None,
    *,
    label: str | None = None,
) -> Markup:
    """A table whose first column heads its rows. One that is too wide is scrolled by itself.

    label   its name for those who cannot see it, where it has no caption
    """
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_=_kind(cell)) for cell in row[1:]),
        )
        for row in rows
    ]
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    inner = joined(
        None if caption is None else element("caption", caption),
        element("thead", head),
        element("tbody", *body),
    )
    return element(
        "div",
        element("table", inner),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or label or headings[0],
    )


def figure(name: str, title: str, drawing: Markup, caption: str, data: Markup | None) -> Markup:
    """A drawing, what it says in words, and its numbers behind a heading that opens."""
    return element(
        "figure",
        element("h3", title),
        drawing,
        element("figcaption", caption),
        None if data is None else element("details", element("summary", "The numbers"), data),
        id=name,
    )


def timeline(past: Mapping[str, Any]) -> Markup:
    """Sites against sums: who was in which."""
    rounds, sites = past["rounds"], past["sites"]
    share = -(-len(rounds) // COLUMNS)
    width = 1.0 / len(rounds)
    ranks = list(STATES)
    rows = []
    for name, counts in sites.items():
        states = [_state(one, name) for one in rounds]
        marks = [(0.0, 1.0, "in")]
        for start in range(0, len(states), share):
            worst = max(
                (state for state in states[start : start + share] if state != "idle"),
                key=ranks.index,
                default="idle",
            )
            if worst != "in":
                marks.append((start * width, min((start + share) * width, 1.0), worst))
        said = f"{name}: in {counts['took_part']} of {past['sums']} sums, left out of {counts['left_out']}"
        rows.append(
            element(
                "div",
                element("span", name, class_="name"),
                charts.strip(said, marks),
                element("span", f"{counts['left_out'] or 'never'} left out", class_="many"),
                class_="row",
            )
        )
    shown = {state for one in rounds for state in (_state(one, name) for name in sites)}
    legend = element(
        "ul",
        *(
            element("li", charts.strip("", [(0.0, 1.0, state)]), said, class_="key")
            for state, said in STATES.items()
            if state in shown
        ),
        class_="legend",
    )
    lost = [one for one in rounds if one["lost"] or one["event"] == "aborted"]
    data = table(
        ["time (UTC)", "split", "sum", "number", "who was lost"],
        (
            [_time(one["at"]), str(one["repeat"]), question(one["question"]), str(one["number"]), _lost(one)]
            for one in lost
        ),
        "Sums in which a site was lost",
    )
    deadlines = sum(site["late"] for site in sites.values())
    shared = f", of which {share} share a column that shows the worst of them," if share > 1 else ""
    caption = (
        f"{len(rounds)} rounds{shared} in the order in which they were made, from left to right, "
        f"{_time(past['started'])} to {_time(past['ended'])} UTC. "
        f"{len(lost)} lost a site; deadlines were missed {deadlines} times; "
        f"the run was interrupted and resumed {len(past['resumed'])} times."
    )
    return figure(
        "timeline",
        "Who was in which sum",
        element("div", *rows, legend, class_="timeline"),
        caption,
        data if lost else None,
    )


def convergence(training: Sequence[Mapping[str, Any]], unit: str, *, every: int) -> Markup | None:
    """The loss before each round, of every split, and the validation loss, which is asked `every` rounds."""
    losses = [list(enumerate(repeat.get("train_loss_by_round", []), start=1)) for repeat in training]
    checks = [
        [
            (every * place, loss)
            for place, loss in enumerate(repeat.get("validation_loss_by_check", []), start=1)
        ]
        for repeat in training
    ]
    if not any(loss is not None for losses_of in losses[:1] for _, loss in losses_of):
        return None
    last = max(len(one) for one in losses)
    values = [loss for one in (*losses, *checks) for _, loss in one if loss is not None]
    axes = Axes((0.0, float(last)), charts.around(values), "round of training", unit)
    marks = [charts.line(axes, _there(one), "faint") for one in losses[1:]]
    marks.append(charts.line(axes, _there(losses[0]), "first"))
    marks += [charts.line(axes, _there(one), "second") for one in checks[:1] if one]
    first = [loss for _, loss in losses[0]]
    caption = (
        f"Mean training loss before each round, from {first[0]:.4g} to {first[-1]:.4g}. The axis need not "
        "begin at zero."
    )
    if any(checks):
        caption += " Dashed: the loss on patients kept for validation."
    if len(losses) > 1:
        caption += f" Thin: the other {len(losses) - 1} splits."
    drawing = charts.chart("loss", "Loss by round", caption, axes, *marks)
    rows = [[str(place), f"{loss:.6g}"] for place, loss in losses[0] if loss is not None]
    return figure("convergence", "Convergence", drawing, caption, table(["round", unit], rows))


def roc(bands: Sequence[Mapping[str, Any]], test: Mapping[str, Any]) -> Markup:
    """The ROC curve through the edges of the bands."""
    axes = Axes((0.0, 1.0), (0.0, 1.0), "false positive rate", "true positive rate")
    positives = max(sum(band["positives"] for band in bands), 1e-9)
    negatives = max(sum(band["patients"] - band["positives"] for band in bands), 1e-9)
    points, rows, right, wrong = [(0.0, 0.0)], [], 0.0, 0.0
    for band in reversed(bands):
        right += band["positives"]
        wrong += band["patients"] - band["positives"]
        points.append((_part(wrong / negatives), _part(right / positives)))
        rows.append([f"{band['from']:.2f}", f"{points[-1][0]:.3f}", f"{points[-1][1]:.3f}"])
    caption = (
        f"ROC curve from {len(bands)} bands of predicted probability, joined by straight lines; AUC from "
        f"the finer sums {test['auc']:.3f}. Dashed: a model that knows nothing."
        if test["auc"] is not None
        else "ROC curve; a class is empty, so that there is no AUC."
    )
    drawing = charts.chart(
        "roc-curve",
        "ROC curve",
        caption,
        axes,
        charts.line(axes, [(0.0, 0.0), (1.0, 1.0)], "rule"),
        charts.line(axes, points, "first"),
        charts.dots(axes, points, "first"),
    )
    data = table(["called positive from probability", "false positive rate", "true positive rate"], rows)
    return figure("roc", "ROC curve", drawing, caption, data)


def calibration(bands: Sequence[Mapping[str, Any]]) -> Markup:
    """Observed against predicted in each band."""
    axes = Axes((0.0, 1.0), (0.0, 1.0), "mean predicted probability", "observed part")
    marks, points, rows = [charts.line(axes, [(0.0, 0.0), (1.0, 1.0)], "rule")], [], []
    for band in bands:
        observed = _part(band["positives"] / band["patients"])
        low, high = wilson(band["positives"], band["patients"])
        if noise := band.get("noise_deviation"):
            extra = 2.0 * noise / band["patients"]
            low, high = _part(low - extra), _part(high + extra)
        predicted = band["mean_predicted"]
        marks.append(charts.whisker(axes, predicted, low, high, "first"))
        points.append((predicted, observed))
        rows.append(
            [
                f"{band['from']:.2f} to {band['to']:.2f}",
                f"{predicted:.3f}",
                f"{observed:.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{band['patients']:.0f}",
            ]
        )
    caption = (
        f"How often the positive class came true in {len(bands)} bands of predicted probability, with 95 % "
        "intervals. On the dashed line predictions are as good as said; above it the model predicts too "
        "little."
    )
    drawing = charts.chart(
        "calibration-curve", "Calibration", caption, axes, *marks, charts.dots(axes, points, "first")
    )
    headings = ["predicted", "mean predicted", "observed", "95 % interval", "patients"]
    return figure("calibration", "Calibration", drawing, caption, table(headings, rows))


def survival(curves: Sequence[Mapping[str, Any]], time: str) -> Markup:
    """Survival curves by predicted risk."""
    end = max(curve["times"][-1] for curve in curves)
    axes = Axes((0.0, 1.04 * end), (0.0, 1.0), time, "part without the event")
    marks, rows = [], []
    for curve, kind in zip(curves, ("first", "second"), strict=False):
        steps = {
            key: charts.stairs([(0.0, 1.0), *zip(curve["times"], curve[key], strict=True)])
            for key in ("survival", "low", "high")
        }
        marks.append(charts.band(axes, steps["low"], steps["high"], kind))
        marks.append(charts.line(axes, steps["survival"], kind))
        rows += [
            [curve["group"], f"{at:.4g}", f"{left:.0f}", f"{part:.3f}", f"{low:.3f} to {high:.3f}"]
            for at, left, part, low, high in zip(
                *(curve[key] for key in ("times", "at_risk", "survival", "low", "high")), strict=True
            )
        ]
    halves = "; ".join(
        f"{curve['group']}: {curve['patients']} patients, {curve['events']} events" for curve in curves
    )
    caption = (
        f"Life-table curves of the held-out patients with 95 % bands. {halves} (dashed). They step only "
        "at the public times at which enough patients leave."
    )
    drawing = charts.chart("risk-curves", "Survival by predicted risk", caption, axes, *marks)
    headings = ["group", time, "at risk", "without the event", "95 % band"]
    return figure("survival", "Survival by predicted risk", drawing, caption, table(headings, rows))


def spending(privacy: Mapping[str, Any]) -> Markup | None:
    """Epsilon after each sum, under the budget."""
    spent = privacy["epsilon_after_sum"]
    if not spent:
        return None
    allowed = privacy["epsilon_allowed"]
    axes = Axes(
        (0.0, float(len(spent))),
        charts.around([*spent, allowed], zero=True),
        "secure sums made",
        "epsilon spent",
    )
    points: list[Point] = [(0.0, 0.0), *((float(place), one) for place, one in enumerate(spent, start=1))]
    caption = (
        f"Epsilon after each sum, {spent[-1]:.3g} at the end; the budget of {allowed:g} is the dashed line."
    )
    drawing = charts.chart(
        "epsilon-spent",
        "Epsilon by sum",
        caption,
        axes,
        charts.line(axes, [(0.0, allowed), (float(len(spent)), allowed)], "rule"),
        charts.note(axes, float(len(spent)), 0.94 * allowed, f"budget {allowed:g}", "plain"),
        charts.line(axes, charts.stairs(points), "first"),
    )
    rows = [[str(place), f"{one:.4g}"] for place, one in enumerate(spent, start=1)]
    return figure("epsilon", "Epsilon against the budget", drawing, caption, table(["sum", "epsilon"], rows))


def traffic(sites: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Bytes that each site sent and received."""
    most = max((max(site["bytes_sent"], site["bytes_received"]) for site in sites.values()), default=1) or 1
    rows = [
        [
            name,
            size(site["bytes_sent"]),
            charts.strip(
                f"sent {size(site['bytes_sent'])}",
                [(0.0, 1.0, "rail"), (0.0, site["bytes_sent"] / most, "bar")],
            ),
            size(site["bytes_received"]),
            charts.strip(
                f"received {size(site['bytes_received'])}",
                [(0.0, 1.0, "rail"), (0.0, site["bytes_received"] / most, "bar")],
            ),
        ]
        for name, site in sites.items()
    ]
    drawing = table(["site", "sent", "", "received", ""], rows, "Bytes of each site")
    return figure(
        "traffic",
        "What passed over the network",
        drawing,
        f"Bars begin at zero; the longest is {size(most)}.",
        None,
    )


def scores(entries: Sequence[tuple[str, Mapping[str, Any]]], headline: str, title: str, label: str) -> Markup:
    """A row for each entry: its headline with interval, or why it is not told."""
    values = [entry[headline] for _, entry in entries if entry.get(headline) is not None]
    span = (0.0, 1.0) if headline != "r2" else (min(0.0, *values, 0.0), 1.0)
    rows = []
    for name, entry in entries:
        value, between = entry.get(headline), entry.get("interval")
        if value is None:
            rows.append([name, entry.get("withheld", "not defined"), "", "", str(entry.get("patients", ""))])
            continue
        said = f"{value:.3f}"
        limits = f"{between[0]:.3f} to {between[1]:.3f}" if between else "not known"
        strip = charts.interval(f"{name}: {said}, 95 % interval {limits}", value, between, span)
        rows.append([name, said, strip, limits, str(entry["patients"])])
    scale = f"{charts.number(span[0])} to 1"
    return table([label, title, scale, "95 % interval", "patients"], rows, f"{title} by {label}")


def size(count: float) -> str:
    """A number of bytes for a reader."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000.0 or unit == "GB":
            break
        count /= 1000.0
    return f"{count:.3g} {unit}"


def _kind(cell: str) -> str | None:
    return "number" if re.fullmatch(r"-?[\d.,]+( to -?[\d.,]+| [kMG]?B)?", cell) else None


def _state(one: Mapping[str, Any], name: str) -> str:
    if one["event"] == "aborted":
        return "aborted"
    return "idle" if name in one["not_asked"] else str(one["lost"].get(name, "in"))


def _lost(one: Mapping[str, Any]) -> str:
    if one["event"] == "aborted":
        return f"lost: {one['reason']}"
    return "; ".join(f"{name}: {STATES[state]}" for name, state in one["lost"].items())


def _time(at: str | None) -> str:
    return "?" if at is None else at[:19].replace("T", " ")


def _there(points: Iterable[tuple[float, float | None]]) -> list[Point]:
    return [(float(x), float(y)) for x, y in points if y is not None]


def _part(value: float) -> float:
    return min(max(value, 0.0), 1.0)
