# SPDX-License-Identifier: Apache-2.0

"""Small studies for tests: rows of made-up hospitals, in memory and on disk."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.federated.site import Site
from sordino.federated.training import Training
from sordino.protocol.policy import AcrossRounds, Policy, plan_policy

NAMES = ("east", "north", "south", "west")


def hospitals(
    names: Sequence[str] = NAMES, *, columns: int = 3, seed: int = 0, held_out: int = 0
) -> dict[str, Site]:
    """Sites of 20, 27, 34, ... patients whose features differ in their means; `held_out` more to test on."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=columns)
    sites = {}
    for place, name in enumerate(names):
        patients = 20 + 7 * place + held_out
        features = random.normal(loc=0.3 * place, size=(patients, columns))
        target = (features @ truth + random.logistic(size=patients) > 0.3 * place * truth.sum()).astype(float)
        sites[name] = Site(
            name,
            features=features[held_out:],
            target=target[held_out:],
            columns=tuple(f"feature {number}" for number in range(columns)),
            test_features=features[:held_out],
            test_target=target[:held_out],
        )
    return sites


def policy_of(
    training: Training, *, across_rounds: AcrossRounds = "accept", rounds: int | None = None
) -> Policy:
    """The policy that allows just this training."""
    return plan_policy(
        study="test",
        sites=training.sites,
        plan=training.questions(),
        across_rounds=across_rounds,
        rounds=3 * len(training.turns()) if rounds is None else rounds,
    )


def masked(training: Training, names: Sequence[str] = NAMES) -> MaskedAggregator:
    """Masked sums for this training."""
    return MaskedAggregator(policy_of(training), names)


def plain(training: Training, names: Sequence[str] = NAMES) -> PlainAggregator:
    """Sums in the clear for this training, without the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlainSumWarning)
        return PlainAggregator(policy_of(training), names)


def pooled(sites: dict[str, Site]) -> tuple[np.ndarray, np.ndarray]:
    """All training rows in one place."""
    return (
        np.concatenate([site.features for site in sites.values()]),
        np.concatenate([site.target for site in sites.values()]),
    )


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_hospitals(folder: Path, names: Sequence[str] = NAMES) -> None:
    """A CSV file for each site: id, three features, target."""
    for name, site in hospitals(names).items():
        rows = [
            [f"{name}-{number}", *features.tolist(), int(target)]
            for number, (features, target) in enumerate(zip(site.features, site.target, strict=True))
        ]
        write_csv(folder / f"{name}.csv", ["id", *site.columns, "target"], rows)


def write_study(
    folder: Path,
    *,
    names: Sequence[str] = NAMES,
    data: str = "",
    training: str = "rounds = 4",
    policy: str = 'across_rounds = "accept"',
    more: str = "",
    test: str = "fraction = 0.3",
) -> Path:
    """A study file over `write_hospitals`, its tables changed as told; also writes the files."""
    write_hospitals(folder, names)
    sites = "\n".join(f'[[sites]]\nname = "{name}"\npath = "{name}.csv"' for name in names)
    path = folder / "study.toml"
    path.write_text(
        f'name = "tested"\n[data]\ntarget = "target"\n{data}\n{sites}\n[training]\n{training}\n'
        f"[test]\n{test}\n[policy]\n{policy}\n{more}\n",
        encoding="utf-8",
    )
    return path
