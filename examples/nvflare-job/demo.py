# SPDX-License-Identifier: Apache-2.0

"""Five hospitals on this machine in NVFlare's PocEnv: a server and clients as processes.

One is killed, and one reaches the server over a line that is slow and cut all the time. Everything is in a
temporary folder and on 127.0.0.1; nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from train import loss, trained

sys.path.append(str(Path(__file__).parents[1] / "flower-app"))
from slow_line import SlowLine

from sordino.adapters.nvflare import plan_question
from sordino.aggregation.base import Contribution
from sordino.aggregation.plain import PlainAggregator
from sordino.protocol.policy import Policy, plan_policy

HERE = Path(__file__).parent
NAMES = ("aachen", "bergen", "coimbra", "delft", "essen")
KILLED, FAR = "bergen", "delft"
PORT = 8002
"""Where NVFlare's PocEnv has its server."""

CUT = 15.0
"""Seconds after which a connection of the far hospital is cut."""

ROUNDS = 3
SECONDS = 240.0
"""What takes longer has failed."""

Rows = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Set up the hospitals, run the job while one of them is killed, and check what came out."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    features = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    parts = np.split(np.random.default_rng(7).permutation(len(found.target)), [80, 170, 290, 420])
    rows = {n: (features[p], found.target[p].astype(float)) for n, p in zip(NAMES, parts, strict=True)}
    with tempfile.TemporaryDirectory(prefix="sordino-nvflare-") as name:
        folder = Path(name)
        make_hospitals(folder, rows)
        try:
            report, model = run(folder)
        finally:
            end_all(folder)
    check(rows, report, model)


def make_hospitals(folder: Path, rows: Mapping[str, Rows]) -> None:
    """Keys by `sordino keys new`, the roster pinned everywhere, each hospital's own rows."""
    entries = []
    for name, (features, target) in rows.items():
        (folder / name).mkdir()
        command = [Path(sys.executable).parent / "sordino", "keys", "new", name, "--out", folder / name]
        entries.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        np.savez(folder / name / "rows.npz", features=features, target=target)
        (folder / name / "site.toml").write_text(
            f'name = "{name}"\nidentity = "{name}.key"\nroster = "../roster.toml"\njournal = "journal"\n'
            f'dataset = "scans"\n[floor]\nacross_rounds = ["accept"]\n'
        )
    (folder / "roster.toml").write_text("\n".join(entries))
    (folder / KILLED / "slow").touch()


def run(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Have a process submit the job, kill a client while it trains for the second round, and wait."""
    line = SlowLine(PORT, life=CUT)
    environment = {
        **os.environ,
        "HOME": str(folder),
        "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
        "SORDINO_SITE": f"{folder}/{{client}}/site.toml",
        "HOSPITALS": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    started = time.monotonic()
    with (folder / "submit.log").open("wb") as log:
        command = [sys.executable, __file__, str(folder / "poc"), str(folder / "roster.toml"), str(line.port)]
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for((folder / KILLED / "training").exists, f"{KILLED} to train")
        for process in processes(folder / "poc", f"/{KILLED}"):
            process.send_signal(signal.SIGKILL)
        print(f"{KILLED} was killed")
        # NVFlare itself calls the job finished when it has missed the killed client long enough.
        wait_for(lambda: list((folder / "poc").rglob("rounds.json")), "the end of the job")
    except SystemExit:
        print((folder / "submit.log").read_text()[-6000:])
        raise
    print(f"{FAR}'s line was {line.delay:g} s late each way, and cut {line.cuts} times")
    print(f"the job is done {time.monotonic() - started:.0f} s after its processes were started")
    (report,) = (folder / "poc").rglob("rounds.json")
    with np.load(report.with_name("model.npz")) as file:
        return json.loads(report.read_text()), dict(file)


def submit(workspace: Path, roster: Path, line: int) -> None:
    """Start NVFlare's server and clients, one of them over the line at this port, and submit the job."""
    from nvflare.recipe import poc_env

    from sordino.adapters.nvflare import SecureFedAvgRecipe

    start = poc_env._start_poc

    def start_over_line(**options) -> None:
        (kit,) = workspace.glob(f"*/prod_*/{FAR}/startup/fed_client.json")
        kit.write_text(kit.read_text().replace(f":{PORT}", f":{line}"))
        start(**options)

    poc_env._start_poc = start_over_line

    class AllThere(poc_env.PocEnv):
        """Submits the job when all clients have connected: NVFlare starts it when enough of them have."""

        def _get_session_manager(self):
            wait_for(listens, "the server")
            session = super()._get_session_manager()._get_session()
            wait_for(lambda: len(session.get_connected_client_list()) == len(NAMES), "all clients")
            session.close()
            return super()._get_session_manager()

    recipe = SecureFedAvgRecipe(
        policy=policy_of(),
        roster=roster,
        model=first_model(),
        num_rounds=ROUNDS,
        train_script=str(HERE / "train.py"),
        timeout=30.0,
    )
    recipe.execute(AllThere(clients=list(NAMES), num_clients=len(NAMES)))


def check(rows: Mapping[str, Rows], report: dict, model: Mapping[str, np.ndarray]) -> None:
    """The model is that of plain sums over the survivors, and who was killed is in none after that."""
    for done in report["rounds"]:
        print(
            f"round {done['number']}: {len(done['survivors'])} in the sum, without {done['dropped']}, "
            f"{done['exchanges']} exchanges, {done['seconds']:.1f} s"
        )
    survivors = [done["survivors"] for done in report["rounds"] if not done["lost"]]
    assert [KILLED in names for names in survivors] == [True, False, False], survivors
    assert all(FAR in names for names in survivors), survivors
    expected = plain_model(rows, survivors)
    for name, value in expected.items():
        np.testing.assert_array_equal(model[name], value)
    print("the model is that of the plain sums over the survivors, bit for bit")
    print(f"mean loss {report['metrics'][0]['loss']:.3f} -> {report['metrics'][-1]['loss']:.3f}")


def policy_of() -> Policy:
    """One question; one of the five hospitals may be missing."""
    train = plan_question(
        "train", first_model(), sites=len(NAMES), max_weight=1000, clip=16.0, metrics={"loss": 16.0}
    )
    return plan_policy(
        study="demo", sites=len(NAMES), plan=[train], across_rounds="accept", rounds=10 * ROUNDS
    )


def first_model() -> dict[str, np.ndarray]:
    """Thirty features."""
    return {"coefficients": np.zeros(30, np.float32), "intercept": np.zeros(1, np.float32)}


def plain_model(rows: Mapping[str, Rows], survivors: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The model by sums in the clear over these sites."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = PlainAggregator(policy_of(), NAMES)
    model = first_model()
    for names in survivors:
        given = {}
        for name in names:
            after = trained(*rows[name], model)
            change = np.concatenate([after[key] - model[key] for key in model])
            values = {"arrays": change, "loss": np.array([loss(*rows[name], model)])}
            given[name] = Contribution(values, len(rows[name][1]))
        mean = plain.aggregate("train", b"", {n: lambda _, c=c: c for n, c in given.items()}).mean("arrays")
        model = {
            "coefficients": (model["coefficients"] + mean[:30]).astype(np.float32),
            "intercept": (model["intercept"] + mean[30:]).astype(np.float32),
        }
    return model


# Processes -------------------------------------------------------------------------------------------


def end_all(folder: Path) -> None:
    """End what is still running of the processes that this run started, each by its id."""
    while found := processes(folder / "poc"):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=10.0)


def processes(workspace: Path, part: str = "") -> list[psutil.Process]:
    """The processes whose command line names this run's own workspace, which no other process can know."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith(str(workspace)) and part in word for word in words):
            found.append(process)
    return found


def listens() -> bool:
    """Whether the server takes connections."""
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", PORT)) == 0


def wait_for(ready: Callable[[], object], what: str) -> None:
    """Look four times a second; `SystemExit` if it takes too long."""
    until = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"waited {SECONDS:g} s for {what}")
        time.sleep(0.25)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        submit(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
