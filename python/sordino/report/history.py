# SPDX-License-Identifier: Apache-2.0

"""What happened in a run, from its transcript: who was in which sum, how many bytes and how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

STATES = {
    "in": "took part",
    "rebuilt": "vanished after its upload; its part is in the sum",
    "late": "missed the deadline; left out of the sum",
    "out": "vanished before its upload; left out of the sum",
    "aborted": "the round was lost with too few sites, and asked for again",
    "idle": "not drawn for this sum",
}
"""Of a site in one sum, the best first."""


def history(lines: Sequence[Mapping[str, Any]], names: Sequence[str], planned: int | None) -> dict[str, Any]:
    """The run as it went; `names` are its sites and `planned` the sums that were planned, where known."""
    rounds = [line for line in lines if line.get("event") in ("sum", "aborted")]
    sums = [line for line in rounds if line["event"] == "sum"]
    seen = {name for line in sums for name in (*line.get("survivors", ()), *line.get("dropped", {}))}
    sites = list(dict.fromkeys([*names, *sorted(seen)]))
    seconds = [float(line.get("seconds", 0.0)) for line in sums]
    done = {(line.get("repeat"), line.get("question"), line.get("number")) for line in sums}
    last = lines[-1] if lines else {}
    return {
        "started": lines[0].get("at") if lines else None,
        "ended": last.get("at"),
        "finished": any(line.get("event") == "finished" for line in lines),
        "ledger_heads": next((line["ledger_heads"] for line in lines if "ledger_heads" in line), {}),
        "resumed": [line.get("at") for line in lines if line.get("event") == "resumed"],
        "halted": [
            {key: line.get(key) for key in ("repeat", "number", "reason")}
            for line in lines
            if line.get("event") == "halted"
        ],
        "sums": len(done),
        "sums_planned": planned,
        "aborted": sum(line["event"] == "aborted" for line in rounds),
        "seconds": round(sum(seconds), 3),
        "seconds_of_a_sum": median(seconds) if seconds else None,
        "rounds": [_round(line, sites) for line in rounds],
        "sites": {name: _site(name, sums) for name in sites},
    }


def _round(line: Mapping[str, Any], sites: Sequence[str]) -> dict[str, Any]:
    states = {name: _state(name, line) for name in sites}
    common = {key: line.get(key) for key in ("event", "at", "repeat", "question", "number")}
    told = {name: state for name, state in states.items() if state not in ("in", "idle")}
    return {
        **common,
        "sites_in": sum(state in ("in", "rebuilt") for state in states.values()),
        "not_asked": [name for name, state in states.items() if state == "idle"],
        "lost": told if line["event"] == "sum" else dict(line.get("lost", {})),
        **({"reason": line.get("reason")} if line["event"] == "aborted" else {}),
        **({"epsilon": line["privacy"].get("epsilon")} if line.get("privacy") else {}),
    }


def _state(name: str, line: Mapping[str, Any]) -> str:
    if line["event"] == "aborted":
        return "aborted"
    if name in line.get("recovered", ()):
        return "rebuilt"
    if name in line.get("survivors", ()):
        return "in"
    if name in line.get("late", ()):
        return "late"
    return "out" if name in line.get("dropped", {}) else "idle"


def _site(name: str, sums: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    states = Counter(_state(name, line) for line in sums)
    traffic = [line.get("traffic", {}).get(name, {}) for line in sums]
    return {
        "took_part": states["in"] + states["rebuilt"],
        "vanished_after_upload": states["rebuilt"],
        "left_out": states["out"] + states["late"],
        "late": states["late"],
        "not_asked": states["idle"],
        "bytes_sent": sum(part.get("sent", 0) for part in traffic),
        "bytes_received": sum(part.get("received", 0) for part in traffic),
    }
