# SPDX-License-Identifier: Apache-2.0

"""A run that is really killed, at any moment, goes on to the same result."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from hospitals import write_study
from interrupts import hear_interrupts

MORE = """
[[dropouts]]
round = 3
site = "south"
step = "unmask"
[simulation]
compare_plain = true
"""
COMMAND = "from sordino.cli import main; main()"
DROPOUT = "[[dropouts]]\nround = 2\nsite = 'north'\n"


def start(study, out):
    command = [sys.executable, "-c", COMMAND, "run", str(study), "--out", str(out)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    )


def finish(study, out):
    process = start(study, out)
    told, warned = process.communicate(timeout=120)
    assert process.returncode == 0, warned
    return told


def sums_in(out):
    path = out / "transcript.jsonl"
    return path.read_bytes().count(b'"event":"sum"') if path.exists() else 0


@pytest.mark.parametrize("policy", ["accept", "freeze"])
def test_run_that_is_killed_again_and_again_ends_in_the_same_model(tmp_path, policy):
    more = MORE + (DROPOUT if policy == "accept" else "")
    study = write_study(tmp_path, training="rounds = 35", policy=f'across_rounds = "{policy}"', more=more)
    finish(study, tmp_path / "whole")
    out, chance = tmp_path / "killed", random.Random(policy)
    kills = 0
    for _ in range(6):
        process = start(study, out)
        before = sums_in(out)
        # Within a round, not between two: a few milliseconds after the process has made another sum.
        while process.poll() is None and sums_in(out) < before + chance.randint(1, 5):
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
    assert kills >= 4
    assert "bit for bit: 40 of 40" in finish(study, out)
    for name in ("model.json", "metrics.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    events = [json.loads(line)["event"] for line in (out / "transcript.jsonl").read_text().splitlines()]
    assert events.count("resumed") >= kills - 1
    assert events[-1] == "finished"


def test_run_that_is_killed_during_set_up_starts_over(tmp_path):
    study, out = write_study(tmp_path), tmp_path / "out"
    for delay in (0.0, 0.01, 0.03):
        process = start(study, out)
        while process.poll() is None and not (out / "state" / "session").exists():
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.communicate()
    finish(study, out)
    assert (out / "model.json").exists()


def test_interrupted_run_says_so_in_one_line(tmp_path):
    study, out = write_study(tmp_path, training="rounds = 500"), tmp_path / "out"
    process = start(study, out)
    while process.poll() is None and sums_in(out) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, warned = process.communicate(timeout=60)
    assert process.returncode == 130
    assert warned.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in warned


def test_second_run_in_the_same_folder_is_refused_while_the_first_goes_on(tmp_path):
    study, out = write_study(tmp_path, training="rounds = 500"), tmp_path / "out"
    first = start(study, out)
    while first.poll() is None and sums_in(out) < 1:
        time.sleep(0.01)
    second = start(study, out)
    _, warned = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "another run is using it" in warned.splitlines()[-1]
    first.kill()
    first.communicate()
