"""How fast are masks made? Generate, add and reduce the masks of 16 neighbours over uint32 lanes, one thread.

Beside ours, in the same run and in turn: AES-256-CTR in registers alone (the ceiling: bench/ceiling.cpp,
which needs a C++ compiler), OpenSSL's keystream through `cryptography` added by NumPy, and Flower's SecAgg+
where flwr is installed. Everyone makes one mask a neighbour and adds it mod 2^32; for uint32 the reduction is
the wrap. Time is the thread's processor time, so that other programs on the machine count little. A figure is
the median of the runs, in 10^9 lanes times neighbours a second; a ratio is the median of the ratios of
neighbouring runs, so that a clock which slows down slows both.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sordino import _core

try:
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
except ImportError:
    pseudo_rand_gen = None

NEIGHBOURS = 16
SIZES = (10**6, 10**7)
REGISTER_BITS = {"vaes512": 512, "vaes256": 256, "aesni": 128}


def load_ceiling(directory: str) -> Callable[[int], int] | None:
    """Return a function that makes so many blocks in registers, or None where this CPU has no AES for it."""
    width = REGISTER_BITS.get(_core.backends()[0])
    if width is None:
        return None
    library = Path(directory) / "ceiling.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    source = Path(__file__).with_name("ceiling.cpp")
    subprocess.run([*compiler, "-O3", "-shared", "-fPIC", "-o", library, source], check=True)
    counter_mode = ctypes.CDLL(str(library)).counter_mode
    counter_mode.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint]
    counter_mode.restype = ctypes.c_uint64
    keys = os.urandom(15 * 16)  # any round keys cost the same
    return lambda blocks: counter_mode(keys, blocks, width)


def contestants(count: int, ceiling: Callable[[int], int] | None) -> dict[str, Callable[[], object]]:
    """Return, by name, what does the whole work once."""
    seeds = [os.urandom(32) for _ in range(NEIGHBOURS)]
    joined = b"".join(seeds)
    lanes = np.zeros(count, np.uint32)
    zeros = bytes(lanes.nbytes)
    pad = np.zeros(count, np.uint32)

    def ours() -> None:
        _core.add_masks(lanes, joined, b"", threads=1)

    def openssl_numpy() -> None:
        for seed in seeds:
            Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update_into(
                zeros, memoryview(pad).cast("B")
            )
            np.add(lanes, pad, out=lanes)

    def flower() -> None:
        total = lanes.astype(np.int64)
        for seed in seeds:
            total += pseudo_rand_gen(seed, 1 << 32, [(count,)])[0]
            total %= 1 << 32

    found: dict[str, Callable[[], object]] = {"ours": ours}
    if ceiling is not None:
        found["ceiling"] = lambda: ceiling(count * NEIGHBOURS // 4)
    found["openssl_numpy"] = openssl_numpy
    if pseudo_rand_gen is not None:
        found["flower"] = flower
    return found


def check(count: int) -> None:
    """Refuse to measure peers that do not make the same masks."""
    seed = os.urandom(32)
    lanes = np.zeros(count, np.uint32)
    _core.add_masks(lanes, seed, b"", threads=1)
    pad = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update(bytes(lanes.nbytes))
    if lanes.tobytes() != pad:
        raise SystemExit("the masks differ from OpenSSL's")


def measure(count: int, repeats: int, ceiling: Callable[[int], int] | None) -> dict[str, float | None]:
    seconds: dict[str, list[float]] = {}
    runs = contestants(count, ceiling)
    for run in runs.values():
        run()  # pages, caches and clocks warm
    for _ in range(repeats * SIZES[-1] // count):
        for name, run in runs.items():
            start = thread_time()
            run()
            seconds.setdefault(name, []).append(thread_time() - start)
    work = count * NEIGHBOURS / 1e9

    def rate(name: str) -> float | None:
        return work / statistics.median(seconds[name]) if name in seconds else None

    def ratio(name: str) -> float | None:  # their time over ours
        if name not in seconds:
            return None
        return statistics.median(b / a for a, b in zip(seconds["ours"], seconds[name], strict=True))

    return {
        "ours_gelem_s": rate("ours"),
        "ceiling_gelem_s": rate("ceiling"),
        "openssl_numpy_gelem_s": rate("openssl_numpy"),
        "flower_gelem_s": rate("flower"),
        "ratio_ceiling": ratio("ceiling"),
        "ratio_flower": ratio("flower"),
        "ratio_openssl_numpy": ratio("openssl_numpy"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs at 10^7 lanes; ten times as many at 10^6"
    )
    options = parser.parse_args()
    check(10_001)
    with tempfile.TemporaryDirectory() as directory:
        ceiling = load_ceiling(directory)
        results = {count: measure(count, options.repeats, ceiling) for count in SIZES}
    if options.json:
        about = {"backend": _core.backend(), "neighbours": NEIGHBOURS, "repeats": options.repeats}
        print(json.dumps(about | {str(count): values for count, values in results.items()}))
        return
    print(f"{_core.backend()}, {NEIGHBOURS} neighbours, one thread, medians")
    for count, values in results.items():
        print(f"\n{count:,} lanes")
        for name, value in values.items():
            print(f"  {name:24}" + ("absent" if value is None else f"{value:8.3f}"))


if __name__ == "__main__":
    main()
