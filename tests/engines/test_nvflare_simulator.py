# SPDX-License-Identifier: Apache-2.0

"""Jobs of the Recipe API in NVFlare's simulator, with a process a client and a script of its Client API.

The clients' clocks are an hour apart.
"""

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

from studies import budgeted, site_files

from sordino.adapters.nvflare import plan_question
from sordino.adapters.nvflare.controller import pack_policy
from sordino.files.journal import FileJournal
from sordino.privacy.cost import cost, worst_release
from sordino.privacy.ledger import Ledger
from sordino.privacy.mechanisms import plan_with_noise, release_of
from sordino.protocol.policy import plan_policy

NAMES = ("aachen", "bergen", "coimbra", "delft")
HOURS = dict(zip(NAMES, (-1, 0, 1, 0), strict=True))
MODEL = {"weights": np.zeros((3, 2), np.float32), "bias": np.full(2, 0.5)}
MEAN, LOSS = 0.375, 1.5
"""What a round adds to every value, and its loss: site k of 1..4 has k/8 and k/2, with the weight 10 k."""

TRAIN = """
import time
from pathlib import Path
import nvflare.client as flare
import numpy as np
from nvflare.apis.analytix import AnalyticsDataType

flare.init()
place = NAMES.index(flare.get_site_name()) + 1
Path(FOLDER, flare.get_site_name(), "clock").write_text(str(time.time()))
while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    flare.log("loss", 0.5, AnalyticsDataType.SCALAR)
    change = {name: np.full_like(array, place / 8) for name, array in model.params.items()}
    if BY_PATIENT:
        params = {name: np.repeat(one[np.newaxis], 10 * place, axis=0) for name, one in change.items()}
        flare.send(flare.FLModel(params=params, metrics={"loss": [place / 2] * 10 * place}))
    else:
        flare.send(flare.FLModel(
            params={name: array + change[name] for name, array in model.params.items()},
            metrics={"loss": place / 2},
            meta={"NUM_STEPS_CURRENT_ROUND": 10 * place},
        ))
"""

JOB = """
from pathlib import Path
from nvflare.recipe.sim_env import SimEnv
from sordino.adapters.nvflare import SecureFedAvgRecipe
from sordino.adapters.nvflare.controller import unpack_policy

if __name__ == "__main__":
    recipe = SecureFedAvgRecipe(
        policy=unpack_policy(Path("policy").read_text()),
        roster="aachen/roster.toml",
        model=str(Path("model.npz").absolute()),
        num_rounds=2,
        train_script="train.py",
    )
    recipe.execute(SimEnv(clients=list(NAMES), num_threads=4, workspace_root="work"))
"""

CLOCK = """
import sys
import time
for name, hours in HOURS.items():
    if name in sys.orig_argv:
        time.time = lambda true=time.time, late=3600.0 * hours: true() + late
"""


def question_for(**terms):
    return plan_question("train", MODEL, sites=4, max_weight=100, clip=4.0, metrics={"loss": 8.0}, **terms)


def run_job(folder, policy, *, by_patient):
    """Run the job in a new folder; its output, and whether NVFlare's simulator reached all of its clients.

    It picks a free port for each and lets go of it before the client takes it, so that another may.
    """
    if by_patient:
        budgeted(folder, "patient", 50.0, NAMES)
    else:
        site_files(folder, NAMES)
    np.savez(folder / "model.npz", **MODEL)
    (folder / "clock").mkdir()
    constants = f"NAMES, HOURS, FOLDER, BY_PATIENT = {NAMES}, {HOURS}, {str(folder)!r}, {by_patient}\n"
    programs = {"train.py": TRAIN, "job.py": JOB, "clock/sitecustomize.py": CLOCK}
    for name, text in programs.items():
        (folder / name).write_text(constants + text)
    (folder / "policy").write_text(pack_policy(policy))
    variables = {
        "SORDINO_SITE": str(folder / "{client}" / "site.toml"),
        "HOME": str(folder),
        "PYTHONPATH": str(folder / "clock"),
    }
    done = subprocess.run(
        [sys.executable, "job.py"],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    (log,) = folder.glob("work/*/server/log.txt")
    return done, "Communication error with client" not in log.read_text()


def run(folder, policy, *, by_patient=False):
    """Run the job until all clients were reached; the folder, what it reports, and its model."""
    for attempt in range(3):
        own = folder / str(attempt)
        done, reached = run_job(own, policy, by_patient=by_patient)
        if reached:
            break
    assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-9000:]
    (report,) = Path(own, "work").rglob("rounds.json")
    told = json.loads(report.read_text())
    assert [round_["survivors"] for round_ in told["rounds"]] == [list(NAMES)] * 2
    with np.load(report.with_name("model.npz")) as model:
        return own, told, dict(model)


def test_a_recipe_runs_in_the_simulator_with_a_script_of_the_client_api(tmp_path):
    policy = plan_policy(study="s", sites=4, plan=[question_for()], across_rounds="accept", rounds=10)
    folder, told, model = run(tmp_path, policy)
    assert [metrics["loss"] for metrics in told["metrics"]] == [LOSS, LOSS]
    for name, first in MODEL.items():
        np.testing.assert_array_equal(model[name], (first + 2 * MEAN).astype(first.dtype))
        assert model[name].dtype == first.dtype
    for name, hours in HOURS.items():
        clock = folder / name / "clock"
        assert abs(float(clock.read_text()) - clock.stat().st_mtime - 3600 * hours) < 60
        # NVFlare tells the trainer of a run's start by itself, and it must hear of it once: two scripts in
        # one process would share one Client API, and take each other's models.
        (log,) = Path(folder, "work").glob(f"*/{name}/log.txt")
        assert log.read_text().count("start task run") == 1
    # No client runs what the job brought of sordino: it brings nothing.
    assert not list(Path(folder, "work").rglob("custom/sordino*"))
    assert sorted(path.name for path in Path(folder, "work").rglob("custom/*.py")) == ["train.py"] * 5


def test_a_noised_run_in_the_simulator_costs_what_the_accountant_says(tmp_path):
    question = question_for(wanted_bits=16)
    policy = plan_with_noise([question], "patient", {"train": 0.5}, study="s", sites=4, rounds=10)
    planned = policy.question("train")
    folder, told, model = run(tmp_path, policy, by_patient=True)
    assert told["privacy"] == {
        "epsilon": cost({release_of(policy, planned, 4): 2}, 1e-5).epsilon,
        "delta": 1e-5,
        "unit": "patient",
    }
    # A site pays before it knows how many take part, and keeps its own book.
    paid = cost({worst_release(policy, planned): 2}, 1e-5).epsilon
    for name in NAMES:
        with FileJournal(folder / name / "journal").open() as book:
            account = Ledger(book.entries()).account("scans")
        assert account.epsilon(1e-5).epsilon == pytest.approx(paid, rel=1e-9)
    assert told["privacy"]["epsilon"] <= paid
    # The sum over 100 patients and their number are noised alike, in each of two rounds.
    spread = 1.5 * planned.noise.sigma / 100 * (2.0**-16 + MEAN / planned.weight_scale)
    for name, first in MODEL.items():
        off = np.abs(model[name] - first - 2 * MEAN)
        assert 0 < off.max() < 2 * 6 * spread
