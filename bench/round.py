# SPDX-License-Identifier: Apache-2.0

"""What does a whole round cost a site, the coordinator, and a simulation of them all?

site          Clip, encode, mask, share, seal, commit, sign and pack 10^6 float32 with 16 neighbours, by all
              cores. Beside it Flower's SecAgg+ client: its functions quantize, make and add the masks, share
              two secrets and encrypt the shares. Both have their pair keys already. By the clock, in turn; in
              processor time too, which is what one core would take.
coordinator   100 sites, of which 0, 10 or 30 are lost before they upload: all that `Coordinator` does from
              the first upload to the sum, one call after the other. Beside it AES-256-CTR in registers
              (bench/ceiling.cpp) for the lanes that must be expanded: a self mask for each survivor, and a
              pair mask for each survivor and lost site. `ratio_sum` leaves out the checks of single messages.
simulation    `MaskedAggregator`: a round of 100 sites in one process. Beside it the ceiling for the lanes of
              all sites' masks and of the coordinator's.

The ceiling is measured in the same run, with as many threads. A ratio is our time over the ceiling's: by the
clock, and in processor time, which other programs on the machine disturb less.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from harness import Clock, Figures, main, print_figures, ratio
from masking import load_ceiling

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.masked import SIMULATION_FLOOR, MaskedAggregator
from sordino.aggregation.vector import FixedPointVector
from sordino.protocol.coordinator import Coordinator, Request
from sordino.protocol.exchange import set_up
from sordino.protocol.journal import MemoryJournal, Reply
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.policy import Block, Policy, Question, plan_policy
from sordino.protocol.site import Site

try:
    from flwr.common.secure_aggregation.crypto.shamir import create_shares
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        factor_combine,
        parameters_addition,
        parameters_mod,
        parameters_multiply,
        parameters_subtraction,
    )
    from flwr.common.secure_aggregation.quantization import quantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
except ImportError:
    quantize = None

LANES = 10**6
NEIGHBOURS = 16
SITES = 100
LOST = (0, 10, 30)
CLIP, FRACTION_BITS, MAX_WEIGHT = 4.0, 16, 1


def policy_of(sites: int, lanes: int) -> Policy:
    block = Block("vector", lanes, CLIP, FRACTION_BITS)
    return plan_policy(
        study="bench",
        sites=sites,
        plan=[Question("sum", (block,), max_weight=MAX_WEIGHT, saturate=True)],
        across_rounds="accept",
        rounds=1_000,
    )


# The ceiling ----------------------------------------------------------------------------------------------


def ceiling_of(blocks: Callable[[int], int]) -> Callable[[int], tuple[float, float]]:
    """Seconds of AES alone for so many 32-bit lanes: by the clock on all cores, and of the processor."""
    threads = _core.default_threads()
    pool = ThreadPoolExecutor(threads)

    def seconds(lanes: int) -> tuple[float, float]:
        clock = Clock()
        with clock:
            list(pool.map(blocks, [lanes // 4 // threads // 32 * 32] * threads))
        return clock.wall, clock.processor

    return seconds


# A site ---------------------------------------------------------------------------------------------------


class Study:
    """Sites and a coordinator in this process, with what the coordinator does on a clock."""

    def __init__(self, sites: int, lanes: int) -> None:
        self.policy = policy_of(sites, lanes)
        names = [f"site{place:03}" for place in range(sites)]
        identities = [Identity.generate(name) for name in names]
        roster = Roster({identity.name: identity.public_key for identity in identities})
        self.sites = {
            identity.name: Site(identity, roster, SIMULATION_FLOOR, MemoryJournal())
            for identity in identities
        }
        self.coordinator = Coordinator(roster, self.policy)
        set_up(self.coordinator, lambda request: Reply(self.sites[request.site].handle(request.data)))
        self.values = np.random.default_rng(1).uniform(-CLIP, CLIP, lanes).astype(np.float32)

    def upload(self, request: Request) -> Reply:
        site = self.sites[request.site]
        task = site.read(request.data, request.body)
        vector = FixedPointVector(task.question, Contribution({"vector": self.values}))
        return site.upload(request.data, request.body, vector)


def measure_site(repeats: int) -> Figures:
    study = Study(1 + NEIGHBOURS, LANES)
    flower = flower_client(study) if quantize is not None else None
    ours, theirs, size = [], [], 0
    for turn in range(1 + repeats):
        study.coordinator.open_round("sum")
        request = study.coordinator.requests()[0]
        mine, other = Clock(), Clock()
        with mine:
            reply = study.upload(request)
        size = len(reply.data) + len(reply.payload)
        with other:
            if flower is not None:
                flower()
        if turn:  # the first warms pages and caches
            ours.append(mine)
            theirs.append(other)
    bits, lanes = study.policy.bits, study.policy.question("sum").lanes
    return {
        "bits": bits,
        "threshold": study.policy.threshold,
        "site_seconds": statistics.median(clock.wall for clock in ours),
        "site_processor_seconds": statistics.median(clock.processor for clock in ours),
        **(flower_figures(ours, theirs) if flower is not None else {"ratio_flower": None}),
        "upload_bytes": size,
        "upload_limit_bytes": bits / 8 * lanes * 1.001 + 64 * 1024,
    }


def flower_figures(ours: list[Clock], theirs: list[Clock]) -> Figures:
    found: Figures = {}
    for suffix, seconds in (("", lambda clock: clock.wall), ("_processor", lambda clock: clock.processor)):
        mine, other = [seconds(clock) for clock in ours], [seconds(clock) for clock in theirs]
        found[f"flower{suffix}_seconds"] = statistics.median(other)
        found[f"ratio_flower{suffix}"] = ratio(other, mine)
    return found


def flower_client(study: Study) -> Callable[[], object]:
    """One client's work in SecAgg+, stages 1 and 2, but for its key agreements; Flower's default ranges."""
    target, modulus, clip = 1 << 22, 1 << 32, 8.0
    pair_seeds = [os.urandom(32) for _ in range(NEIGHBOURS)]
    # Fernet keys, as its key agreement gives them.
    box_keys = [b"A" * 43 + b"=" for _ in range(NEIGHBOURS)]
    secret_key = os.urandom(306)  # its P-384 key as PEM
    number, threshold = 1 + NEIGHBOURS, study.policy.threshold

    def client() -> object:
        seed = os.urandom(32)
        seeds, keys = create_shares(seed, threshold, number), create_shares(secret_key, threshold, number)
        boxes = [
            encrypt(box_key, share_keys_plaintext_concat(0, peer, seeds[peer], keys[peer]))
            for peer, box_key in enumerate(box_keys, 1)
        ]
        parameters = parameters_multiply([study.values], 1.0)
        vector = factor_combine(target, quantize(parameters, clip, target))
        shapes = [part.shape for part in vector]
        vector = parameters_addition(vector, pseudo_rand_gen(seed, modulus, shapes))
        for peer, pair_seed in enumerate(pair_seeds):
            pad = pseudo_rand_gen(pair_seed, modulus, shapes)
            vector = (parameters_addition if peer % 2 else parameters_subtraction)(vector, pad)
        return boxes, [part.tobytes() for part in parameters_mod(vector, modulus)]

    return client


# The coordinator ------------------------------------------------------------------------------------------


def measure_coordinator(study: Study, lost: int, ceiling: Callable[[int], tuple[float, float]]) -> Figures:
    """One round; the sum is compared with that of the plain integers."""
    coordinator, gone = study.coordinator, set(list(study.sites)[:lost])
    checking, summing = Clock(), Clock()
    with checking:
        coordinator.open_round("sum")
    while coordinator.phase != "done":
        with checking:
            requests = coordinator.requests()
        for request in requests:
            if request.site in gone:
                continue
            reply = (
                study.upload(request)
                if coordinator.phase == "upload"
                else Reply(study.sites[request.site].handle(request.data))
            )
            with checking:
                coordinator.receive(request.site, reply.data, reply.payload)
        with summing if coordinator.phase == "unmask" else checking:
            coordinator.proceed()
    result = coordinator.result
    integers = _core.signed(result.lanes, bits=study.policy.bits)[:LANES]
    rounded = np.rint(study.values.astype(np.float64) * 2**FRACTION_BITS).astype(np.int64)
    if len(result.survivors) != SITES - lost or not np.array_equal(integers, rounded * (SITES - lost)):
        raise SystemExit("the sum is wrong")
    expanded = (SITES - lost) * (1 + lost) * LANES
    wall, processor = ceiling(expanded)
    ours = checking.wall + summing.wall
    return {
        "seconds": ours,
        "ceiling_seconds": wall,
        "ratio": ours / wall,
        "ratio_processor": (checking.processor + summing.processor) / processor,
        "checking_seconds": checking.wall,
        "sum_seconds": summing.wall,
        "ratio_sum": summing.wall / wall,
        "ratio_sum_processor": summing.processor / processor,
    }


def median_of(rows: list[Figures]) -> Figures:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


# The simulation -------------------------------------------------------------------------------------------


def measure_simulation(repeats: int, ceiling: Callable[[int], tuple[float, float]]) -> Figures:
    policy = policy_of(SITES, LANES)
    names = [f"site{place:03}" for place in range(SITES)]
    values = np.random.default_rng(1).uniform(-CLIP, CLIP, LANES).astype(np.float32)
    given = {name: lambda _: Contribution({"vector": values}) for name in names}
    rows = []
    with MaskedAggregator(policy, names) as aggregator:
        for _ in range(repeats):
            clock = Clock()
            with clock:
                aggregator.aggregate("sum", b"", given)
            wall, processor = ceiling((SITES * SITES + SITES) * LANES)
            rows.append(
                {
                    "seconds": clock.wall,
                    "ceiling_seconds": wall,
                    "ratio": clock.wall / wall,
                    "processor_seconds": clock.processor,
                    "ratio_processor": clock.processor / processor,
                }
            )
    return median_of(rows)


# Together -------------------------------------------------------------------------------------------------


def measure(repeats: int) -> Figures:
    with tempfile.TemporaryDirectory() as directory:
        blocks = load_ceiling(directory)
        if blocks is None:
            raise SystemExit("this CPU has no AES instructions for a ceiling")
        ceiling = ceiling_of(blocks)
        ceiling(10**8)
        wall, processor = ceiling(10**9)
        found: Figures = {
            "threads": _core.default_threads(),
            "ceiling_gelem_s": 1 / wall,
            "ceiling_gelem_s_one_thread": 1 / processor,
        }
        found |= measure_site(10 * repeats)
        study = Study(SITES, LANES)
        found["coordinator"] = {
            f"{100 * lost // SITES}%": median_of(
                [measure_coordinator(study, lost, ceiling) for _ in range(repeats)]
            )
            for lost in LOST
        }
        del study
        found["simulation"] = measure_simulation(repeats, ceiling)
    return found


def tell(found: Figures) -> None:
    print(f"{_core.backend()}, {found['threads']} threads, {LANES:,} lanes of {found['bits']} bits, medians")
    print_figures("a site", {name: value for name, value in found.items() if not isinstance(value, dict)})
    for lost, rows in found["coordinator"].items():
        print_figures(f"the coordinator, {lost} of {SITES} sites lost", rows)
    print_figures(f"a round of {SITES} sites in one process", found["simulation"])


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(3, "of 100 sites; ten times as many of one"))
