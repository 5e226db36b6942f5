# SPDX-License-Identifier: Apache-2.0

"""Write first inputs for the fuzzers: `python tests/fuzz/seeds.py build/fuzz`.

A folder for each fuzzer. Most are bytes by SHAKE-256, in lengths that reach every part of an input; those of
`unpack` are the vectors that `pack` writes and those that must be refused, in the order in which `unpack.cpp`
reads them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

VECTORS = Path(__file__).parents[1] / "vectors"
FUZZERS = ("backends", "fixed_point", "shamir", "sum_uploads", "unpack")


def packed(name: str) -> list[bytes]:
    """Backend, width, bits, count in short form, whole rest, start, and the bytes."""
    inputs = []
    for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]:
        narrow = case.get("width", 32) == 32
        count = case["count"] if "count" in case else len(case["lanes"])
        head = bytes([0, narrow, case["bits"], 1]) + count.to_bytes(2, "little") + bytes(3)
        inputs.append(head + bytes.fromhex(case["data"]))
    return inputs


def main(folder: Path) -> None:
    for fuzzer in FUZZERS:
        inputs = [
            hashlib.shake_256(f"sordino {fuzzer} {length} {number}".encode()).digest(length)
            for length in (8, 64, 300, 1500, 4096)
            for number in range(8)
        ]
        if fuzzer == "unpack":
            inputs += packed("packing") + packed("packing_bad")
        (folder / fuzzer).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / fuzzer / f"{number:03}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
