# SPDX-License-Identifier: Apache-2.0

"""`sordino plan`: its figures against those of a run, stable keys, targets out of reach, bad input."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hospitals import write_study
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.cli import app
from sordino.cli.plan import _bytes, _up
from sordino.cli.rates import measured_rates
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study
from sordino.privacy.mechanisms import plan_with_noise
from sordino.privacy.planner import plan_study
from sordino.protocol.policy import Block, Question

PRIVACY = '[privacy]\nunit = "patient"\nepsilon = 5.0\ndelta = 1e-5\n'


def private(folder, added="", table=PRIVACY, **changes):
    return write_study(folder, **{"policy": "max_patients = 100", "more": table + added, **changes})


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def asked(path) -> dict[str, Any]:
    code, out, err = run(path, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    found: dict[str, Any] = json.loads(out)
    return found


def test_keys_are_stable(tmp_path):
    found = asked(private(tmp_path))
    assert list(found) == [
        "study",
        "sites",
        "patients",
        "unit",
        "epsilon",
        "delta",
        "epsilon_allowed",
        "method",
        "wrap_probability",
        "smallest_cohort",
        "tolerated_dropouts",
        "colluders",
        "bits",
        "sent",
        "site_seconds",
        "coordinator_seconds",
        "verdict",
        "questions",
        "epsilon_after",
        "components",
        "needed",
        "units",
    ]
    assert list(found["questions"][0]) == [
        "kind",
        "times",
        "lanes",
        "sigma",
        "noise_multiplier",
        "sampling_rate",
        "local_steps",
        "epsilon_once",
        "epsilon_all",
        "blocks",
        "count_noise",
        "noise_to_clip",
        "wrap_probability",
        "payload",
        "share_boxes",
        "messages",
        "sent",
        "received",
        "site_seconds",
        "coordinator_seconds",
    ]
    assert list(found["questions"][0]["blocks"][0]) == [
        "name",
        "lanes",
        "clip",
        "resolution",
        "noise",
        "noise_on_mean",
    ]
    assert list(found["epsilon_after"][0]) == ["kind", "sums", "epsilon"]
    assert list(found["components"]) == [
        "planned",
        "noise",
        "noise_alone",
        "draws",
        "share_bytes",
        "cheaper",
    ]
    assert list(found["units"]) == ["patient", "patient-local", "site"]
    assert list(found["units"]["site"]["needed"]) == [
        "excess",
        "patients",
        "sites",
        "rounds",
        "parameters",
        "epsilon",
        "delta",
        "max_patients",
    ]


@pytest.mark.parametrize("more", [PRIVACY, PRIVACY.replace('"patient"', '"patient-local"'), ""])
def test_figures_are_those_of_the_run(tmp_path, more):
    policy = "max_patients = 100" if more else 'across_rounds = "freeze"'
    path = write_study(tmp_path, policy=policy, more=more, training="rounds = 3")
    found = asked(path)
    prepared = prepare(path)
    made: dict[str, list[Any]] = {}
    run_study(
        prepared,
        tmp_path / "out",
        watch=lambda now: made.setdefault(now.event.turn.stage.kind, []).append(now),
    )
    assert found["bits"] == prepared.policy.bits
    assert [one["kind"] for one in found["questions"]] == list(made)
    for question in found["questions"]:
        for now in made[question["kind"]]:
            total, body = now.event.total, len(now.event.body)
            for moved in total.traffic.values():
                assert moved.sent == pytest.approx(question["sent"], rel=0.03)
                assert moved.received - body == pytest.approx(question["received"], rel=0.03)
            block = question["blocks"][0]
            assert block["noise"] == pytest.approx(total.noise * block["resolution"])
    if more:
        assert found["epsilon"] == prepared.privacy.guarantee.epsilon <= found["epsilon_allowed"]
        once = {one["kind"]: one["epsilon_once"] for one in found["questions"]}
        assert once == {kind: prepared.privacy.epsilon_of(kind) for kind in prepared.privacy.times}
        spent = json.loads((tmp_path / "out" / "metrics.json").read_bytes())["privacy"]["epsilon"]
        assert spent == pytest.approx(found["epsilon"], rel=1e-6)  # there are no spare rounds in three
    else:
        assert (found["epsilon"], found["verdict"], found["units"]) == (None, "unbounded", {})


def test_units_are_compared_and_what_is_hopeless_is_said_in_numbers(tmp_path):
    path = private(tmp_path)
    found = asked(path)
    assert (found["verdict"], found["needed"]) == ("fine", None)
    site = found["units"]["site"]
    assert site["verdict"] == "hopeless"
    assert site["epsilon"] == pytest.approx(5.0, rel=1e-4)
    assert site["needed"]["excess"] == site["noise_to_clip"] > 1.0
    code, out, err = run(path)
    assert (code, err) == (0, "")
    assert f'with the unit "site" training is hopeless: its noise is {site["noise_to_clip"]:.3g} times' in out
    assert f"{site['needed']['sites']:,} sites, epsilon " in out


def test_epsilon_that_was_said_to_be_enough_is_enough(tmp_path):
    table = PRIVACY.replace('"patient"', '"site"').replace("5.0", "30.0")
    found = asked(private(tmp_path, table=table))
    assert found["verdict"] == "hopeless"
    needed = found["needed"]["epsilon"]
    assert 30.0 < needed < 100.0
    for factor, verdict in [(0.98, "hopeless"), (1.02, "fine")]:
        again = asked(private(tmp_path, table=table.replace("30.0", f"{needed * factor}")))
        assert again["verdict"] == verdict


def test_expected_time_is_of_the_order_of_a_real_round():
    names = [f"site-{number}" for number in range(5)]
    question = Question("sum", (Block("values", 100_000, 1.0, 16),), max_weight=10)
    policy = plan_with_noise([question], "patient", {"sum": 4.0}, study="timed", sites=5, rounds=9)
    plan = plan_study(policy, {"sum": 1}, names, rates=measured_rates(policy))
    given = dict.fromkeys(names, lambda _: Contribution({"values": np.zeros((0, 100_000))}))
    taken = []
    with MaskedAggregator(policy, names) as aggregator:
        for _ in range(3):
            started = time.process_time()
            aggregator.aggregate("sum", b"", given)
            taken.append(time.process_time() - started)
    expected = 5 * plan.site_seconds + plan.coordinator_seconds
    assert expected / 8 < min(taken) < 8 * expected


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (9_999, "9,999 bytes"),
        (10_000, "10 kB"),
        (999_000, "999 kB"),
        (999_999, "1,000 kB"),
        (5_630_000, "5.63 MB"),
        (2_345_000_000, "2.35 GB"),
        (4_000_000_000_000, "4,000 GB"),
    ],
)
def test_bytes_are_told_in_three_digits(count, told):
    assert _bytes(count) == told


@pytest.mark.parametrize(
    ("epsilon", "told"), [(4.9999, "5"), (1.23411, "1.235"), (0.113701, "0.1138"), (2.0, "2"), (0.0, "0")]
)
def test_epsilon_is_told_rounded_up(epsilon, told):
    assert _up(epsilon) == told


def test_plan_without_privacy_is_unbounded(tmp_path):
    code, out, err = run(write_study(tmp_path))
    assert code == 0
    assert err.startswith('warning: across_rounds = "accept"')
    assert "epsilon: unbounded without noise" in out
    assert "1 may drop out of a round, 1 may collude" in out


def test_target_out_of_reach_ends_with_what_would_be_within(tmp_path):
    def shares(one, other):
        return f"statistics_share = {one}\nevaluation_share = {other}\n"

    code, out, err = run(private(tmp_path, shares(0.45, 0.45)))
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert "of 5 at delta 1e-05: lower their shares" in lines[0]
    epsilon = float(lines[1].split()[2])
    assert lines[1] == f"error: epsilon {epsilon:g} or more would be within reach, at delta 1e-05"
    one, other = (float(lines[2].split()[place]) for place in (2, 5))
    assert lines[2].endswith(f"_share {one:g} and evaluation_share {other:g} or less would be within reach")
    for target, given, expected in [
        (epsilon, (0.45, 0.45), 0),
        (0.98 * epsilon, (0.45, 0.45), 2),
        (5.0, (one, other), 0),
        (5.0, (one + 0.01, other + 0.01), 2),
    ]:
        table = PRIVACY.replace("5.0", f"{target}")
        assert run(private(tmp_path, shares(*given), table=table))[0] == expected


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (PRIVACY.replace("5.0", "0.0"), "'privacy.epsilon' is 0.0, allowed is a number from 0.001 to 100"),
        (PRIVACY.replace("5.0", "nan"), "'privacy.epsilon' is nan"),
        (PRIVACY.replace("1e-5", "1.0"), "'privacy.delta' is 1.0, allowed is a number from 1e-15 to 0.01"),
        (PRIVACY.replace("patient", "visit"), "'privacy.unit' is 'visit'"),
    ],
)
def test_target_out_of_range_is_named(tmp_path, table, said):
    code, out, err = run(private(tmp_path, table=table))
    assert (code, out) == (2, "")
    assert said in err


def test_no_study_is_an_error(tmp_path):
    code, out, err = run(tmp_path / "none.toml", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "none.toml: cannot be read: No such file or directory" in err
