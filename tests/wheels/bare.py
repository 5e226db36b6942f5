# SPDX-License-Identifier: Apache-2.0

"""Show that the base install is enough, and that what needs an extra says so: `python tests/wheels/bare.py`.

Run where nothing but sordino and what it requires is installed; `--hide` hides what else is here, for a look
from an environment that has more. Every module is imported, everything that needs an extra is asked for, and,
unless things are hidden, a study goes from `sordino init` to its report.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import io
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Extra -> what it brings, by the name of its module and, where that is another, of its distribution.
BRINGS = {
    "ckks": {"tenseal"},
    "demo": {"lifelines", "statsmodels"},
    "figures": {"matplotlib"},
    "flower": {"flwr"},
    "nvflare": {"nvflare"},
    "pld": {"dp_accounting", "dp-accounting"},
    "radiomics": {"radiomics", "pyradiomics-bhklab", "SimpleITK"},
}
HIDDEN = {name.lower() for names in BRINGS.values() for name in names} | {"pandas", "torch"}


def ckks() -> None:
    from sordino import Block, Question, plan_policy
    from sordino.aggregation.ckks.aggregator import CkksAggregator

    plan = [Question("sum", (Block("vector", 4, 1.0, 0),), max_weight=1)]
    policy = plan_policy(study="bare", sites=3, plan=plan, across_rounds="accept", rounds=1, colluders=0)
    CkksAggregator(policy, ["alder", "birch", "cedar"])


def survival_demonstration() -> None:
    from sordino.cli.demo_survival import demo_survival

    demo_survival(Path())


def drift_figure() -> None:
    from sordino.federated.drift import draw_drift

    draw_drift({}, Path("drift.png"))


def rebuilt_pictures() -> None:
    from sordino.audit.pictures import draw_rebuilt

    draw_rebuilt({}, Path())


def flower() -> None:
    importlib.import_module("sordino.adapters.flower")


def nvflare() -> None:
    importlib.import_module("sordino.adapters.nvflare")


def loss_distributions() -> None:
    from sordino.privacy import Accountant, Gaussian

    Accountant([Gaussian(1.0)], pld=True).epsilon(1e-5)


def settings_hash() -> None:
    from sordino.radiomics import settings_hash

    settings_hash()


def extraction() -> None:
    from sordino.radiomics import extract

    extract("images", "masks", "features.csv")


def phantoms() -> None:
    from sordino.radiomics import write_phantoms

    write_phantoms("phantoms", sites=3, patients=1)


def torch_average() -> None:
    import sordino

    sordino.torch_average({})


def command(*words: str) -> Callable[[], None]:
    """The command line, as a user types it."""

    def asked() -> None:
        from sordino.cli import main

        sys.argv = ["sordino", *words]
        main()

    asked.__name__ = f"`sordino {' '.join(words)}`"
    return asked


# What needs an extra -> what it has to tell the user to install.
NEEDS: dict[Callable[[], None], str] = {
    ckks: "pip install 'sordino[ckks]'",
    survival_demonstration: "pip install 'sordino[demo]'",
    drift_figure: "pip install 'sordino[figures]'",
    rebuilt_pictures: "pip install 'sordino[figures]'",
    flower: "pip install 'sordino[flower]'",
    nvflare: "pip install 'sordino[nvflare]'",
    loss_distributions: "pip install 'sordino[pld]'",
    command(
        "privacy", "epsilon", "--noise-multiplier", "1", "--delta", "1e-5", "--pld"
    ): "pip install 'sordino[pld]'",
    settings_hash: "pip install 'sordino[radiomics]'",
    extraction: "pip install 'sordino[radiomics]'",
    phantoms: "pip install 'sordino[radiomics]'",
    command("extract", "--images", ".", "--masks", ".", "--out", "f.csv"): "pip install 'sordino[radiomics]'",
    command("phantom", "--out", "scans"): "pip install 'sordino[radiomics]'",
    command("demo", "--images", "--out", "demo"): "pip install 'sordino[radiomics]'",
    torch_average: "pip install torch",
}

STUDY = (
    ("init",),
    ("check", "study.toml"),
    ("plan", "study.toml"),
    ("describe", "study.toml"),
    ("run", "study.toml", "--out", "results"),
    ("report", "results"),
    ("predict", "results/model.json", "north.csv"),
    ("doctor",),
)


class Hider(importlib.machinery.PathFinder):
    """Finds what `PathFinder` finds, but for what is hidden."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        """As `PathFinder.find_spec`."""
        return None if name.partition(".")[0].lower() in HIDDEN else super().find_spec(name, path, target)

    @staticmethod
    def find_distributions(context: Any = importlib.metadata.DistributionFinder.Context()) -> Iterable[Any]:  # noqa: B008
        """As `PathFinder.find_distributions`."""
        found = importlib.machinery.PathFinder.find_distributions(context)
        return (each for each in found if each.metadata["Name"].lower() not in HIDDEN)


def hide() -> None:
    """Hide what extras bring from imports, from `find_spec` and from `importlib.metadata`."""
    sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Hider


def fault_of(need: Callable[[], None], says: str) -> str | None:
    """What is wrong with how the absence of an extra is told: one line, and no traceback of a command."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            need()
    except SystemExit as end:
        if end.code != 2:
            return f"exit code {end.code}: {told.getvalue()}"
    except Exception as error:  # noqa: BLE001 (whatever comes is judged by what it says)
        told.write(f"{error}\n")
    lines = [line for line in told.getvalue().splitlines() if line]
    if len(lines) != 1 or says not in lines[0]:
        return f"says {lines}"
    return None


def unimportable() -> list[str]:
    """The modules that cannot be imported and do not say what to install."""
    import sordino

    def ignore(name: str) -> None:
        """A package that cannot be imported is tried below as any other module."""

    faults, tried = [], 0
    for found in pkgutil.walk_packages(sordino.__path__, "sordino.", onerror=ignore):
        tried += 1
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            if "pip install 'sordino[" not in str(error) or "\n" in str(error):
                faults.append(f"{found.name}: {error}")
    if tried < 200:
        faults.append(f"only {tried} modules were found")
    return faults


def study() -> None:
    """From tables to a report, in this folder."""
    import numpy as np

    rng = np.random.default_rng(1)
    for name in ("north", "east", "south", "west"):
        features = rng.normal(size=(100, 3))
        target = features @ [1.0, -1.0, 0.5] + rng.logistic(size=100) > 0
        rows = np.column_stack([np.arange(100), features, target])
        np.savetxt(f"{name}.csv", rows, "%.6g", ",", header="id,radius,entropy,age,target", comments="")
    for words in STUDY:
        told = io.StringIO()
        try:
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                command(*words)()
        except SystemExit as end:
            if end.code:
                raise SystemExit(
                    f"sordino {' '.join(words)}: exit code {end.code}\n{told.getvalue()}"
                ) from None
    if not Path("results/report.html").exists():
        raise SystemExit("the study has no report")


def main(*arguments: str) -> None:
    if arguments == ("--hide",):
        hide()
    elif present := [name for name in HIDDEN if importlib.util.find_spec(name.replace("-", "_"))]:
        raise SystemExit(f"this is no base install: {sorted(present)}")
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        faults = unimportable()
        for need, says in NEEDS.items():
            if (fault := fault_of(need, says)) is not None:
                faults.append(f"{need.__name__}: {fault}")
        if faults:
            raise SystemExit("\n".join(faults))
        if not arguments:
            study()
    print(f"without extras: {len(NEEDS)} things say what to install{'' if arguments else '; a study runs'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
