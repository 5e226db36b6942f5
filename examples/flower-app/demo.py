# SPDX-License-Identifier: Apache-2.0

"""Six hospitals on this machine: SuperLink, SuperNodes, TLS, node authentication, and two that are killed.

Everything is in a temporary folder and on free ports of 127.0.0.1; nothing is downloaded, and nobody is told
anything. `--data DIR` takes the six regions of DIR/tcga-brca in place of scikit-learn's breast-cancer set.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
from hospitals.server_app import policy_of
from hospitals.training import losses, trained
from slow_line import SlowLine

from sordino.aggregation.base import Contribution
from sordino.aggregation.plain import PlainAggregator

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SECONDS = 900
"""A run that takes longer has failed."""

BUDGET = '[budget]\nepsilon = 20.0\ndelta = 1e-5\nunit = "patient"\n'

Rows = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Three runs: with two hospitals killed, with noise for patients, and in the clear."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tcga-brca")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", nargs="+", default=["killed", "private", "clear"])
    options = parser.parse_args()
    rows = regions(options.data / "tcga-brca") if options.data else clinics()
    with tempfile.TemporaryDirectory(prefix="sordino-flower-") as folder, ExitStack() as stack:
        engine = Engine(Path(folder), rows, options.rounds, stack)
        for run in options.runs:
            getattr(engine, run)()
        print("all as it should be")


def clinics() -> dict[str, Rows]:
    """scikit-learn's 569 patients, dealt out to six clinics of different size."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    order = np.random.default_rng(7).permutation(len(found.target))
    parts = np.split(order, [60, 140, 240, 350, 470])
    names = ("aachen", "bergen", "coimbra", "delft", "essen", "fulda")
    return {n: scaled(found.data[part], found.target[part]) for n, part in zip(names, parts, strict=True)}


def regions(folder: Path) -> dict[str, Rows]:
    """TCGA-BRCA's patients by region, and whether an event was seen; eight of no region are left out."""
    with (folder / "centers.csv").open() as file:
        region = {row["TSS Code"]: row["Region"].lower() for row in csv.DictReader(file)}
    with (folder / "brca.csv").open() as file:
        table = list(csv.DictReader(file))
    columns = [name for name in table[0] if name not in ("pid", "E", "T")]
    rows = {}
    for name in sorted(set(region.values()) - {"other"}):
        mine = [row for row in table if region[row["pid"].split("-")[1]] == name]
        if mine:
            features = np.array([[float(row[column]) for column in columns] for row in mine])
            rows[name] = scaled(features, np.array([float(row["E"]) for row in mine]))
    return rows


def scaled(features: np.ndarray, target: np.ndarray) -> Rows:
    """A hospital's rows on its own scale, as it would do by itself."""
    deviation = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0), target.astype(float)


class Engine:
    """One SuperLink and its SuperNodes, one for each hospital of `rows`."""

    def __init__(self, folder: Path, rows: Mapping[str, Rows], rounds: int, stack: ExitStack) -> None:
        self.folder, self.rows, self.rounds, self.stack = folder, rows, rounds, stack
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.port = free_port()
        make_certificates(folder)
        self.make_sites()
        home = folder / "flwr"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "demo"\n[superlink.demo]\naddress = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{folder}/ca.crt"\n'
        )
        self.start(
            "superlink",
            *("flower-superlink", "--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt"),
            *("--ssl-keyfile", "server.key", "--enable-supernode-auth", "--database", "state.db"),
            *("--disable-runtime-dependency-installation", "--host", "127.0.0.1", "--port", str(self.port)),
        )
        wait_for(lambda: connects(self.port), "the SuperLink")
        for name in rows:
            self.run("flwr", "supernode", "register", f"{name}/node.pub", "demo")

    # The three runs ----------------------------------------------------------------------------------------

    def killed(self) -> None:
        """No noise; one hospital is killed while it trains, one when it has signed who survived."""
        slow, late = list(self.rows)[1], list(self.rows)[4]
        mark = self.folder / "slow"
        self.start_nodes("site.toml", {slow: f' slow="{mark}"'})
        killers = [
            threading.Thread(target=self.kill, args=(slow, mark.exists)),
            threading.Thread(target=self.kill, args=(late, lambda: self.has_done(late, "ConfirmRequest", 3))),
        ]
        for killer in killers:
            killer.start()
        with self.watched_database() as seen:
            told, model = self.study("killed", noise=0.0, malicious=True, timeout=30.0)
        for killer in killers:
            killer.join()
        for done in told["rounds"]:
            print(
                f"round {done['number']}: {len(done['survivors'])} in the sum, without {done['dropped']}, "
                f"recovered {done['vanished']}, {done['exchanges']} exchanges, {done['seconds']:.1f} s"
            )
        summed = [done for done in told["rounds"] if not done["lost"]]
        assert len(summed) == self.rounds, told
        assert all(done["exchanges"] == 3 + len(done["vanished"]) for done in summed), told
        assert slow in summed[1]["dropped"], told
        assert any(late in done["vanished"] for done in summed), told
        expected, sent = self.expected([done["survivors"] for done in summed])
        for name, value in expected.items():
            np.testing.assert_array_equal(model[name], value)
        print("the model is that of the plain sums over the survivors, bit for bit")
        found = [name for name, pattern in sent.items() if pattern in seen]
        assert not found, f"in the SuperLink's database: {found}"
        print(f"none of {len(sent)} updates and losses is in {len(seen):,} bytes of the SuperLink's database")
        self.stop_nodes()

    def private(self) -> None:
        """Noise for patients, semi-honest, a budget at every hospital, over lines that are slow and break."""
        line = SlowLine(self.port)
        self.stack.callback(line.close)
        self.start_nodes("private.toml", port=line.port)
        told, _ = self.study("private", noise=2.0, malicious=False, timeout=60.0, **{"answer-within": 60.0})
        summed = [done for done in told["rounds"] if not done["lost"]]
        assert len(summed) == self.rounds, told
        assert all(done["exchanges"] == 2 + len(done["vanished"]) for done in summed), told
        seconds = [done["seconds"] for done in told["rounds"]]
        print(
            f"with noise: epsilon {told['epsilon']:.2f} at delta {told['delta']:g}, losses "
            f"{told['loss'][0]:.3f} -> {told['loss'][-1]:.3f}; {min(seconds):.1f} to {max(seconds):.1f} s "
            f"a round, over lines that are 0.2 s late and were cut {line.cuts} times; in the sums: "
            f"{', '.join(str(len(done['survivors'])) for done in summed)} hospitals"
        )
        self.stop_nodes()

    def clear(self) -> None:
        """FedAvg alone, at the same nodes: how long it takes, and that the search above can find."""
        self.start_nodes("site.toml")
        app = self.folder / "clear"
        shutil.copytree(HERE, app, ignore=shutil.ignore_patterns("__pycache__"))
        settings = app / "pyproject.toml"
        settings.write_text(settings.read_text().replace("_app:app", "_app:in_the_clear"))
        with self.watched_database() as seen:
            told, _ = self.study("clear", app=app, noise=0.0, malicious=False, timeout=60.0)
        _, sent = self.expected([list(self.rows)], rounds=1)
        found = [name for name, pattern in sent.items() if pattern in seen]
        # What was delivered is overwritten, so that some is gone between two looks.
        for what in ("model", "loss"):
            assert any(name.endswith(what) for name in found), f"only {found} are in the database"
        print(
            f"FedAvg alone: {told['seconds_a_round']:.1f} s a round, and {len(found)} of {len(sent)} updates "
            f"and losses are in the database"
        )

    # Their parts -------------------------------------------------------------------------------------------

    def study(self, name: str, *, app: Path = HERE, **config: object) -> tuple[dict, dict[str, np.ndarray]]:
        out = self.folder / name / "out"
        settings = {
            "roster": str(self.folder / "roster.toml"),
            "out": str(out),
            "rounds": self.rounds,
            **self.terms,
            **config,
        }
        words = " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
        told = self.run("flwr", "run", str(app), "demo", "--stream", "--run-config", words)
        if not (out / "model.npz").exists():
            self.fail(name, told)
        with np.load(out / "model.npz") as arrays:
            return json.loads((out / "rounds.json").read_text()), dict(arrays)

    @property
    def terms(self) -> dict[str, int]:
        return {"features": next(iter(self.rows.values()))[0].shape[1], "max-patients": 1000}

    def expected(
        self, survivors: list[list[str]], rounds: int | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
        """The model by plain sums over these sites, and the bytes that would give a hospital away."""
        config = {"noise": 0.0, "malicious": True, **self.terms}
        policy = policy_of(config, len(self.rows), rounds=self.rounds)
        model = {
            "coefficients": np.zeros(self.terms["features"], np.float32),
            "intercept": np.zeros(1, np.float32),
        }
        sent: dict[str, bytes] = {}
        for number, names in enumerate(survivors[:rounds], start=1):
            contributions = {}
            for name in names:
                features, target = self.rows[name]
                after = trained(features, target, model)
                loss = float(losses(features, target, model).mean())
                change = {key: after[key] - model[key] for key in model}
                contributions[name] = Contribution(
                    {"arrays": np.concatenate(list(change.values())), "loss": np.array([loss])}, len(target)
                )
                at = f"{name}, round {number}: "
                sent[at + "model"] = after["coefficients"][:8].tobytes()
                if rounds is None:
                    sent[at + "change"] = change["coefficients"][:8].tobytes()
                    sent[at + "change in float64"] = change["coefficients"][:8].astype(float).tobytes()
                if number > 1 or rounds is not None:  # the first loss is log 2 everywhere
                    sent[at + "loss"] = np.float64(loss).tobytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                plain = PlainAggregator(policy, list(self.rows))
            total = plain.aggregate("train", b"", {n: lambda _, c=c: c for n, c in contributions.items()})
            mean, size = total.mean("arrays"), self.terms["features"]
            model = {
                "coefficients": (model["coefficients"] + mean[:size]).astype(np.float32),
                "intercept": (model["intercept"] + mean[size:]).astype(np.float32),
            }
        return model, sent

    @contextmanager
    def watched_database(self) -> Iterator[bytearray]:
        """All that the database's files hold meanwhile, each page once, looked at ten times a second."""
        seen, over, pages = bytearray(), threading.Event(), set()

        def watch() -> None:
            while not over.is_set():
                for file in self.folder.glob("state.db*"):
                    data = file.read_bytes()
                    for start in range(0, len(data), 4096):
                        page = data[start : start + 4096]
                        if hash(page) not in pages:
                            pages.add(hash(page))
                            seen.extend(page)
                over.wait(0.1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield seen
        finally:
            over.set()
            watcher.join()

    def kill(self, name: str, when: Callable[[], bool]) -> None:
        wait_for(when, f"the time to kill {name}", SECONDS)
        self.nodes[name].kill()
        print(f"{name} was killed")

    def has_done(self, name: str, action: str, number: int) -> bool:
        path = self.folder / name / "journal" / "journal.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines]
        return any((entry["action"], entry["round"]) == (action, number) for entry in entries)

    # Files and processes -----------------------------------------------------------------------------------

    def make_sites(self) -> None:
        """Keys by `sordino keys new`, the roster pinned everywhere, each hospital's own rows and terms."""
        entries = []
        for name, (features, target) in self.rows.items():
            folder = self.folder / name
            folder.mkdir()
            entries.append(self.run("sordino", "keys", "new", name, "--out", str(folder)))
            np.savez(folder / "rows.npz", features=features, target=target)
            self.run("ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", str(folder / "node"))
            for file, floor, dataset, budget in (
                ("site.toml", "accept", "scans", ""),
                ("private.toml", "noise", "more-scans", BUDGET),
            ):
                (folder / file).write_text(
                    f'name = "{name}"\nidentity = "{name}.key"\nroster = "../roster.toml"\n'
                    f'journal = "journal"\ndataset = "{dataset}"\n'
                    f'[floor]\nacross_rounds = ["{floor}"]\nsemi_honest = true\n{budget}'
                )
        (self.folder / "roster.toml").write_text("\n".join(entries))

    def start_nodes(self, site_file: str, more: Mapping[str, str] = {}, *, port: int | None = None) -> None:
        for name in self.rows:
            folder = self.folder / name
            config = f'sordino-site="{folder / site_file}" data="{folder / "rows.npz"}"{more.get(name, "")}'
            self.nodes[name] = self.start(
                name,
                *(
                    "flower-supernode",
                    "--root-certificates",
                    "ca.crt",
                    "--superlink",
                    f"127.0.0.1:{port or self.port}",
                ),
                *("--auth-supernode-private-key", f"{name}/node", "--node-config", config),
                *("--host", "127.0.0.1", "--port", str(free_port())),
            )

    def stop_nodes(self) -> None:
        for node in self.nodes.values():
            end(node)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        log = self.stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.stack.callback(end, process)
        return process

    def run(self, *command: str) -> str:
        program = shutil.which(command[0], path=self.environment["PATH"]) or command[0]
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            self.fail(" ".join(command[:2]), done.stdout + done.stderr)
        return done.stdout

    def fail(self, what: str, told: str) -> NoReturn:
        """End with the last words of everyone."""
        logs = "".join(f"\n== {log.name}\n{log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))
        raise SystemExit(f"{what} failed:{logs}\n{told[-6000:]}")


def make_certificates(folder: Path) -> None:
    """A certificate authority for this demonstration, and the SuperLink's certificate."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=demo")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl(
        *("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-out", "server.crt", "-days", "2", "-extfile", "san"),
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, if it still is one, and what it started: that may outlive it."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def connects(port: int) -> bool:
    """Whether somebody listens on it."""
    with socket.socket() as calling:
        return calling.connect_ex(("127.0.0.1", port)) == 0


def wait_for(ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Look ten times a second; `SystemExit` if it takes too long."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
