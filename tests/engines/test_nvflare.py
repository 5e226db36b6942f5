# SPDX-License-Identifier: Apache-2.0

"""Studies over NVFlare's own task server: the sum is the plain one, bit for bit, whoever is lost."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip(
    "nvflare", reason="NVFlare is not installed here; `make engines` runs these tests with it"
)

from nvflare_clients import Run, controller_of, lose, study_policy
from studies import NAMES, accuracy_of, assert_same, count_of, plain_mean, site_files


@pytest.mark.parametrize("consistency", [True, False])
def test_a_study_equals_the_plain_one_and_takes_three_exchanges_or_two(tmp_path, consistency):
    policy, run = study_policy(consistency=consistency), Run(tmp_path, site_files(tmp_path))
    found = run.start(controller_of(tmp_path, policy, rounds=2))
    first, _ = plain_mean(policy, NAMES)
    second, loss = plain_mean(policy, NAMES, 2, first)
    assert_same(found, second)
    report = run.report()
    weights = [count_of(name) for name in NAMES]
    accuracy = np.average([accuracy_of(name) for name in NAMES], weights=weights)
    assert report["metrics"][1]["loss"] == loss
    assert report["metrics"][1]["accuracy"] == pytest.approx(accuracy, abs=2.0**-20)
    assert [done["kind"] for done in report["rounds"]] == ["train", "validate"] * 2
    assert {done["exchanges"] for done in report["rounds"]} == {3 if consistency else 2}


@pytest.mark.parametrize("how", ["lost", "unanswered"])
@pytest.mark.parametrize(
    ("steps", "survivors", "vanished"),
    [
        ({"essen": "UploadRequest"}, "abcdf", ""),
        ({"essen": "ConfirmRequest"}, "abcdef", "e"),
        ({"essen": "UnmaskRequest"}, "abcdef", "e"),
        ({"bergen": "UploadRequest", "essen": "UnmaskRequest"}, "acdef", "e"),
    ],
)
def test_a_round_with_losses_is_the_sum_over_the_survivors(tmp_path, steps, survivors, vanished, how):
    policy = study_policy()
    run = Run(tmp_path, site_files(tmp_path), fate=lose(steps, how=how))
    found = run.start(controller_of(tmp_path, policy))
    there = [name for name in NAMES if name[0] in survivors]
    expected, loss = plain_mean(policy, there)
    assert_same(found, expected)
    report = run.report()
    done = report["rounds"][0]
    assert (done["survivors"], [name[0] for name in done["vanished"]]) == (there, list(vanished))
    assert report["metrics"][0]["loss"] == loss
