# SPDX-License-Identifier: Apache-2.0

"""A job of the Recipe API in NVFlare's simulator, with a process a client and a script of its Client API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "nvflare", reason="NVFlare is not installed here; `make engines` runs these tests with it"
)
pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

from flower_hospitals import site_files

NAMES = ("aachen", "bergen", "coimbra", "delft")

TRAIN = """
import nvflare.client as flare
import numpy as np
from nvflare.apis.analytix import AnalyticsDataType

flare.init()
place = {names}.index(flare.get_site_name()) + 1
while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    flare.log("loss", 0.5, AnalyticsDataType.SCALAR)
    flare.send(flare.FLModel(
        params={{name: array + np.float32(place / 8) for name, array in model.params.items()}},
        metrics={{"loss": place / 2}},
        meta={{"NUM_STEPS_CURRENT_ROUND": 10 * place}},
    ))
"""

JOB = """
import sys
from pathlib import Path
import numpy as np
from nvflare.recipe.sim_env import SimEnv
from sordino.adapters.nvflare import SecureFedAvgRecipe, plan_question
from sordino.protocol.policy import plan_policy

if __name__ == "__main__":
    model = {{"weights": np.zeros((3, 2), np.float32), "bias": np.full(2, 0.5)}}
    train = plan_question("train", model, sites=4, max_weight=100, clip=4.0, metrics={{"loss": 8.0}})
    policy = plan_policy(study="s", sites=4, plan=[train], across_rounds="accept", rounds=10)
    recipe = SecureFedAvgRecipe(
        policy=policy, roster="roster.toml", model=model, num_rounds=2, train_script="train.py"
    )
    recipe.execute(SimEnv(clients={names}, num_threads=4, workspace_root="work"))
"""


def run_job(folder):
    """Run the job in a new folder; its output, and whether NVFlare's simulator reached all of its clients.

    It picks a free port for each and lets go of it before the client takes it, so that another may.
    """
    folder.mkdir()
    settings = site_files(folder, NAMES)
    (folder / "roster.toml").write_bytes((settings["aachen"].parent / "roster.toml").read_bytes())
    (folder / "train.py").write_text(TRAIN.format(names=NAMES))
    (folder / "job.py").write_text(JOB.format(names=list(NAMES)))
    done = subprocess.run(
        [sys.executable, "job.py"],
        cwd=folder,
        env={**os.environ, "SORDINO_SITE": str(folder / "{client}" / "site.toml"), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    (log,) = folder.glob("work/*/server/log.txt")
    return done, "Communication error with client" not in log.read_text()


def test_a_recipe_runs_in_the_simulator_with_a_script_of_the_client_api(tmp_path):
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        done, reached = run_job(folder)
        if reached:
            break
    assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-9000:]
    (report,) = Path(folder, "work").rglob("rounds.json")
    told = json.loads(report.read_text())
    assert [round_["survivors"] for round_ in told["rounds"]] == [list(NAMES)] * 2
    assert [metrics["loss"] for metrics in told["metrics"]] == [1.5, 1.5]
    with np.load(report.with_name("model.npz")) as model:
        np.testing.assert_array_equal(model["weights"], np.full((3, 2), 0.75, np.float32))
        np.testing.assert_array_equal(model["bias"], np.full(2, 1.25))
    # NVFlare tells the trainer of a run's start by itself, and it must hear of it once: two scripts in one
    # process would share one Client API, and take each other's models.
    for name in NAMES:
        (log,) = Path(folder, "work").glob(f"*/{name}/log.txt")
        assert log.read_text().count("start task run") == 1
    # No client runs what the job brought of sordino: it brings nothing.
    assert not list(Path(folder, "work").rglob("custom/sordino*"))
    assert sorted(path.name for path in Path(folder, "work").rglob("custom/*.py")) == ["train.py"] * 5
