# SPDX-License-Identifier: Apache-2.0

"""Studies with a [privacy] table: what is wrong with them, what they cost, and how they end."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from hospitals import NAMES, write_study
from sordino.course.follow import Summed
from sordino.errors import ConfigError, RoundAborted
from sordino.federated.private.descent import Descent
from sordino.federated.study.file import examine_study, read_study
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.run import run_study
from sordino.federated.study.split import drawn_apart

PRIVACY = '[privacy]\nunit = "patient"\nepsilon = 5.0\ndelta = 1e-5\n'


def private(folder, added="", *, table=PRIVACY, **changes):
    """A private study over four sites: its table, and what is added to it."""
    return write_study(folder, **{"policy": "max_patients = 100", "more": table + added, **changes})


@pytest.mark.parametrize(
    ("more", "changes", "said"),
    [
        ("epsilom = 3", {}, "unknown key 'privacy.epsilom'; did you mean 'epsilon'?"),
        ("clip = 0.0", {}, "'privacy.clip' is 0.0, allowed is a number from 0.000001"),
        ("clip = nan", {}, "'privacy.clip' is nan, allowed is"),
        ("sampling_rate = 0", {}, "'privacy.sampling_rate' is 0, allowed is a number from 0.000001 to 1"),
        ("sampling_rate = 1.5", {}, "'privacy.sampling_rate' is 1.5"),
        ("target_quantile = 1.0", {}, "'privacy.target_quantile' is 1.0, allowed is a number above 0 and"),
        ("clip_rate = -1", {}, "'privacy.clip_rate' is -1"),
        ("statistics_share = 0.5", {}, "'privacy.statistics_share' is 0.5, allowed is a number above 0"),
        ("spare_rounds = -1", {}, "'privacy.spare_rounds' is -1"),
        ("ranges = {a = [1]}", {}, "'privacy.ranges' is {'a': [1]}, allowed is a table of feature"),
        ("ranges = {a = [2, 1]}", {}, "'privacy.ranges.a' is [2.0, 1.0], allowed is a lower and a higher"),
        ("ranges = {a = [nan, 1]}", {}, "'privacy.ranges.a' is [nan, 1.0]"),
        ("", {"training": "batch_size = 8"}, "'training.batch_size' is a public batch"),
        ("", {"training": "deadline = 1"}, "'training.deadline' has a site work before it has paid"),
        (
            "",
            {"training": "local_steps = 2"},
            "'training.local_steps' is 2, with 'privacy.unit' = \"patient\"",
        ),
        ("", {"policy": 'across_rounds = "accept"'}, 'with [privacy] it is "noise" or left out'),
        (
            "",
            {"test": 'fraction = 0.3\ndraw = "class"'},
            "'test.draw' is 'class', by which one patient moves",
        ),
        ("ranges = {y = [0, 1]}", {"data": 'features = ["x"]'}, "lacks 'x'"),
    ],
)
def test_fault_of_the_table_names_value_and_range(tmp_path, more, changes, said):
    _, faults = examine_study(private(tmp_path, more, **changes))
    assert said in "\n".join(faults)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("epsilon", "0", "a number from 0.001 to 100"),
        ("epsilon", "nan", "a number from 0.001 to 100"),
        ("epsilon", "inf", "a number from 0.001 to 100"),
        ("delta", "0.5", "a number from 1e-15 to 0.01"),
        ("delta", "nan", "a number from 1e-15 to 0.01"),
        ("unit", '"person"', '"patient", "patient-local" or "site"'),
    ],
)
def test_epsilon_delta_and_unit_out_of_range_are_named(tmp_path, key, value, allowed):
    table = re.sub(rf"^{key} = .*$", f"{key} = {value}", PRIVACY, flags=re.MULTILINE)
    _, faults = examine_study(private(tmp_path, table=table))
    assert f"'privacy.{key}' is" in faults[0]
    assert f"allowed is {allowed}" in faults[0]


def test_other_units_have_faults_of_their_own(tmp_path):
    table = PRIVACY.replace('"patient"', '"site"') + "sampling_rate = 0.5"
    assert "who takes part is no secret" in examine_study(private(tmp_path, table=table))[1][0]
    table = PRIVACY.replace('"patient"', '"patient-local"') + "target_quantile = 0.5"
    assert "'privacy.target_quantile' goes with" in examine_study(private(tmp_path, table=table))[1][0]


def test_noise_across_rounds_needs_the_table(tmp_path):
    _, faults = examine_study(write_study(tmp_path, policy='across_rounds = "noise"'))
    assert "'policy.across_rounds' is 'noise', which needs [privacy]" in faults[0]
    assert read_study(private(tmp_path, policy='across_rounds = "noise"')).privacy is not None


def test_fewer_patients_than_the_sampling_needs_are_named(tmp_path):
    with pytest.raises(ConfigError, match="is in a batch it needs 1,000 at least, there are 122"):
        prepare(private(tmp_path, "sampling_rate = 0.001"))


def test_ranges_for_some_features_only_are_named(tmp_path):
    with pytest.raises(ConfigError, match="'privacy.ranges' lacks 'feature 1', 'feature 2'"):
        prepare(private(tmp_path, 'ranges = {"feature 0" = [-4, 4]}'))


def test_target_and_lanes_that_cannot_be_met_are_named(tmp_path):
    tiny = PRIVACY.replace("5.0", "0.001").replace("1e-5", "1e-15")
    with pytest.raises(ConfigError, match="privacy: 525 steps of training cost more than epsilon 0.001"):
        prepare(private(tmp_path, table=tiny, training="rounds = 500"))
    with pytest.raises(ConfigError, match="policy: .*2\\*\\*40 are possible"):
        prepare(
            private(
                tmp_path,
                policy="max_patients = 1000000",
                table=PRIVACY.replace("5.0", "0.001").replace('"patient"', '"site"'),
            )
        )


def test_site_unit_is_said_to_be_hopeless_in_numbers(tmp_path):
    prepared, findings = examine(private(tmp_path, table=PRIVACY.replace('"patient"', '"site"')))
    assert prepared is not None
    (warning,) = [one for one in findings.warnings if "hopeless" in one]
    assert re.search(r"is [0-9.]+ times as long as the clip, .* it takes about [0-9,]+ patients", warning)


def test_held_out_patients_are_drawn_each_by_itself():
    ids = [f"P{number}" for number in range(4000)]
    held_out = drawn_apart("east", ids, fraction=0.25, seed=3)
    assert abs(held_out.sum() - 1000) < 6 * np.sqrt(750)
    np.testing.assert_array_equal(drawn_apart("east", ids[1:], fraction=0.25, seed=3), held_out[1:])
    assert (drawn_apart("east", ids, fraction=0.25, seed=4) != held_out).any()
    assert (drawn_apart("west", ids, fraction=0.25, seed=3) != held_out).any()


@pytest.mark.parametrize("unit", ["patient", "patient-local", "site"])
def test_private_run_says_what_it_cost(tmp_path, unit):
    study = private(tmp_path, table=PRIVACY.replace('"patient"', f'"{unit}"'))
    prepared = prepare(study)
    seen = []
    assert run_study(prepared, tmp_path / "out", watch=lambda now: seen.append(now.epsilon))
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    privacy = found["privacy"]
    assert found["across_rounds"] == "noise"
    assert privacy["unit"] == unit
    assert 0.95 * 5.0 < privacy["epsilon"] <= 5.0
    assert privacy["epsilon_after_sum"] == sorted(privacy["epsilon_after_sum"]) == seen
    assert privacy["epsilon_after_sum"][-1] == privacy["epsilon"]
    assert privacy["noise_multipliers"] == dict(prepared.privacy.multipliers)
    area = found["secure_sums"]["test_auc"]["mean"]  # a class may be lost in the noise
    assert area is None or 0.0 <= area <= 1.0
    assert "train_loss_by_round" not in found["secure_sums"]["repeats"][0]
    lines = [json.loads(line) for line in (tmp_path / "out" / "transcript.jsonl").read_text().splitlines()]
    sums = [line["privacy"] for line in lines if line["event"] == "sum"]
    assert [line["epsilon"] for line in sums] == seen
    assert not run_study(prepared, tmp_path / "out")


class Killed(Exception):
    """Stands for the death of the process."""


def test_interrupted_run_goes_on_and_has_paid_once_for_every_sum(tmp_path):
    study = private(tmp_path, added="spare_rounds = 2", training="rounds = 8")

    def die(now):
        if isinstance(now.event, Summed) and now.done == 6:
            raise Killed

    with pytest.raises(Killed):
        run_study(prepare(study), tmp_path / "out", watch=die)
    assert run_study(prepare(study), tmp_path / "out")
    assert run_study(prepare(study), tmp_path / "whole")
    costs = [
        json.loads((tmp_path / out / "metrics.json").read_text())["privacy"]["epsilon"]
        for out in ("out", "whole")
    ]
    assert costs[0] == pytest.approx(costs[1])


def test_sum_that_was_paid_for_when_the_process_died_is_paid_for_again(tmp_path, monkeypatch):
    study = private(tmp_path, added="spare_rounds = 1", training="rounds = 4")
    answer = Descent.contribute

    def die(stage, site, known):
        if known["parameters"].any() and site.name == "south":
            raise Killed  # in the second step, after the charge
        return answer(stage, site, known)

    monkeypatch.setattr(Descent, "contribute", die)
    with pytest.raises(Killed):
        run_study(prepare(study), tmp_path / "out")
    monkeypatch.undo()
    assert run_study(prepare(study), tmp_path / "out")
    assert run_study(prepare(study), tmp_path / "whole")
    killed, whole = (
        json.loads((tmp_path / out / "metrics.json").read_text())["privacy"]["epsilon"]
        for out in ("out", "whole")
    )
    # The spare round is what it was spent on: now all of the plan is.
    assert whole < 0.99 * killed
    assert killed == pytest.approx(prepare(study).privacy.guarantee.epsilon)


def test_run_out_of_budget_ends_in_one_line_and_keeps_what_it_made(tmp_path):
    # Every round of training is lost once, so the budget without spare rounds is spent half way.
    lost = "".join(f'[[dropouts]]\nround = "every"\nsite = "{name}"\nstep = "unmask"\n' for name in NAMES[:3])
    study = private(tmp_path, added="spare_rounds = 0\n" + lost, training="rounds = 6")
    for _ in range(2):
        with pytest.raises(
            RoundAborted, match=r"has no room for gradient \d: \d of 10 sums are made"
        ) as told:
            run_study(prepare(study), tmp_path / "out")
        assert "\n" not in str(told.value)
    assert not (tmp_path / "out" / "metrics.json").exists()
    lines = [json.loads(line) for line in (tmp_path / "out" / "transcript.jsonl").read_text().splitlines()]
    costs = [line["privacy"]["epsilon"] for line in lines if "privacy" in line]
    assert max(costs) <= 5.0
    assert "aborted" in {line["event"] for line in lines}
