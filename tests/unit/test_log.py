# SPDX-License-Identifier: Apache-2.0

"""What is logged: every step of the protocol, as words or JSON, and nothing that a site keeps to itself."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aggregators import SITES, policy_for
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.cli.app import app
from sordino.cli.run import run  # noqa: F401  # adds its command to the app
from sordino.errors import RoundAborted
from sordino.log import JsonLines, logger, tell
from sordino.protocol.secret import Secret


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_every_step_of_every_site_is_told_and_no_value_or_weight(heard: Heard) -> None:
    value, weight = 7.234375, 83
    given = {name: lambda _: Contribution({"vector": np.full(4, value)}, weight) for name in SITES}
    with MaskedAggregator(policy_for(), SITES) as aggregator:
        aggregator.aggregate("sum", b"", given, lose={"lyon": "upload", "oslo": "unmask"})
        with pytest.raises(RoundAborted):
            aggregator.aggregate("sum", b"", given, lose=dict.fromkeys(SITES[:3], "upload"))
    told = [json.loads(line) for line in heard.lines]
    steps = {(one["event"], one.get("site")) for one in told}
    for phase in ("advertise", "seal", "receipt"):
        assert {(phase, name) for name in SITES} <= steps
    assert {("upload", name) for name in SITES if name != "lyon"} <= steps
    assert {("recover", "turin"), ("unmask", "turin"), ("confirm", "turin")} <= steps
    (made,) = [one for one in told if one["event"] == "sum made"]
    assert (made["round"], made["dropped"], made["rebuilt"]) == (1, ["lyon"], ["oslo"])
    (aborted,) = [one for one in told if one["event"] == "round aborted"]
    assert aborted["round"] == 2
    upload = next(one for one in told if one["event"] == "upload")
    assert upload["sent"] > 0
    assert upload["seconds"] > 0
    kept = {"time", "event", "site", "round", "kind", "study", "able", "asked", "consistency", "received"}
    kept |= {"sent", "seconds", "refused", "survivors", "dropped", "rebuilt", "reason"}
    assert set().union(*told) <= kept
    text = "\n".join(heard.lines)
    assert str(value) not in text
    assert all(one.get(field) != weight for one in told for field in kept - {"sent", "received"})


def test_nothing_that_may_be_secret_can_be_logged(heard: Heard) -> None:
    for field in (b"key", bytearray(3), Secret(os.urandom(32)), np.zeros(2), np.float64(1.0), [1], {"a": 1}):
        with pytest.raises(TypeError, match="may not be"):
            tell("event", field=field)  # type: ignore[arg-type]
    assert heard.lines == []


def test_by_default_nobody_hears_it(capsys: pytest.CaptureFixture[str]) -> None:
    tell("event", count=1)
    assert capsys.readouterr() == ("", "")


def test_the_command_line_tells_steps_on_stderr_and_to_a_file(tmp_path: Path) -> None:
    from sordino.federated.study.demonstration import write_demonstration

    study, _ = write_demonstration(tmp_path)
    text = study.read_text().replace("rounds = 30", "rounds = 2").replace("compare_p", "#")
    study.write_text(text[: text.index("# A hospital vanishes before")])
    log = tmp_path / "steps.jsonl"
    arguments = ["--verbose", "--log", str(log), "run", str(study), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "round opened; round 1" in done.stderr
    assert "upload; site alder" in done.stderr
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events.count("sum made") >= 2
    assert logger.handlers == [handler for handler in logger.handlers if type(handler) is logging.NullHandler]
    done = CliRunner().invoke(app, ["--log", str(tmp_path / "no" / "where"), "run", str(study)])
    assert done.exit_code == 2
