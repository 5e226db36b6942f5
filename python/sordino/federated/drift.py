# SPDX-License-Identifier: Apache-2.0

"""Client drift: how far sites go from the common model in one round, and what it costs, by local steps.

For each number of local steps a model is trained, and one more secure sum gives the mean squared distance of
the sites' own next models from it, weighted by patients, and the mean loss; no site's own distance is seen.
The more steps, and the more the sites differ, the farther each goes towards its own optimum, and the worse is
the model that federated averaging ends with (Karimireddy et al. 2020, section 3).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from sordino.aggregation.base import Aggregate, Aggregator, Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.arrays import Arrays
from sordino.course.follow import STOPPED, Turn, course, follow
from sordino.course.memory import Transient
from sordino.errors import ConfigError
from sordino.federated.fedavg import FedAvg
from sordino.federated.scaffold import Scaffold
from sordino.federated.site import Site
from sordino.protocol.policy import Policy, Question, plan_policy

Algorithm: TypeAlias = FedAvg | Scaffold


@dataclass(frozen=True)
class Drift:
    """One round of an algorithm that moves nothing: its change as a squared norm, and the loss before it.

    State: `drift` (shape (1,)), the root of the patient-weighted mean of ||theta_i - theta||^2, and
    `drift_loss` (shape (1,)), the mean training loss.
    """

    algorithm: Algorithm

    kind = "drift"

    @property
    def reads(self) -> tuple[str, ...]:
        """As the algorithm."""
        return self.algorithm.reads

    @property
    def averaging(self) -> FedAvg:
        """What trains, without its control variates."""
        return self.algorithm.averaging if isinstance(self.algorithm, Scaffold) else self.algorithm

    def question(self) -> Question:
        """The squared distance, bounded as all parameters' changes are, and the loss."""
        averaging = self.averaging
        bound = averaging.model.size * averaging.clip**2
        squares = averaging.block("squares", "the drift", 1, bound, 2 * averaging.wanted_bits)
        loss = averaging.question().blocks[1]
        return Question(kind=self.kind, blocks=(squares, loss), max_weight=averaging.max_patients)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The squared distance to the site's own next model; what it remembers stays as it is."""
        memory = Transient()
        memory.keep(site.memory.load())
        given = self.algorithm.contribute(replace(site, memory=memory), known)
        change = given.values["change"]
        squares = np.array([float(change @ change)])
        return Contribution({"squares": squares, "loss": given.values["loss"]}, weight=given.weight)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Keeps both means."""
        return {**state, "drift": np.sqrt(total.mean("squares")), "drift_loss": total.mean("loss")}


@dataclass(frozen=True)
class DriftPoint:
    """One row: local steps, the sites' root mean square distance from the common model, its mean loss.

    diverged   whether training stopped since a change passed the clip: no distance, and its least loss
    """

    local_steps: int
    distance: float
    loss: float
    diverged: bool = False


Sums: TypeAlias = Callable[[Policy, Sequence[str]], Aggregator]


def measure_drift(
    algorithm: Callable[[int], Algorithm],
    sites: Mapping[str, Site],
    local_steps: Sequence[int],
    *,
    rounds: int,
    learning_rate: float,
    known: Arrays | None = None,
    sums: Sums = MaskedAggregator,
) -> list[DriftPoint]:
    """Train once for each number of local steps, from the same start, and measure the drift at the end.

    algorithm      from a number of local steps
    known          vectors that the sites know besides, such as a scaler
    sums           makes the sums under a policy that is planned here, `freeze`
    """
    points = []
    for steps in local_steps:
        trainer = algorithm(steps)
        measure = Drift(trainer)
        policy = plan_policy(
            study="drift",
            sites=len(sites),
            plan=[trainer.question(), measure.question()],
            across_rounds="freeze",
            rounds=rounds + 2,
        )
        turns = [Turn(trainer, number, stops=True) for number in range(1, rounds + 1)]
        with sums(policy, sorted(sites)) as aggregator:
            state = follow(turns, aggregator, sites, {**(known or {}), **trainer.initial(learning_rate)})
            if STOPPED in state:
                points.append(
                    DriftPoint(steps, float("nan"), float(state["losses"].min(initial=np.inf)), True)
                )
                continue
            state = follow(course((measure, 1)), aggregator, sites, state)
        points.append(DriftPoint(steps, float(state["drift"][0]), float(state["drift_loss"][0])))
    return points


def write_drift(points: Sequence[DriftPoint], path: Path) -> None:
    """The points as CSV, a row each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["local_steps", "distance", "loss", "diverged"])
        for point in points:
            writer.writerow([point.local_steps, point.distance, point.loss, int(point.diverged)])


def draw_drift(curves: Mapping[str, Sequence[DriftPoint]], path: Path) -> None:
    """Distance and loss against local steps, a curve for each name; the format is that of `path`'s ending.

    Raises `ConfigError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("a figure needs matplotlib: pip install 'sordino[figures]'") from None
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    distance, loss = figure.subplots(1, 2)
    for name, points in curves.items():
        steps = [point.local_steps for point in points]
        distance.plot(steps, [point.distance for point in points], "o-", label=name)
        loss.plot(steps, [point.loss for point in points], "o-", label=name)
    for axes, what in [(distance, "distance from the common model"), (loss, "mean training loss")]:
        axes.set(xscale="log", xlabel="local steps", ylabel=what)
        axes.grid(alpha=0.3)
    distance.legend()
    figure.savefig(path)
