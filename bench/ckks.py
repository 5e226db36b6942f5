# SPDX-License-Identifier: Apache-2.0

"""What do sums under CKKS cost a parameter, beside NVFlare's parameters for them and beside masks?

ckks      `CkksAggregator`'s own steps: encode, split into limbs and encrypt an upload; add it; open the sum.
nvflare   the same steps by TenSEAL with the defaults of NVFlare's HEBuilder (degree 8192, primes of 60, 40
          and 40 bits, scale 2^40, a public key), as its filters take them: one vector, serialised.
masked    a site's upload (encode, mask for every other site, pack, hash) and the coordinator's sum.

All for one vector of float32 and one site of several; the sum's cost is given by upload. Processor time, the
least of several turns that take them in order. What masks need besides, keys and shares, is a constant that
bench/round.py has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
import tenseal
from harness import Figures, in_turn, main

from sordino import _core
from sordino.aggregation.base import Contribution
from sordino.aggregation.ckks.ciphertext import Total, decrypt, encrypt
from sordino.aggregation.ckks.limbs import join, split
from sordino.aggregation.ckks.member import new_context
from sordino.aggregation.ckks.parameters import choose_parameters
from sordino.aggregation.lanes import encode_contribution
from sordino.aggregation.vector import FixedPointVector
from sordino.protocol.policy import Block, Question, plan_policy

LENGTH = 10**6
SITES = 6
NVFLARE = {"poly_modulus_degree": 8192, "coeff_mod_bit_sizes": [60, 40, 40]}
STEPS = ("upload", "add", "open")


def ckks(values: np.ndarray, policy: Any) -> tuple[dict[str, Callable[[], Any]], Callable[[], int]]:
    question, parameters = policy.question("sum"), choose_parameters(policy)
    context = new_context(parameters)
    public = tenseal.context_from(
        context.serialize(
            save_public_key=False, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
        )
    )
    held: dict[str, Any] = {"total": Total(public, question.lanes * parameters.limbs)}

    def upload() -> None:
        lanes = encode_contribution(question, Contribution({"vector": values}), bits=policy.bits)
        held["upload"] = encrypt(context, split(lanes, parameters))

    def add() -> None:
        held["total"].add(held["upload"])

    def open_() -> None:
        join(decrypt(context, held["total"].serialise()), parameters, sites=10**6, bits=policy.bits)

    return {"upload": upload, "add": add, "open": open_}, lambda: len(held["upload"])


def nvflare(values: np.ndarray) -> tuple[dict[str, Callable[[], Any]], Callable[[], int]]:
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, **NVFLARE)
    context.global_scale = 2.0**40
    public = tenseal.context_from(context.serialize(save_secret_key=False))
    held: dict[str, Any] = {}

    def upload() -> None:
        held["upload"] = tenseal.ckks_vector(context, values).serialize()

    def add() -> None:
        vector = tenseal.ckks_vector_from(public, held["upload"])
        held["total"] = vector if "total" not in held else held["total"].add_(vector)

    def open_() -> None:
        np.array(tenseal.ckks_vector_from(context, held["total"].serialize()).decrypt())

    return {"upload": upload, "add": add, "open": open_}, lambda: len(held["upload"])


def masked(values: np.ndarray, policy: Any) -> tuple[dict[str, Callable[[], Any]], Callable[[], int]]:
    question, bits = policy.question("sum"), policy.bits
    lanes = question.lanes
    held: dict[str, Any] = {"total": np.zeros(lanes, np.uint32 if bits <= 32 else np.uint64)}

    def upload() -> None:
        vector = FixedPointVector(question, Contribution({"vector": values}))
        payload = vector.write(bytearray(os.urandom(32 * 3)), bytearray(os.urandom(32 * 3)), bits=bits)
        payload.digest()
        held["upload"] = payload.data

    def add() -> None:
        uploads, seeds = [held["upload"]], bytearray(os.urandom(32))
        _core.sum_uploads(uploads, held["total"], bits=bits, add=bytearray(), subtract=seeds)

    return {"upload": upload, "add": add, "open": lambda: None}, lambda: len(held["upload"])


def measure(repeats: int) -> Figures:
    values = np.random.default_rng(1).normal(size=LENGTH).clip(-4, 4).astype(np.float32)
    block = Block("vector", LENGTH, 4.0, 16)
    policy = plan_policy(
        study="bench",
        sites=SITES,
        plan=[Question("sum", (block,), max_weight=100)],
        across_rounds="accept",
        rounds=1_000,
    )
    ways = {"ckks": ckks(values, policy), "nvflare": nvflare(values), "masked": masked(values, policy)}
    runs = {(name, step): ways[name][0][step] for step in STEPS for name in ways}
    seconds = in_turn(runs, repeats, clock=process_time)
    found: Figures = {
        name: {step: min(seconds[name, step]) / LENGTH * 1e9 for step in STEPS} for name in ways
    }
    for name, (_steps, size) in ways.items():
        found[name]["bytes"] = size() / LENGTH
    return {
        "length": LENGTH,
        "lane_bits": policy.bits,
        "parameters": choose_parameters(policy).statement(),
        "nanoseconds_and_bytes_a_parameter": found,
        "ckks_over_nvflare": {key: found["ckks"][key] / found["nvflare"][key] for key in (*STEPS, "bytes")},
    }


def tell(found: Figures) -> None:
    print(f"{found['length']:,} float32, lanes of {found['lane_bits']} bits; {found['parameters']}")
    print(f"{'a parameter':12}" + "".join(f"{step + ', ns':>14}" for step in STEPS) + f"{'bytes':>12}")
    for name, row in found["nanoseconds_and_bytes_a_parameter"].items():
        print(f"{name:12}" + "".join(f"{row[step]:14.2f}" for step in STEPS) + f"{row['bytes']:12.2f}")
    ratios = found["ckks_over_nvflare"]
    print(f"{'ckks/nvflare':12}" + "".join(f"{ratios[step]:14.2f}" for step in (*STEPS, "bytes")))


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(5, "turns"))
