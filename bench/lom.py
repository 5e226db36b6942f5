# SPDX-License-Identifier: Apache-2.0

"""What does a secure sum cost a parameter in Fed-BioMed's two ways, beside ours?

lom           `SecaggLomCrypter`: quantise, weigh, and add a ChaCha20 mask for every other node; then the
              researcher's sum and mean of all nodes' lists. No self mask, so nobody may be lost.
joye_libert   `SecaggCrypter`: the same under Joye and Libert's scheme with a modulus of 1,024 bits; a
              node's encryption only, over fewer values, since each takes long.
masked        our site's upload (encode, self mask and a mask for every other site, pack, hash), and the
              coordinator's sum of all of them, self masks taken off.

Six sites, one vector, each at its defaults: theirs are 2^13 steps between -3 and 3, ours 2^-16 up to 4.
Processor time, the least of several turns that take them in order. Key agreement is left out on both sides.

Fed-BioMed needs so much that it lies apart (.venv-bench/fedbiomed), without what it needs. PyTorch, which its
helpers import for what is not measured here, is an empty module in this process.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from types import ModuleType
from typing import Any

import numpy as np
from ckks import masked
from harness import Figures, in_turn, main

from sordino.protocol.policy import Block, Question, plan_policy

NAMES = ("alder", "birch", "cedar", "elm", "hazel", "oak")
LENGTH, FEW = 10**5, 2_000
WEIGHT, ROUND = 100, 1
STEP = 2 * 3 / 2**13  # theirs

APART = Path(sys.prefix) / "fedbiomed"
sys.path.append(str(APART))
site.USER_BASE = str(APART)  # its data lie there too
_torch = ModuleType("torch")
_torch.Tensor = _torch.tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
sys.modules.setdefault("torch", _torch)
try:
    from Crypto.Util.number import getPrime
    from fedbiomed.common.secagg import SecaggCrypter, SecaggLomCrypter
except ImportError:
    SecaggLomCrypter = None

Steps = dict[str, Callable[[], Any]]


def lom(vectors: dict[str, list[float]]) -> Steps:
    pairs = {frozenset((one, other)): os.urandom(32) for one in NAMES for other in NAMES if one != other}
    crypter = SecaggLomCrypter(nonce="secagg_bench")

    def encrypt(name: str) -> list[int]:
        return crypter.encrypt(
            current_round=ROUND,
            node_id=name,
            params=vectors[name],
            pairwise_secrets={other: pairs[frozenset((name, other))] for other in NAMES if other != name},
            node_ids=list(NAMES),
            weight=WEIGHT,
        )

    uploads = [encrypt(name) for name in NAMES]

    def aggregate() -> list[float]:
        return crypter.aggregate(params=uploads, total_sample_size=WEIGHT * len(NAMES))

    mean = np.mean([vectors[name] for name in NAMES], axis=0)
    if np.abs(np.array(aggregate()) - mean).max() > 2 * STEP:
        raise SystemExit("Fed-BioMed's mean is wrong")
    return {"upload": lambda: encrypt(NAMES[0]), "sum": aggregate}


def joye_libert(values: list[float]) -> Steps:
    biprime, key = (
        getPrime(512) * getPrime(512),
        int.from_bytes(os.urandom(255), "big"),
    )  # as many bits as its own

    def encrypt() -> list[int]:
        return SecaggCrypter().encrypt(
            num_nodes=len(NAMES), current_round=ROUND, params=values, key=key, biprime=biprime, weight=WEIGHT
        )

    return {"upload": encrypt}


def ours(values: np.ndarray) -> tuple[Steps, Callable[[], int]]:
    block = Block("vector", len(values), 4.0, 16)
    policy = plan_policy(
        study="bench",
        sites=len(NAMES),
        plan=[Question("sum", (block,), max_weight=WEIGHT)],
        across_rounds="accept",
        rounds=1_000,
    )
    steps, size = masked(values, policy)

    def all_of_them() -> None:
        for _ in NAMES:
            steps["add"]()

    return {"upload": steps["upload"], "sum": all_of_them}, size


def measure(repeats: int) -> Figures:
    random = np.random.default_rng(1)
    vectors = {name: random.normal(size=LENGTH).clip(-2.9, 2.9) for name in NAMES}
    steps, size = ours(vectors[NAMES[0]].astype(np.float32))
    ways = {"masked": (LENGTH, steps)}
    if SecaggLomCrypter is not None:
        ways["lom"] = LENGTH, lom({name: vector.tolist() for name, vector in vectors.items()})
        ways["joye_libert"] = FEW, joye_libert(vectors[NAMES[0]][:FEW].tolist())
    runs = {(name, step): run for name, (_, way) in ways.items() for step, run in way.items()}
    seconds = in_turn(runs, repeats, clock=process_time)
    found: Figures = {
        name: {step: min(seconds[name, step]) / count * 1e9 for step in way}
        for name, (count, way) in ways.items()
    }

    def times(way: str, step: str) -> float | None:
        return found[way][step] / found["masked"][step] if way in found else None

    return {
        "length": LENGTH,
        "few": FEW,
        "sites": len(NAMES),
        "nanoseconds_a_parameter": found,
        "bytes_a_parameter": size() / LENGTH,
        "ratio_lom_upload": times("lom", "upload"),
        "ratio_lom_sum": times("lom", "sum"),
        "ratio_joye_libert_upload": times("joye_libert", "upload"),
    }


def tell(found: Figures) -> None:
    print(
        f"{found['sites']} sites x {found['length']:,} values, Joye-Libert's {found['few']:,}; ns a parameter"
    )
    for name, row in found["nanoseconds_a_parameter"].items():
        print(f"  {name:14}" + "".join(f"{key:>10} {value:12,.1f}" for key, value in row.items()))
    if found["ratio_lom_upload"] is None:
        print("  Fed-BioMed is not here: it needs Python 3.10 or 3.11")


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(5, "turns"))
