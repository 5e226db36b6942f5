# SPDX-License-Identifier: Apache-2.0

"""SORDINO_PARAMETERS values through processes: what each holds at most, and how often it is asked."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

from flower_spool import COUNTS, SITES, STEPS, SpoolGrid, memory, stepping_app
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg
from studies import FLOOR, site_files

from sordino.adapters.flower import SecureStrategy, plan_question
from sordino.protocol.policy import plan_policy

PARAMETERS = int(float(os.environ.get("SORDINO_PARAMETERS", "0")))
LAYERS = 4


@pytest.mark.skipif(not PARAMETERS, reason="takes minutes; `make flower-large` runs it")
def test_a_large_model_takes_no_more_than_four_times_its_memory_at_a_site(tmp_path, capsys):
    base = memory()
    random = np.random.default_rng(1)
    model = {f"layer{place}": random.random(PARAMETERS // LAYERS, np.float32) for place in range(LAYERS)}
    arrays = ArrayRecord({name: Array(values) for name, values in model.items()})
    question = plan_question("train", arrays, sites=len(SITES), max_weight=1000, clip=4.0)
    policy = plan_policy(study="large", sites=len(SITES), plan=[question], across_rounds="accept")
    floor = f"{FLOOR}\nmax_lanes = {PARAMETERS + 1}"  # by itself a site takes no more than 10^8
    settings = site_files(tmp_path, SITES, floor=floor)
    secure = SecureStrategy(
        FedAvg(fraction_evaluate=0.0), policy, tmp_path / SITES[0] / "roster.toml", answer_within=600.0
    )
    size = 4 * PARAMETERS
    (tmp_path / "spool").mkdir()
    configs = {name: {"sordino-site": str(path)} for name, path in settings.items()}
    with SpoolGrid(tmp_path / "spool", stepping_app, configs) as grid:
        result = secure.start(grid, arrays, num_rounds=1, timeout=600.0)
    with capsys.disabled():
        peaks = ", ".join(f"{name} {peak / size:.2f}" for name, peak in grid.peaks.items())
        sys.stdout.write(
            f"\n{PARAMETERS:,} parameters, {policy.bits} bits a lane; times {size / 1e6:,.0f} MB: {peaks}, "
            f"the server {(memory('VmHWM') - base) / size:.2f}\n"
        )
    step = sum(STEPS[name] * COUNTS[name] for name in SITES) / sum(COUNTS.values())
    for name, before in model.items():
        after = result.arrays[name].numpy()
        assert np.abs(after[::2] - before[::2] - step).max() < 1e-6
        assert np.array_equal(after[1::2], before[1::2])
    assert [made.exchanges for made in secure.rounds] == [3]
    assert grid.exchanges == 3 + 3 + 1  # set-up, the round, and good-bye
    for name, peak in grid.peaks.items():
        assert peak < 4 * size, f"{name} held {peak / size:.2f} times the vector"
