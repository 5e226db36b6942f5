# SPDX-License-Identifier: Apache-2.0

"""How fast are values encoded and packed, rows clipped and summed, and uploads added? One thread.

Beside ours, in the same run and in turn: `a += b` on arrays of as many values of the same type (the ceiling,
by NumPy) and NumPy doing the same work: check, scale, round, weigh, and pack by shifts, with its temporaries.

What is counted, in bytes: `a += b` reads two arrays and writes one. Ours reads the values twice, once to
refuse a bad one before anything is written and once to encode them, and writes the packed lanes:
`ratio_ceiling` is of the bytes so moved. `ratio_ceiling_once` counts the values once, as if the check were
free.

Time is the thread's processor time. A figure is the median of the runs; a ratio is the median of the ratios
of neighbouring runs, so that a clock which slows down slows both.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import numpy as np
from harness import Figures, in_turn, main, print_figures, ratio

from sordino import _core

SIZES = (10**6, 10**7)
BITS = (32, 27)
CLIP, SCALE, WEIGHT = 1.0, 700_000.3, 50
BOUND, ROW_SCALE = 1.0, 2.0**20
ROWS = {1_000: 2_000, 100_000: 50}  # columns -> rows


def numpy_encode_pack(values: np.ndarray, bits: int) -> np.ndarray:
    """The same bytes by NumPy alone: eight lanes make `bits` bytes, so each has its own place."""
    if not (np.abs(values) <= CLIP).all():
        raise ValueError("outside the clip")
    integers = np.rint(np.multiply(values, SCALE, dtype=np.float64)).astype(np.int64) * WEIGHT
    lanes = integers.astype(np.uint64) & np.uint64(2**bits - 1)
    if bits == 32:
        return lanes.astype("<u4").view(np.uint8)
    lanes = np.append(lanes, np.zeros(-len(lanes) % 8, np.uint64)).reshape(-1, 8)
    packed = np.zeros((len(lanes), bits), np.uint8)
    for k in range(8):
        byte, shift = divmod(k * bits, 8)
        placed = lanes[:, k] << np.uint64(shift)
        for j in range((shift + bits + 7) // 8):
            packed[:, byte + j] |= (placed >> np.uint64(8 * j)).astype(np.uint8)
    return packed.reshape(-1)[: _core.packed_size(len(values), bits)]


def numpy_clip_accumulate(rows: np.ndarray, lanes: np.ndarray) -> None:
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    factors = np.minimum(1.0, BOUND / norms)
    integers = np.rint(rows * (factors * ROW_SCALE)[:, None]).astype(np.int64)
    if (np.einsum("ij,ij->i", integers, integers) > limit_of(rows.shape[1])).any():
        raise ValueError("beyond the limit")
    lanes += integers.sum(axis=0).astype(lanes.dtype)


def limit_of(columns: int) -> int:
    return int((BOUND * ROW_SCALE + np.sqrt(columns)) ** 2)


def measure_encode_pack(count: int, real: Any, bits: int, repeats: int) -> Figures:
    values = np.random.default_rng(count).uniform(-1, 1, count).astype(real)
    out = np.zeros(_core.packed_size(count, bits), np.uint8)
    one, other = np.ones(count, real), np.ones(count, real)

    def ours() -> None:
        _core.encode_pack(
            values, out, bits=bits, clip=CLIP, scale=SCALE, weight=WEIGHT, saturate=False, threads=1
        )

    ours()
    if not np.array_equal(out, numpy_encode_pack(values, bits)):
        raise SystemExit("NumPy makes other bytes")
    seconds = in_turn({"ours": ours, "ceiling": lambda: np.add(one, other, out=one)}, 10 * repeats)
    slow = in_turn({"ours": ours, "numpy": lambda: numpy_encode_pack(values, bits)}, repeats)
    once = values.nbytes + out.nbytes
    moved, ceiling = once + values.nbytes, 3 * one.nbytes
    times = ratio(seconds["ceiling"], seconds["ours"])
    return {
        "ours_gb_s": moved / statistics.median(seconds["ours"]) / 1e9,
        "ceiling_gb_s": ceiling / statistics.median(seconds["ceiling"]) / 1e9,
        "ratio_ceiling": times * moved / ceiling,
        "ratio_ceiling_once": times * once / ceiling,
        "ratio_numpy": ratio(slow["numpy"], slow["ours"]),
    }


def measure_clip(columns: int, rows: int, real: Any, repeats: int) -> Figures:
    matrix = np.random.default_rng(columns).normal(0, 1.2 / np.sqrt(columns), (rows, columns)).astype(real)
    lanes, plain = np.zeros(columns, np.uint32), np.zeros(columns, np.uint32)
    arguments: dict[str, Any] = {"bound": BOUND, "scale": ROW_SCALE, "limit": limit_of(columns), "threads": 1}
    _core.clip_accumulate(matrix, lanes, **arguments)
    numpy_clip_accumulate(matrix, plain)
    # NumPy rounds the product of two factors once less, so single units may differ.
    if np.abs((lanes - plain).view(np.int32)).max() > rows / 100 + 2:
        raise SystemExit("NumPy makes other sums")
    seed = os.urandom(32)
    seconds = in_turn(
        {
            "nearest": lambda: _core.clip_accumulate(matrix, lanes, **arguments),
            "stochastic": lambda: _core.clip_accumulate(matrix, lanes, rounding_seed=seed, **arguments),
            "numpy": lambda: numpy_clip_accumulate(matrix, plain),
        },
        repeats,
    )
    return {
        "nearest_gelem_s": matrix.size / statistics.median(seconds["nearest"]) / 1e9,
        "stochastic_gelem_s": matrix.size / statistics.median(seconds["stochastic"]) / 1e9,
        "ratio_numpy": ratio(seconds["numpy"], seconds["nearest"]),
        "ratio_numpy_stochastic": ratio(seconds["numpy"], seconds["stochastic"]),
    }


def measure_unpack(count: int, bits: int, repeats: int) -> Figures:
    lanes = np.random.default_rng(count).integers(0, 2**bits, count, np.uint32)
    data = _core.pack(lanes, bits=bits)
    one, other = np.ones(count, np.uint32), np.ones(count, np.uint32)
    seconds = in_turn(
        {
            "ours": lambda: _core.unpack_add(data, lanes, bits=bits),
            "ceiling": lambda: np.add(one, other, out=one),
        },
        10 * repeats,
    )
    moved = len(data) + 2 * lanes.nbytes
    return {
        "ours_gb_s": moved / statistics.median(seconds["ours"]) / 1e9,
        "ratio_ceiling": ratio(seconds["ceiling"], seconds["ours"]) * moved / (3 * lanes.nbytes),
    }


def measure(repeats: int) -> Figures:
    found: Figures = {"repeats": repeats}
    for count in SIZES:
        for real in (np.float32, np.float64):
            for bits in BITS:
                name = f"encode_pack {real.__name__} {count} {bits}"
                found[name] = measure_encode_pack(count, real, bits, repeats)
    for columns, rows in ROWS.items():
        name = f"clip_accumulate float32 {rows}x{columns}"
        found[name] = measure_clip(columns, rows, np.float32, repeats)
    for count in SIZES:
        for bits in BITS:
            found[f"unpack_add {count} {bits}"] = measure_unpack(count, bits, repeats)
    return found


def tell(found: Figures) -> None:
    print(f"{_core.backend()}, one thread, medians; names end in values and bits a lane")
    for name, values in found.items():
        if isinstance(values, dict):
            print_figures(name, values)


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(5, "turns beside NumPy; ten times as many beside a += b"))
