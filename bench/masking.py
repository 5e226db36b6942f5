# SPDX-License-Identifier: Apache-2.0

"""How fast are masks made? Generate, add and reduce the masks of 16 neighbours over uint32 lanes, one thread.

Beside ours, in the same run: AES-256-CTR in registers alone (the ceiling: bench/ceiling.cpp, which needs a
C++ compiler), NumPy's `a += b` once a neighbour (what memory would allow if masks were free), OpenSSL's
keystream through `cryptography` added by NumPy, and Flower's SecAgg+ by Flower's own functions, where flwr
is installed. Everyone makes one mask a neighbour and adds it mod 2^32; for uint32 the reduction is the
wrap, Flower adds in int64 and reduces once at the end. Homomorphic encryption does other work to the same
end, so TenSEAL, where it is installed, is shown by the lane: NVFlare's CKKS parameters, encrypt, add,
decrypt.

Time is the thread's processor time, so that other programs on the machine count little. A figure is the
median of the runs, in 10^9 lanes times neighbours a second; a ratio is the median of the ratios of
neighbouring runs, so that a clock which slows down slows both. The order within a turn is drawn anew each
time, since who follows a peer that fills the caches or lets wide registers sleep pays for it.
"""

from __future__ import annotations

import ctypes
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
from harness import Figures, in_turn, main, print_figures, ratio

from sordino import _core

try:
    from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_mod
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
except ImportError:
    pseudo_rand_gen = None

try:
    import tenseal
except ImportError:
    tenseal = None

NEIGHBOURS = 16
SIZES = (10**6, 10**7)
SLOTS = 4096  # numbers a CKKS ciphertext of 8192 coefficients
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
    """Return, by name, what does the whole work once; makers of masks return the masked lanes."""
    seeds = [os.urandom(32) for _ in range(NEIGHBOURS)]
    joined = b"".join(seeds)
    lanes = np.zeros(count, np.uint32)
    wide = [np.zeros(count, np.int64)]  # Flower's lanes
    zeros = bytes(lanes.nbytes)
    pad = np.zeros(count, np.uint32)

    def ours() -> object:
        _core.add_masks(lanes, joined, b"", threads=1)
        return lanes

    def add() -> object:
        for _ in range(NEIGHBOURS):
            np.add(lanes, pad, out=lanes)
        return lanes

    def openssl_numpy() -> object:
        for seed in seeds:
            Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update_into(
                zeros, memoryview(pad).cast("B")
            )
            np.add(lanes, pad, out=lanes)
        return lanes

    def flower() -> object:
        total = wide
        for seed in seeds:
            total = parameters_addition(total, pseudo_rand_gen(seed, 1 << 32, [(count,)]))
        return parameters_mod(total, 1 << 32)[0]

    found: dict[str, Callable[[], object]] = {"ours": ours}
    if ceiling is not None:
        found["ceiling"] = lambda: ceiling(count * NEIGHBOURS // 4)
    found["add"] = add
    found["openssl_numpy"] = openssl_numpy
    if pseudo_rand_gen is not None:
        found["flower"] = flower
    return found


def check(count: int) -> None:
    """Refuse to measure peers that do not do the same work."""
    runs = contestants(count, None)
    ours = np.array(runs["ours"]())
    twice = np.array(runs["openssl_numpy"]())  # the same masks upon ours
    if not np.array_equal(twice, ours + ours):
        raise SystemExit("the masks differ from OpenSSL's")
    if "flower" in runs:
        masked = np.asarray(runs["flower"]())
        # NEIGHBOURS uniform masks, reduced: all bits of a lane in use, none beyond the ring.
        if masked.shape != (count,) or masked.min() < 0 or masked.max() >> 31 != 1:
            raise SystemExit("Flower's lanes are not masked mod 2^32")


def measure_masks(count: int, repeats: int, ceiling: Callable[[int], int] | None) -> Figures:
    seconds = in_turn(contestants(count, ceiling), repeats * SIZES[-1] // count, shuffled=True)
    work = count * NEIGHBOURS / 1e9

    def rate(name: str) -> float | None:
        return work / statistics.median(seconds[name]) if name in seconds else None

    added = rate("add")
    return {
        "ours_gelem_s": rate("ours"),
        "ceiling_gelem_s": rate("ceiling"),
        "add_gelem_s": added,
        "add_gb_s": added and added * 3 * np.dtype(np.uint32).itemsize,  # two lanes read, one written
        "openssl_numpy_gelem_s": rate("openssl_numpy"),
        "flower_gelem_s": rate("flower"),
        "ratio_ceiling": ratio(seconds.get("ceiling"), seconds["ours"]),
        "ratio_flower": ratio(seconds.get("flower"), seconds["ours"]),
        "ratio_openssl_numpy": ratio(seconds["openssl_numpy"], seconds["ours"]),
    }


def measure_ckks(count: int, repeats: int) -> Figures | None:
    """Return what a lane costs in ciphertexts, in nanoseconds and bytes, and ours with all its masks."""
    if tenseal is None:
        return None
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=2 * SLOTS,
        coeff_mod_bit_sizes=[60, 40, 40],
        n_threads=1,
    )
    context.global_scale = 2**40
    values = np.random.default_rng().normal(size=count)
    parts = [values[start : start + SLOTS] for start in range(0, count, SLOTS)]
    other = [tenseal.ckks_vector(context, part) for part in parts]
    ours = contestants(count, None)["ours"]
    steps: dict[str, list[float]] = {"ours": [], "encrypt": [], "add": [], "decrypt": []}
    for _ in range(repeats):
        instants = [thread_time()]
        ours()
        instants.append(thread_time())
        encrypted = [tenseal.ckks_vector(context, part) for part in parts]
        instants.append(thread_time())
        summed = [a + b for a, b in zip(encrypted, other, strict=True)]
        instants.append(thread_time())
        decrypted = np.concatenate([part.decrypt() for part in summed])
        instants.append(thread_time())
        if np.abs(decrypted - 2 * values).max() > 1e-5:
            raise SystemExit("TenSEAL's sum is wrong")
        for taken, start, end in zip(steps.values(), instants, instants[1:], strict=False):
            taken.append(end - start)
    everything = [sum(one) for one in zip(steps["encrypt"], steps["add"], steps["decrypt"], strict=True)]
    found: Figures = {
        f"{step}_ns_lane": statistics.median(taken) / count * 1e9 for step, taken in steps.items()
    }
    found["bytes_lane"] = sum(len(part.serialize()) for part in encrypted) / count
    found["ratio_ours"] = ratio(everything, steps["ours"])
    return found


def measure(repeats: int) -> Figures:
    check(10_001)
    with tempfile.TemporaryDirectory() as directory:
        ceiling = load_ceiling(directory)
        masks = {str(count): measure_masks(count, repeats, ceiling) for count in SIZES}
    return {"neighbours": NEIGHBOURS, "repeats": repeats, **masks, "ckks": measure_ckks(SIZES[0], repeats)}


def tell(found: Figures) -> None:
    print(
        f"{_core.backend()}, {NEIGHBOURS} neighbours, one thread, medians; 10^9 lanes x neighbours a second"
    )
    for count in SIZES:
        print_figures(f"{count:,} lanes", found[str(count)])
    if found["ckks"] is not None:
        title = f"TenSEAL, one sum without masks, {SIZES[0]:,} lanes; ours with all its masks"
        print_figures(title, found["ckks"])


if __name__ == "__main__":
    main(__doc__, measure, tell, repeats=(5, "turns at 10^7 lanes; ten times as many at 10^6"))
