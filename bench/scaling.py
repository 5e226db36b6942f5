# SPDX-License-Identifier: Apache-2.0

"""How does the cost grow? With lanes, with sites on the complete and on the sparse graph, and with threads.

lanes     a site's vector: clip and encode float32, mask with 16 neighbours, pack; one thread, chunk by chunk,
          since no chunk knows of the others. Beside it NumPy's `a += b` over the same lanes, and up to 10^7
          the same work with NumPy and OpenSSL's keystream.
sites     a study of 1,000 lanes in one process, all sites and the coordinator: the session's set-up, then one
          round without losses. Each size in a process of its own. The two graphs are each other's peer.
study     many sites with long vectors on the sparse graph: of the tenth that may be missing, half drop out
          before they upload and half vanish after it, so that the others rebuild their secrets. The sum is
          compared with that of the survivors' plain integers.
threads   masking 10^7 lanes with 16 neighbours.

Seconds are processor time but for the threads, which are by the clock; medians where a run is short. The
exponent of a cost is the slope of its logarithm over that of lanes or sites, by least squares over the larger
half of the sizes. A plot goes to build/scaling.svg where matplotlib is installed. The default takes some
minutes; --full goes to 10^9 lanes and 1,000 sites.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from harness import Figures, main

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import MaskedAggregator
from sordino.protocol.policy import Block, Question, plan_policy

try:
    from matplotlib.figure import Figure
except ImportError:
    Figure = None

NEIGHBOURS = 16
CHUNK = 10**7  # lanes at once; the largest vectors do not fit in memory twice
CLIP, FRACTION_BITS, BITS = 4.0, 16, 32
SITES_LANES = 1_000
PEER_LANES = 10**7
PICTURE = Path(__file__).parents[1] / "build" / "scaling.svg"


# Lanes ----------------------------------------------------------------------------------------------------


def vector_cost(lanes: int) -> Figures:
    """Seconds for one vector of so many lanes, ours and the peers'."""
    size = min(lanes, CHUNK)
    values = np.random.default_rng(1).normal(size=size).astype(np.float32)
    encoded, pad = np.empty(size, np.uint32), np.empty(size, np.uint32)
    seeds = [os.urandom(32) for _ in range(1 + NEIGHBOURS)]
    add, subtract = b"".join(seeds[: 1 + NEIGHBOURS // 2]), b"".join(seeds[1 + NEIGHBOURS // 2 :])
    chunks = [(first, min(size, lanes - first)) for first in range(0, lanes, size)]

    def ours() -> None:
        for first, count in chunks:
            here = encoded[:count]
            _core.encode(values[:count], here, clip=CLIP, scale=2.0**FRACTION_BITS, weight=1, saturate=True)
            _core.add_masks(here, add, subtract, offset=first, threads=1)
            _core.pack(here, bits=BITS)

    def numpy_openssl() -> None:
        for _, count in chunks:
            here, stream = encoded[:count], pad[:count]
            clipped = np.clip(values[:count], -CLIP, CLIP) * np.float64(2.0**FRACTION_BITS)
            here[:] = np.rint(clipped).astype(np.int64).astype(np.uint32)
            zeros = bytes(here.nbytes)
            for place, seed in enumerate(seeds):
                cipher = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
                cipher.update_into(zeros, memoryview(stream).cast("B"))
                (np.add if place <= NEIGHBOURS // 2 else np.subtract)(here, stream, out=here)
            here.tobytes()

    def bandwidth() -> None:
        for _, count in chunks:
            np.add(encoded[:count], pad[:count], out=encoded[:count])

    runs = {"ours": ours, "a += b": bandwidth}
    if lanes <= PEER_LANES:
        runs["numpy_openssl"] = numpy_openssl
    return {"lanes": lanes} | seconds_of(runs)


def seconds_of(
    runs: dict[str, Callable[[], None]],
    clock: Callable[[], float] = thread_time,
    choose: Callable[[list[float]], float] = statistics.median,
) -> Figures:
    """Seconds of each, in turn, over as many turns as fit in some seconds; one where a turn takes long."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    started = perf_counter()
    for run in runs.values():
        run()  # pages and clocks warm; for the longest this is the first of the turns
    once = perf_counter() - started
    turns = 1 if once > 20 else max(3, min(50, int(4 / once)))
    for _ in range(turns):
        for name, run in runs.items():
            start = clock()
            run()
            taken[name].append(clock() - start)
    return {name: choose(values) for name, values in taken.items()}


# Sites ----------------------------------------------------------------------------------------------------


def study_cost(graph: str, sites: int, lanes: int, lossy: bool) -> Figures | None:
    """Processor seconds of set-up and of a round; None where there is no such graph."""
    if graph == "sparse" and sites < 30:
        return None
    names = [f"site{place:04}" for place in range(sites)]
    policy = plan_policy(
        study="scaling",
        sites=sites,
        plan=[Question("sum", (Block("vector", lanes, CLIP, FRACTION_BITS),))],
        across_rounds="accept",
        consistency=False,
        graph=graph,
        max_dropouts=sites // 10,
    )
    generator = np.random.default_rng(2)
    bound = int(CLIP * 2**FRACTION_BITS)
    plain = {name: generator.integers(-bound, bound, lanes, endpoint=True) for name in names}
    lost = [names[place] for place in generator.permutation(sites)[: sites // 10]] if lossy else []
    lose = {name: "upload" if place % 2 else "unmask" for place, name in enumerate(lost)}

    def contributor(name: str) -> Callable[[bytes], Contribution]:
        return lambda _: Contribution({"vector": plain[name] / 2**FRACTION_BITS}, 1)

    started, clock = process_time(), perf_counter()
    with MaskedAggregator(policy, names) as aggregator:
        ready, ready_clock = process_time(), perf_counter()
        result = aggregator.aggregate("sum", b"", {name: contributor(name) for name in names}, lose=lose)
        done, done_clock = process_time(), perf_counter()
    if not np.array_equal(result.integers[:lanes], sum(plain[name] for name in result.survivors)):
        raise SystemExit(f"the sum over {sites} sites is wrong")
    if (len(result.dropped), len(result.vanished)) != (len(lost) // 2, len(lost) - len(lost) // 2):
        raise SystemExit("other sites were lost than those that should have been")
    return {
        "graph": graph,
        "sites": sites,
        "lanes": lanes,
        "neighbours": policy.neighbours or sites - 1,
        "threshold": policy.threshold,
        "colluders": policy.colluders,
        "max_dropouts": policy.max_dropouts,
        "dropped": len(result.dropped),
        "vanished": len(result.vanished),
        "set_up_s": ready - started,
        "round_s": done - ready,
        "set_up_wall_s": ready_clock - clock,
        "round_wall_s": done_clock - ready_clock,
        "sent_bytes_a_site": max(traffic.sent for traffic in result.traffic.values()),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_its_own_process(*arguments: Any) -> Figures | None:
    """`study_cost`, so that peak memory is that of one study."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(study_cost, *arguments).result()


# Threads --------------------------------------------------------------------------------------------------


def thread_costs(counts: Sequence[int]) -> list[Figures]:
    """The fewest seconds by the clock to mask 10^7 lanes with 16 neighbours: others hold cores at times."""
    lanes, seeds = np.zeros(10**7, np.uint32), os.urandom(32 * NEIGHBOURS)

    def masking(threads: int) -> Callable[[], None]:
        return lambda: _core.add_masks(lanes, seeds, b"", threads=threads)

    found = seconds_of({str(count): masking(count) for count in counts}, perf_counter, min)
    return [{"threads": count, "ours": found[str(count)]} for count in counts]


# Telling --------------------------------------------------------------------------------------------------


def exponent(rows: Sequence[Figures], over: str, cost: str) -> float | None:
    """The slope of log cost over log size, from the larger half of the sizes."""
    larger = [row for row in rows if cost in row][len(rows) // 2 - 1 :]
    if len(larger) < 2:
        return None
    x, y = ([math.log(row[name]) for row in larger] for name in (over, cost))
    return float(np.polyfit(x, y, 1)[0])


def plot(results: Figures, path: Path) -> None:
    """Three panels, logarithmic."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name in ("ours", "numpy_openssl", "a += b"):
        rows = [row for row in results["lanes"] if name in row]
        left.loglog([row["lanes"] for row in rows], [row[name] for row in rows], "o-", label=name)
    left.set(title=f"one vector, {NEIGHBOURS} neighbours, one thread", xlabel="lanes", ylabel="seconds")
    for graph in ("complete", "sparse"):
        rows = [row for row in results["sites"] if row["graph"] == graph]
        for cost, style in (("set_up_s", "o--"), ("round_s", "o-")):
            label = f"{graph}, {cost.removesuffix('_s').replace('_', '-')}"
            middle.loglog([row["sites"] for row in rows], [row[cost] for row in rows], style, label=label)
    middle.set(title=f"all sites together, {SITES_LANES:,} lanes", xlabel="sites", ylabel="processor seconds")
    rows = results["threads"]
    counts = [row["threads"] for row in rows]
    right.plot(counts, [rows[0]["ours"] / row["ours"] for row in rows], "o-")
    right.set(title="masking 10^7 lanes", xlabel="threads", ylabel="times one thread", xticks=counts)
    right.set_ylim(bottom=0)
    for panel in (left, middle):
        panel.legend()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value or "")


def table(title: str, rows: Sequence[Figures], columns: Sequence[str]) -> None:
    print(f"\n{title}")
    lines = [columns, *([cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  " + "  ".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)))


def measure(full: bool) -> Figures:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    exponents = range(4, 10 if full else 9)
    sizes = {"complete": (3, 10, 30, 100), "sparse": (30, 100, 200)}
    study = (200, 10_000)
    if full:
        sizes = {"complete": (3, 10, 30, 100, 300), "sparse": (30, 100, 300, 1000)}
        study = (1000, 100_000)
    sites = [
        row
        for graph, counts in sizes.items()
        for count in counts
        if (row := in_its_own_process(graph, count, SITES_LANES, False)) is not None
    ]
    # Studies first: a child's peak memory counts from what this process has held before.
    study_found = in_its_own_process("sparse", *study, True)
    lanes = [vector_cost(10**power) for power in exponents]
    results: Figures = {
        "cores": cores,
        "lanes": lanes,
        "sites": sites,
        "study": study_found,
        "threads": thread_costs([1 << power for power in range(cores.bit_length())] + [2 * cores]),
        "exponents": {"lanes": exponent(lanes, "lanes", "ours")}
        | {
            f"{graph}_{cost.removesuffix('_s')}": exponent(
                [row for row in sites if row["graph"] == graph], "sites", cost
            )
            for graph in sizes
            for cost in ("set_up_s", "round_s", "sent_bytes_a_site")
        },
    }
    if Figure is not None:
        plot(results, PICTURE)
    return results


def tell(results: Figures) -> None:
    print(f"{_core.backend()}, {results['cores']} cores")
    table(
        "one vector, seconds of one thread",
        [
            row
            | {"ns a lane": 1e9 * row["ours"] / row["lanes"]}
            | ({"times as fast": row["numpy_openssl"] / row["ours"]} if "numpy_openssl" in row else {})
            for row in results["lanes"]
        ],
        ("lanes", "ours", "ns a lane", "a += b", "numpy_openssl", "times as fast"),
    )
    columns = (
        "graph",
        "sites",
        "neighbours",
        "threshold",
        "set_up_s",
        "round_s",
        "sent_bytes_a_site",
        "peak_mb",
    )
    table(f"all sites together, {SITES_LANES:,} lanes, processor seconds", results["sites"], columns)
    found = results["study"]
    print(
        f"\n{found['sites']:,} sites x {found['lanes']:,} lanes on the sparse graph, {found['neighbours']} "
        f"neighbours, t = {found['threshold']}\n  {found['colluders']} may collude "
        f"({found['colluders'] / found['sites']:.0%}), {found['max_dropouts']} be missing "
        f"({found['max_dropouts'] / found['sites']:.0%}); {found['dropped']} dropped out, "
        f"{found['vanished']} vanished and were rebuilt; the sum is exact\n"
        f"  processor seconds (by the clock): set-up {found['set_up_s']:.0f} ({found['set_up_wall_s']:.0f}), "
        f"round {found['round_s']:.0f} ({found['round_wall_s']:.0f}); "
        f"{found['sent_bytes_a_site']:,} bytes sent by a site, peak memory {found['peak_mb']:,.0f} MB"
    )
    table("masking 10^7 lanes, seconds by the clock", results["threads"], ("threads", "ours"))
    print("\nexponents, over the larger half of the sizes")
    for name, value in results["exponents"].items():
        print(f"  {name:32}" + ("too few sizes" if value is None else f"{value:6.2f}"))
    print(f"\nplot: {PICTURE}" if Figure is not None else "\nplot: none, as matplotlib is not installed")


if __name__ == "__main__":
    main(__doc__, measure, tell, full=(False, "10^9 lanes and 1,000 sites; half an hour"))
