# SPDX-License-Identifier: Apache-2.0

"""`sordino privacy`: the same numbers as the package, stable keys, one line for bad input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from sordino.cli.app import app
from sordino.cli.privacy import privacy  # noqa: F401  # adds its commands to the app
from sordino.privacy.accountant import Accountant
from sordino.privacy.events import SampledGaussian


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["privacy", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def asked(*arguments: str) -> dict[str, Any]:
    code, out, err = run(*arguments, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    found: dict[str, Any] = json.loads(out)
    assert list(found) == ["epsilon", "method", "order", "noise_multiplier"]
    return found


def refused(*arguments: str) -> str:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    return line


def test_epsilon_without_sampling() -> None:
    found = asked("epsilon", "--noise-multiplier", "4", "--steps", "100", "--delta", "1e-5")
    assert found["epsilon"] == pytest.approx(13.206712, abs=5e-7)
    assert (found["method"], found["order"], found["noise_multiplier"]) == ("gaussian", None, 4.0)


def test_epsilon_with_sampling() -> None:
    found = asked(
        "epsilon",
        "--noise-multiplier",
        "1.1",
        "--sampling-rate",
        ".01",
        "--steps",
        "10000",
        "--delta",
        "1e-5",
    )
    assert found["epsilon"] == pytest.approx(5.631810, abs=1e-6)
    assert found["method"] == "rdp"
    assert found["order"] == pytest.approx(4.67, abs=0.01)


def test_events_compose_with_the_options() -> None:
    events = [SampledGaussian(1.1, 0.01, 500), SampledGaussian(20.0, 1.0, 3), SampledGaussian(2.0, 0.1, 7)]
    wanted = Accountant(events).epsilon(1e-6).epsilon
    others = ("--event", "20,1,3", "--event", "2,.1,7", "--delta", "1e-6")
    first = asked(
        "epsilon", "--noise-multiplier", "1.1", "--sampling-rate", "0.01", "--steps", "500", *others
    )
    assert first["epsilon"] == pytest.approx(wanted, rel=1e-9)
    assert first["noise_multiplier"] is None
    assert asked("epsilon", "--event", "1.1,.01,500", *others)["epsilon"] == pytest.approx(wanted, rel=1e-9)


def test_calibration_is_kept_by_epsilon() -> None:
    q = ("--sampling-rate", "0.01", "--steps", "1000", "--delta", "1e-5")
    found = asked("calibrate", "--epsilon", "2", *q)
    assert found["epsilon"] <= 2
    again = asked("epsilon", "--noise-multiplier", repr(found["noise_multiplier"]), *q)
    assert again == found


def test_what_is_printed_is_rounded_up_and_says_about_whom() -> None:
    code, out, err = run("epsilon", "--noise-multiplier", "4", "--steps", "100", "--delta", "1e-5")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "epsilon           13.206713 at delta 1e-05 (gaussian)",
        "noise multiplier  4.000000",
        "counts one unit at one site: someone at h sites has group privacy h, which no site can see",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("epsilon --delta 1e-5", "nothing to compose: give --noise-multiplier, or --event S,Q,T"),
        (
            "epsilon --noise-multiplier nan --delta 1e-5",
            "noise_multiplier must be from 0.01 to 1e+09, got nan",
        ),
        ("epsilon --noise-multiplier 0 --delta 1e-5", "noise_multiplier must be from 0.01 to 1e+09, got 0.0"),
        ("epsilon --noise-multiplier 1 --delta 0", "delta must be above 0 and below 1, got 0.0"),
        ("epsilon --noise-multiplier 1 --delta nan", "delta must be above 0 and below 1, got nan"),
        ("epsilon --noise-multiplier 1 --delta .1 --steps 0", "steps must be a whole number from 1 to"),
        ("epsilon --noise-multiplier 1 --delta .1 --steps 10000000000000", "got 10000000000000"),
        (
            "epsilon --noise-multiplier 1 --delta .1 --sampling-rate 2",
            "sampling_rate must be from 1e-12 to 1",
        ),
        ("epsilon --noise-multiplier 1 --delta .1 --sampling-rate nan", "got nan"),
        (
            "epsilon --event 1,2 --delta .1",
            "--event must be a noise multiplier, a sampling rate and a number",
        ),
        ("epsilon --event 1,.5,0 --delta .1", "steps must be a whole number from 1 to"),
        ("calibrate --epsilon 0 --delta .1", "epsilon must be finite and above 0, got 0.0"),
        ("calibrate --epsilon nan --delta .1", "epsilon must be finite and above 0, got nan"),
        ("calibrate --epsilon 1 --delta 1", "delta must be above 0 and below 1, got 1.0"),
        ("calibrate --epsilon 1 --delta .1 --steps -1", "steps must be a whole number from 1"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments: str, message: str) -> None:
    assert message in refused(*arguments.split())


def test_a_number_that_is_none_is_a_usage_error() -> None:
    code, out, err = run("epsilon", "--noise-multiplier", "much", "--delta", "1e-5")
    assert (code, out) == (2, "")
    assert "Usage" in err
