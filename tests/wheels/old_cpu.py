# SPDX-License-Identifier: Apache-2.0

"""Sum on a CPU that has these PRG backends only: `python tests/wheels/old_cpu.py aesni portable`.

Run by an emulator that knows no AVX, every instruction of the way from the import to the sum has to be one
that the named CPU has.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import sordino
from sordino import _core


def main(*backends: str) -> None:
    if tuple(_core.backends()) != backends:
        raise SystemExit(f"this CPU has {_core.backends()}, not {backends}")

    length = 100_003  # more than a tile, and no multiple of a block
    key = os.urandom(32)
    lanes = np.zeros(length, np.uint32)
    _core.add_masks(lanes, key, b"")
    keystream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(lanes.nbytes))
    if lanes.tobytes() != keystream:
        raise SystemExit("the masks differ from OpenSSL's AES-256-CTR")

    random = np.random.default_rng(8)
    values = {f"site-{place}": random.integers(-64, 65, 1000) / 64 for place in range(7)}
    outcome = sordino.secure_sum(values, lose={"site-1": "upload", "site-4": "unmask"})
    expected = sum(vector for name, vector in values.items() if name != "site-1")
    if outcome.total.tolist() != expected.tolist() or outcome.vanished != ("site-4",):
        raise SystemExit("the secure sum is wrong")
    print(f"sordino {sordino.__version__}, {_core.backend()} of {list(backends)}: masks and sum are right")


if __name__ == "__main__":
    main(*sys.argv[1:])
