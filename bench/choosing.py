# SPDX-License-Identifier: Apache-2.0

"""What does each way of making a sum cost: plain, masked (semi-honest, malicious), and CKKS?

Six sites, one vector of float32, a whole round in one process: every site's work and the coordinator's.
Seconds by the clock and of the processor, the least of several rounds, the ways taken in turn; bytes that a
site sends and receives, the model that the question carries left out; exchanges of messages that a round
takes. Then a round in which one site is lost before its upload and one after it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import Clock, Figures, main

from sordino.aggregation.base import Aggregator, Contribution
from sordino.aggregation.ckks.aggregator import CkksAggregator
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator
from sordino.protocol.policy import Block, Policy, Question, plan_policy

LENGTH = 10**6
SITES = ("alder", "birch", "cedar", "elm", "hazel", "oak")
LOST = {"cedar": "upload", "oak": "unmask"}
EXCHANGES = {"plain": 1, "masked, semi-honest": 2, "masked, malicious": 3, "ckks": 2}


def policy_of(*, consistency: bool) -> Policy:
    return plan_policy(
        study="choosing",
        sites=len(SITES),
        plan=[Question("sum", (Block("vector", LENGTH, 4.0, 16),), max_weight=100)],
        across_rounds="accept",
        rounds=1_000,
        colluders=1,
        consistency=consistency,
    )


def ways() -> dict[str, Aggregator]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = PlainAggregator(policy_of(consistency=True), SITES)
    return {
        "plain": plain,
        "masked, semi-honest": MaskedAggregator(policy_of(consistency=False), SITES),
        "masked, malicious": MaskedAggregator(policy_of(consistency=True), SITES),
        "ckks": CkksAggregator(policy_of(consistency=True), SITES),
    }


def measure(repeats: int) -> Figures:
    generator = np.random.default_rng(1)
    values = {name: generator.normal(size=LENGTH).clip(-4, 4).astype(np.float32) for name in SITES}

    def given(name: str) -> Callable[[bytes], Contribution]:
        return lambda _: Contribution({"vector": values[name]}, weight=10)

    contributors = {name: given(name) for name in SITES}
    found: Figures = {
        name: {"seconds": float("inf"), "processor": float("inf"), "seconds_with_losses": float("inf")}
        for name in EXCHANGES
    }
    sums: dict[str, Any] = {}
    aggregators = ways()
    for _ in range(repeats):
        for name, aggregator in aggregators.items():
            row = found[name]
            whole, lossy = Clock(), Clock()
            with whole:
                total = aggregator.aggregate("sum", b"", contributors)
            sums[name] = total.integers
            row["sent"] = max(traffic.sent for traffic in total.traffic.values())
            row["received"] = max(traffic.received for traffic in total.traffic.values())
            with lossy:
                aggregator.aggregate("sum", b"", contributors, lose=LOST)
            row["seconds"] = min(row["seconds"], whole.wall)
            row["processor"] = min(row["processor"], whole.processor)
            row["seconds_with_losses"] = min(row["seconds_with_losses"], lossy.wall)
    for name, aggregator in aggregators.items():
        aggregator.close()
        if not np.array_equal(sums[name], sums["plain"]):
            raise SystemExit(f"{name} has another sum than plain")
        found[name]["exchanges"] = EXCHANGES[name]
    return {"length": LENGTH, "sites": len(SITES), "ways": found}


def tell(found: Figures) -> None:
    print(f"{found['sites']} sites x {found['length']:,} float32, a round of all sites together; equal sums")
    heads = {
        "seconds": 9,
        "processor": 11,
        "with losses": 13,
        "sent, MB": 10,
        "received": 10,
        "exchanges": 11,
    }
    print(" " * 22 + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for name, row in found["ways"].items():
        print(
            f"{name:22}{row['seconds']:9.3f}{row['processor']:11.3f}{row['seconds_with_losses']:13.3f}"
            f"{row['sent'] / 1e6:10.3f}{row['received'] / 1e6:10.4f}{row['exchanges']:11}"
        )


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(5, "turns"))
