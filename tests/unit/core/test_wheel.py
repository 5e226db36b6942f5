# SPDX-License-Identifier: Apache-2.0

"""The wheel: built with the environment's own tools, looked into, and installed where nothing else is."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from sordino import _core

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build"  # that of the editable installation, so that nothing is compiled again


def run(*command: str | Path, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd="/", env=kept | environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scikit_build_core")
    pytest.importorskip("pybind11")
    out = tmp_path_factory.mktemp("wheel")
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".wheel-lock").open("w") as lock:  # test processes share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"),
            *("--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", out),
            ROOT,
        )
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    (information,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    package = {name for name in names if not name.startswith(f"{information}/")}

    source = ROOT / "python"
    written = {path for kind in ("*.css", "*.py", "*.pyi") for path in (source / "sordino").rglob(kind)}
    expected = {path.relative_to(source).as_posix() for path in written} | {"sordino/py.typed"}
    (module,) = package - expected
    assert module.startswith("sordino/_core.")
    assert module.endswith(".so")
    assert "sordino/_core.pyi" in package
    assert expected <= package

    metadata = {name.removeprefix(f"{information}/") for name in names - package}
    assert metadata == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt"),
        *("licenses/LICENSE", "licenses/NOTICE", "sboms/sordino.cdx.json"),
    }
    assert wheel.stat().st_size < 2**20


def test_wheel_says_what_is_compiled_into_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/sboms/sordino.cdx.json"))
        bill = json.loads(archive.read(name))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part["version"] for part in bill["components"]}
    assert parts == {"libsordino": _core.__version__, "pybind11": version("pybind11")}
    assert bill["metadata"]["component"]["purl"] == f"pkg:pypi/sordino@{_core.__version__}"
    assert f"pkg:github/pybind/pybind11@v{parts['pybind11']}" in {part["purl"] for part in bill["components"]}


def test_wheel_works_where_nothing_else_of_sordino_is(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel)
    # Dependencies are lent by path, so that nothing is downloaded; hooks in that folder stay asleep.
    (site,) = place.glob("lib/python*/site-packages")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)), encoding="utf-8")

    look = "import json, sordino; from sordino import _core as core; print(json.dumps([sordino.__file__,"
    look += " core.__file__, sordino.__version__, core.backend(), str(sordino.secure_sum)]))"
    package, module, released, backend, _ = json.loads(run(python, "-c", look, SORDINO_CPU="portable"))
    assert Path(package).parent == Path(module).parent == site / "sordino"
    assert released == _core.__version__
    assert backend == "portable"

    command = place / "bin" / "sordino"
    assert released in run(command, "--version")
    assert "demo" in run(command, "--help")


@pytest.mark.parametrize(
    ("platform", "architectures"),
    [("linux", ("manylinux_x86_64", "manylinux_aarch64")), ("macos", ("macosx_x86_64", "macosx_arm64"))],
)
def test_cibuildwheel_builds_for_these(platform: str, architectures: tuple[str, ...]) -> None:
    pytest.importorskip("cibuildwheel")
    listed = run(
        *(sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform, ROOT),
        CIBW_CACHE_PATH=os.devnull,  # nothing is fetched for a list
    )
    versions = ("cp311", "cp312", "cp313", "cp314")
    assert set(listed.split()) == {f"{version}-{where}" for version in versions for where in architectures}
