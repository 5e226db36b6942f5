# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hospitals import hospitals, write_csv, write_study
from sordino.cli.app import app
from sordino.errors import LocalError, PeerError, RoundAborted, SordinoError


@pytest.fixture
def sordino():
    """Calls the command in this process: exit code, stdout, stderr."""

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


def one_line(text):
    """The only line of what was told on stderr."""
    (line,) = text.splitlines()
    return line


PRIVACY = '[privacy]\nunit = "patient"\nepsilon = 5.0\ndelta = 1e-5\nspare_rounds = 0\n'


def test_private_study_says_its_noise_before_and_its_epsilon_after(sordino, tmp_path):
    study = write_study(tmp_path, policy="max_patients = 100", more=PRIVACY)
    code, told, _ = sordino("check", study)
    assert code == 0
    assert "privacy of one patient: epsilon 5 at delta 1e-05, 0 spare rounds included" in told
    assert re.search(r"gradient: 4 times, noise multiplier [0-9.]+, epsilon [0-9.]+ each", told)
    assert re.search(r"a step's noise is [0-9.]+ times as long as the clip", told)
    code, told, watched = sordino("run", study, "--out", tmp_path / "out")
    assert code == 0
    assert "privacy of one patient: epsilon 5 at delta 1e-05, of 5 allowed" in told
    spent = [float(one) for one in re.findall(r"epsilon ([0-9.]+) so far", watched)]
    assert spent == sorted(spent)
    assert spent[-1] == 5.0


def test_run_that_is_out_of_budget_ends_with_code_3_and_one_line(sordino, tmp_path):
    lost = "".join(
        f'[[dropouts]]\nround = "every"\nsite = "{name}"\nstep = "unmask"\n'
        for name in ("east", "north", "west")
    )
    study = write_study(tmp_path, policy="max_patients = 100", more=PRIVACY + lost)
    for _ in range(2):
        code, _, told = sordino("run", study, "--out", tmp_path / "out")
        assert code == 3
        (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
        assert "budget of epsilon 5 at delta 1e-05 has no room for gradient" in line


def test_version_and_help_are_told(sordino):
    assert re.fullmatch(r"sordino \d+\.\d+\.\d+\n", sordino("--version")[1])
    code, told, _ = sordino("--help")
    assert code == 0
    assert all(command in told for command in ("run", "check", "init", "predict", "demo"))


def test_help_loads_none_of_the_heavy_packages():
    script = (
        "import sys\nfrom sordino.cli import main\nsys.argv = ['sordino', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numpy', 'scipy', 'sklearn', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_initial_study_passes_the_check_once_its_files_exist(sordino, tmp_path):
    path = tmp_path / "study.toml"
    assert sordino("init", path)[0] == 0
    code, _, told = sordino("check", path)
    assert code == 2
    assert told.count("cannot be read") == 4
    for name, site in hospitals().items():
        rows = [[f"p{k}", *row, int(site.target[k])] for k, row in enumerate(site.features)]
        write_csv(tmp_path / f"{name}.csv", ["id", *site.columns, "target"], rows)
    code, told, _ = sordino("check", path)
    assert code == 0
    assert "ready to run" in told


def test_initial_study_never_overwrites(sordino, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("mine")
    code, _, told = sordino("init", path)
    assert (code, path.read_text()) == (2, "mine")
    assert "exists already" in one_line(told)


def test_check_lists_everything_and_writes_nothing(sordino, tmp_path):
    path = write_study(tmp_path, policy='across_rounds = "accept"\nthreshold = 2')
    (tmp_path / "west.csv").unlink()
    header = ["id", "feature 0", "feature 1", "feature 2", "target"]
    write_csv(tmp_path / "east.csv", header, [["a", 1, "x", 3, 0], ["a", 1, 2, 3, 7]])
    before = sorted(tmp_path.iterdir())
    code, _, told = sordino("check", path)
    assert code == 2
    assert all(line.startswith("error: ") for line in told.splitlines())
    assert "west.csv: cannot be read" in told
    assert "threshold 2 is too small" in told
    assert sorted(tmp_path.iterdir()) == before


def test_run_tells_of_its_measure_by_name_and_of_who_was_left_out(sordino, tmp_path):
    lost = '[[dropouts]]\nround = 2\nsite = "west"\nstep = "upload"\n[simulation]\ncompare_pooled = true'
    path = write_study(tmp_path, names=("east", "north", "south", "west"), more=lost)
    code, told, _ = sordino("run", path, "--out", tmp_path / "out")
    assert code == 0
    assert "west was left out of 1 of 4 rounds" in told
    assert "test AUC of the same model on the pooled rows" in told


def test_run_predict_and_run_again(sordino, tmp_path):
    path, out = write_study(tmp_path, more="[simulation]\ncompare_plain = true"), tmp_path / "out"
    code, told, warned = sordino("run", path, "--out", out)
    assert code == 0
    assert "9 of 9" in told
    assert "differ by one site" in warned
    code, told, _ = sordino("run", path, "--out", out)
    assert (code, "already finished" in told) == (0, True)
    code, told, _ = sordino("predict", out / "model.json", tmp_path / "north.csv")
    rows = list(csv.reader(told.splitlines()))
    assert rows[0] == ["id", "probability_1"]
    assert [row[0] for row in rows[1:]] == [f"north-{number}" for number in range(27)]
    assert all(0.0 <= float(row[1]) <= 1.0 for row in rows[1:])
    scores = tmp_path / "scores.csv"
    assert sordino("predict", out / "model.json", tmp_path / "north.csv", "--out", scores)[0] == 0
    assert scores.read_text() == told


def test_run_takes_the_data_from_elsewhere(sordino, tmp_path):
    (tmp_path / "study").mkdir()
    path = write_study(tmp_path / "study")
    (tmp_path / "data").mkdir()
    for name in hospitals():
        (tmp_path / "study" / f"{name}.csv").rename(tmp_path / "data" / f"{name}.csv")
    assert sordino("run", path, "--out", tmp_path / "out")[0] == 2
    assert sordino("run", path, "--out", tmp_path / "out", "--data", tmp_path / "data")[0] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": "ruonds = 3"}, "did you mean 'rounds'?"),
        ({"policy": 'across_rounds = "accept"\nthreshold = 2'}, "threshold 2 is too small"),
    ],
)
def test_bad_study_ends_in_one_line(sordino, tmp_path, changes, said):
    code, told, warned = sordino("run", write_study(tmp_path, **changes), "--out", tmp_path / "out")
    assert (code, told) == (2, "")
    line = warned.splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line
    assert "Traceback" not in warned


def test_diverging_training_ends_in_one_line_beside_the_last_good_model(sordino, tmp_path):
    study = write_study(tmp_path, training="rounds = 2\nlearning_rate = 1e11")
    code, _, warned = sordino("run", study, "--out", tmp_path / "out")
    assert code == 2
    assert warned.splitlines()[-1].startswith("error: training diverged in round 1; ")
    assert "lower training.learning_rate" in warned
    assert (tmp_path / "out" / "model.json").exists()


def test_several_faults_are_counted_in_one_line(sordino, tmp_path):
    path = write_study(tmp_path, training="ruonds = 3\nsede = 1\nbatch_size = 0")
    assert "(and 2 more faults; see sordino check)" in one_line(sordino("run", path, "--out", tmp_path)[2])


def test_bad_input_of_predict_ends_in_one_line(sordino, tmp_path):
    path = write_study(tmp_path)
    sordino("run", path, "--out", tmp_path / "out")
    model = tmp_path / "out" / "model.json"
    lacking = write_csv(tmp_path / "new.csv", ["id", "feature 0"], [["a", 1]])
    code, _, told = sordino("predict", model, lacking)
    assert code == 2
    assert "no column 'feature 1', 'feature 2', which the model needs" in one_line(told)
    broken = write_csv(
        tmp_path / "broken.csv",
        ["id", "feature 0", "feature 1", "feature 2"],
        [["a", "x", 1, 2], ["b", 1, "y", 2]],
    )
    code, _, told = sordino("predict", model, broken)
    assert (code, "sordino check" in told) == (2, False)
    assert [line.startswith("error: ") for line in told.splitlines()] == [True, True]
    code, _, told = sordino("predict", path, lacking)
    assert (code, "is not a model of sordino" in one_line(told)) == (2, True)
    code, _, told = sordino("predict", model, tmp_path / "none.csv")
    assert (code, "cannot be read" in one_line(told)) == (2, True)
    patients = tmp_path / "north.csv"
    for where, why in [("none/scores.csv", "No such file"), ("", "Is a directory")]:
        code, _, told = sordino("predict", model, patients, "--out", tmp_path / where)
        assert (code, one_line(told)) == (
            2,
            f"error: {tmp_path / where}: cannot be written: {why}" + (" or directory" if where else ""),
        )
    code, _, told = sordino("predict", model, lacking, "--out", lacking)
    assert (code, "would overwrite" in one_line(told)) == (2, True)


def test_output_that_cannot_be_written_ends_in_one_line(sordino, tmp_path):
    path = write_study(tmp_path)
    (tmp_path / "file").write_text("")
    code, _, told = sordino("run", path, "--out", tmp_path / "file")
    assert (code, told.splitlines()[-1].startswith("error: ")) == (2, True)
    code, _, told = sordino("init", tmp_path / "none" / "study.toml")
    assert (code, "No such file" in one_line(told)) == (2, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LocalError("you"), 2),
        (PeerError("they"), 3),
        (RoundAborted("too few"), 3),
        (SordinoError("either"), 3),
        (OSError(28, "No space left on device", "x"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code_says_who_erred(sordino, tmp_path, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("sordino.federated.study.run.run_study", fail)
    found, _, told = sordino("run", write_study(tmp_path), "--out", tmp_path / "out")
    assert found == code
    assert told.splitlines()[-1].startswith("error: ")


def test_demo_does_not_write_into_a_folder_in_use(sordino, tmp_path):
    (tmp_path / "mine").write_text("")
    code, _, told = sordino("demo", "--out", tmp_path)
    assert (code, "is not empty" in one_line(told)) == (2, True)
    code, _, told = sordino("demo", "--out", tmp_path / "mine")
    assert (code, told.startswith("error: ")) == (2, True)


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["run"], ["run", "x.toml"], ["predict", "a"], ["check", "--no"]]
)
def test_wrong_usage_is_told_without_a_traceback(sordino, arguments):
    code, _, told = sordino(*arguments)
    assert code == 2
    assert "Traceback" not in told


def test_predict_writes_into_a_pipe_and_leaves_it_there(sordino, tmp_path):
    path, pipe = write_study(tmp_path), tmp_path / "pipe"
    sordino("run", path, "--out", tmp_path / "out")
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        code, _, _ = sordino(
            "predict", tmp_path / "out" / "model.json", tmp_path / "north.csv", "--out", pipe
        )
        assert code == 0
        assert reader.communicate(timeout=60)[0].startswith("id,probability_1\nnorth-0,")
    assert pipe.is_fifo()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "xterm")])
def test_colour_is_left_out_where_it_is_not_wanted(tmp_path, name, value):
    ours, theirs = os.openpty()
    environment = {key: text for key, text in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    script = "from sordino.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "check", str(tmp_path / "none.toml")],
        env={**environment, name: value},
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    told = os.read(ours, 10_000)
    os.close(ours)
    assert done.returncode == 2
    assert b"cannot be read" in told
    assert (b"\x1b[" in told) == (value == "xterm")
