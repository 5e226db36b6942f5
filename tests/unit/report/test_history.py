# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from sordino.report.history import history

SUM = {"event": "sum", "at": "2026-01-01T00:00:01", "repeat": 1, "question": "fedavg", "seconds": 0.5}


def test_a_site_is_in_late_out_rebuilt_or_not_asked():
    lines = [
        {"event": "started", "at": "2026-01-01T00:00:00"},
        {
            **SUM,
            "number": 1,
            "survivors": ["a", "b"],
            "recovered": ["b"],
            "dropped": {"c": "upload", "d": "upload"},
            "late": ["d"],
            "traffic": {"a": {"sent": 5, "received": 7}},
        },
        {
            "event": "aborted",
            "repeat": 1,
            "question": "fedavg",
            "number": 2,
            "lost": {"a": "upload"},
            "reason": "few",
        },
        {**SUM, "number": 2, "survivors": ["a", "b", "c"], "dropped": {}},
    ]
    past = history(lines, ["a", "b", "c", "d"], planned=3)
    assert past["rounds"][0]["lost"] == {"b": "rebuilt", "c": "out", "d": "late"}
    assert past["rounds"][1]["lost"] == {"a": "upload"}
    assert past["rounds"][2]["not_asked"] == ["d"]
    assert past["sites"]["a"] == {
        "took_part": 2,
        "vanished_after_upload": 0,
        "left_out": 0,
        "late": 0,
        "not_asked": 0,
        "bytes_sent": 5,
        "bytes_received": 7,
    }
    assert (past["sites"]["d"]["left_out"], past["sites"]["d"]["late"]) == (1, 1)
    assert (past["sums"], past["aborted"], past["finished"], past["seconds"]) == (2, 1, False, 1.0)


def test_sum_that_a_crash_repeats_counts_once():
    line = {**SUM, "number": 1, "survivors": ["a"]}
    assert history([line, line], [], None)["sums"] == 1


def test_nothing_has_happened_without_lines():
    past = history([], [], None)
    assert (past["sums"], past["sites"], past["started"]) == (0, {}, None)
