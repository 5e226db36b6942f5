# SPDX-License-Identifier: Apache-2.0

"""How many rounds and seconds do FedAvg, FedProx and SCAFFOLD take, and what do masks add to a round?

algorithms  Rounds and seconds (masked) until the pooled training objective is within a thousandth of its
            way from the start to the optimum of the pooled rows, with 10 local steps; FedAvg of one step,
            pooled gradient descent, stands beside them. scikit-learn's breast-cancer set over six sites of
            unlike size, and of unlike classes too; the four hospitals of keek2020 where that table is. None:
            not within ROUNDS; `off` says how far off it ended.
overhead    A round of masked over plain sums at 10^5 parameters and ten sites, the sites' training included:
            a perceptron, 300 patients a site, one epoch or five in batches of 32, one BLAS thread.
            In turn in one run, a round each; the ratio is the median of neighbours', by the clock and in
            processor time. Beside it the same without any training, which is what the masks cost alone.
"""

from __future__ import annotations

import csv
import gzip
import os
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from harness import Clock, Figures, main, ratio
from threadpoolctl import threadpool_limits

from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.follow import Summed, course, follow
from sordino.federated.fedavg import FedAvg
from sordino.federated.local import Local
from sordino.federated.scaffold import Scaffold
from sordino.federated.server import Momentum
from sordino.federated.site import Site
from sordino.models.logistic import Logistic
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.protocol.policy import plan_policy

ROUNDS, STEPS = 400, 10
WITHIN = 1e-3
TEN = tuple(f"site{place}" for place in range(10))

Sites = dict[str, Site]


# Data -----------------------------------------------------------------------------------------------------


def breast_cancer(*, by_label: bool) -> Sites:
    """Six sites of 2 to 40 % of the patients; by label, four fifths of all are dealt in order of it."""
    from sklearn.datasets import load_breast_cancer

    features, target = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    random = np.random.default_rng(0)
    order = random.permutation(len(target))
    if by_label:  # sorted but for a fifth of the patients, so that no site has one class only
        mixed = random.random(len(target)) < 0.2
        order = order[np.argsort(np.where(mixed, random.random(len(target)), target)[order], kind="stable")]
    cuts = np.cumsum(np.array([0.4, 0.25, 0.15, 0.1, 0.08]) * len(target)).astype(int)
    return {
        f"site{place}": site_of(f"site{place}", features[rows], target[rows])
        for place, rows in enumerate(np.split(order, cuts))
    }


def keek2020() -> Sites | None:
    """The four hospitals of examples/keek2020.toml; None where the table is not."""
    shared = os.environ.get("SORDINO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    path = Path(shared) / "keek2020" / "Keek2020.csv.gz"
    if not path.exists():
        return None
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    own = [place for place, name in enumerate(header) if name not in ("ID", "Target")]
    who, truth = header.index("ID"), header.index("Target")
    sites = {}
    for name in ("AVL", "MAASTRO", "UMCU", "VUMC"):
        mine = [row for row in rows if row[who].startswith(name)]
        features = np.array([[float(row[place]) for place in own] for row in mine])
        sites[name] = site_of(name, features, np.array([float(row[truth]) for row in mine]))
    return sites


def site_of(name: str, features: np.ndarray, target: np.ndarray) -> Site:
    columns = tuple(str(place) for place in range(features.shape[1]))
    return Site(name, np.ascontiguousarray(features, np.float64), target.astype(np.float64), columns)


# Algorithms -----------------------------------------------------------------------------------------------


def algorithms(model: Logistic, sites: Sites) -> Mapping[str, FedAvg | Scaffold]:
    def averaging(steps: int, proximal: float = 0.0) -> FedAvg:
        return FedAvg(
            model,
            sites=len(sites),
            max_patients=1_000,
            local=Local(steps=steps, proximal=proximal),
            server=Momentum(0.0),
        )

    return {
        "fedavg_1_step": averaging(1),
        "fedavg": averaging(STEPS),
        "fedprox_mu_0.1": averaging(STEPS, 0.1),
        "scaffold": Scaffold(averaging(STEPS)),
    }


class Reached(Exception):
    pass


def measure_algorithm(
    algorithm: FedAvg | Scaffold, sites: Sites, objective: Callable[[np.ndarray], float], rate: float
) -> Figures:
    """`objective` is 1 at the start and 0 at the optimum."""
    policy = plan_policy(
        study="bench",
        sites=len(sites),
        plan=[algorithm.question()],
        across_rounds="freeze",
        rounds=ROUNDS,
    )
    seen: list[float] = []
    started = perf_counter()

    def watch(event: object) -> None:
        assert isinstance(event, Summed)
        seen.append(objective(event.state["parameters"]))
        if seen[-1] <= WITHIN:
            raise Reached

    with MaskedAggregator(policy, sorted(sites)) as sums:
        try:
            follow(
                course((algorithm, ROUNDS)), sums, sites, algorithm.initial(rate), keep=False, notify=watch
            )
        except Reached:
            return {"rounds": len(seen), "seconds": perf_counter() - started, "off": seen[-1]}
    return {"rounds": None, "seconds": None, "off": seen[-1]}


def measure_split(sites: Sites, l2: float) -> Figures:
    features = np.concatenate([site.features for site in sites.values()])
    target = np.concatenate([site.target for site in sites.values()])
    model = Logistic(features.shape[1], l2)
    start, least = (
        model.objective(parameters, features, target)
        for parameters in (model.initial(), model.fit(features, target))
    )
    # Half the safe step of the steepest site, for all algorithms alike.
    rate = 0.5 / (max(model.curvature(site.features) for site in sites.values()) + l2)

    def objective(parameters: np.ndarray) -> float:
        return (model.objective(parameters, features, target) - least) / (start - least)

    return {
        name: measure_algorithm(algorithm, sites, objective, rate)
        for name, algorithm in algorithms(model, sites).items()
    }


# Overhead -------------------------------------------------------------------------------------------------


@contextmanager
def quiet_plain(*given: Any) -> Iterator[PlainAggregator]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlainSumWarning)
        yield PlainAggregator(*given)


def measure_overhead(repeats: int) -> Figures:
    random = np.random.default_rng(0)
    model = MultiLayerPerceptron(1_000, hidden=(100,))
    sites = {
        name: site_of(name, random.normal(size=(300, 1_000)), random.integers(0, 2, 300)) for name in TEN
    }

    def averaging(epochs: int) -> FedAvg:
        local = Local(epochs=epochs, batch_size=32)
        return FedAvg(model, sites=len(TEN), max_patients=1_000, local=local, server=Momentum(0.0))

    algorithm = averaging(1)
    policy = plan_policy(
        study="bench",
        sites=len(TEN),
        plan=[algorithm.question()],
        across_rounds="freeze",
        rounds=10 * repeats + 20,
    )
    found: Figures = {"parameters": model.size, "bits": policy.bits}
    with ExitStack() as stack:
        sums = {
            "plain": stack.enter_context(quiet_plain(policy, TEN)),
            "masked": stack.enter_context(MaskedAggregator(policy, TEN)),
        }

        def round_of(which: str, algorithm: FedAvg, given: Mapping[str, Contribution] | None) -> Clock:
            clock = Clock()
            with clock:
                if given is None:
                    turns, state = course((algorithm, 1)), algorithm.initial(0.05)
                    follow(turns, sums[which], sites, state, keep=False)
                else:
                    fixed = {name: lambda _, one=one: one for name, one in given.items()}
                    sums[which].aggregate(algorithm.kind, b"", fixed)
            return clock

        stack.enter_context(threadpool_limits(1))
        trained = {name: algorithm.contribute(site, algorithm.initial(0.05)) for name, site in sites.items()}
        for title, epochs, given in [
            ("one_epoch", 1, None),
            ("five_epochs", 5, None),
            ("sums_alone", 1, trained),
        ]:
            pairs = [
                [round_of(which, averaging(epochs), given) for which in sums] for _ in range(repeats + 1)
            ][1:]
            plain, masked = zip(*pairs, strict=True)
            found[title] = {
                "plain_seconds": statistics.median(clock.wall for clock in plain),
                "masked_seconds": statistics.median(clock.wall for clock in masked),
                "ratio": ratio([clock.wall for clock in masked], [clock.wall for clock in plain]),
                "ratio_processor": ratio(
                    [clock.processor for clock in masked], [clock.processor for clock in plain]
                ),
            }
    return found


def print_rows(title: str, rows: Mapping[str, Any]) -> None:
    print(f"\n{title}")
    for name, value in rows.items():
        shown = value if isinstance(value, Mapping) else {"": value}
        cells = (
            f"{key} {'none' if one is None else format(one, ',.4g')}".strip() for key, one in shown.items()
        )
        print(f"  {name:20}" + "  ".join(f"{cell:>24}" for cell in cells))


def measure(repeats: int) -> Figures:
    hospitals = keek2020()
    return {
        "breast_cancer_by_size": measure_split(breast_cancer(by_label=False), 0.01),
        "breast_cancer_by_label": measure_split(breast_cancer(by_label=True), 0.01),
        "keek2020": None if hospitals is None else measure_split(hospitals, 10.0),
        "overhead": measure_overhead(repeats),
    }


def tell(found: Figures) -> None:
    for title, rows in found.items():
        if rows is not None:
            print_rows(title, rows)


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(9, "pairs of rounds for the overhead"))
