# SPDX-License-Identifier: Apache-2.0

"""Kernels let other Python threads run."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from sordino import _core

SIZE = 1_000_000


def kernels() -> dict[str, Callable[[], object]]:
    lanes = np.zeros(SIZE, np.uint32)
    values = np.zeros(SIZE)
    out = bytearray(_core.packed_size(SIZE, 31))
    packed = bytes(_core.packed_size(SIZE, 31))
    return {
        "keystream": lambda: _core.keystream(bytes(32), bytearray(16 * SIZE)),
        "add_masks": lambda: _core.add_masks(lanes, bytes(32 * 8), bytes(32 * 8)),
        "encode": lambda: _core.encode(values, lanes, clip=1.0, scale=1.0, weight=1, saturate=False),
        "encode_pack": lambda: _core.encode_pack(
            values, out, bits=31, clip=1.0, scale=1.0, weight=1, saturate=False, threads=1
        ),
        "l2_norm": lambda: _core.l2_norm(values, threads=1),
        "decode": lambda: _core.decode(lanes, bits=32, scale=1.0),
        "signed": lambda: _core.signed(lanes, bits=32),
        "pack": lambda: _core.pack(lanes, bits=31),
        "unpack_add": lambda: _core.unpack_add(packed, lanes, bits=31),
        "shamir_split": lambda: _core.shamir_split(
            bytes(32 * 500), range(1, 31), threshold=20, seed=bytes(32)
        ),
        "shamir_combine": lambda: _core.shamir_combine(range(1, 31), np.zeros((30, 5000, 32), np.uint8)),
        "sha256": lambda: _core.sha256(packed),
        "merkle_roots": lambda: _core.merkle_roots(
            packed[: 32 * 10_000], [b""], node=b"", root=b"", padding=bytes(32)
        ),
        "merkle_paths": lambda: _core.merkle_paths(
            packed[: 32 * 10_000], b"", [], node=b"", root=b"", padding=bytes(32)
        ),
        "merkle_climb": lambda: _core.merkle_climb(
            packed[: 32 * 1000],
            b"",
            range(1000),
            bytes(32_000 * 10),
            depth=10,
            node=b"",
            root=b"",
            padding=bytes(32),
        ),
        "wipe": lambda: _core.wipe(np.ones(SIZE)),
    }


@pytest.mark.parametrize("name", kernels())
def test_another_thread_runs_during_a_kernel(name: str) -> None:
    # With an endless switch interval a thread gives up the GIL only when it chooses to, so the counter can
    # only move while the kernel itself has released it.
    kernel = kernels()[name]
    begin, stop, counted = threading.Event(), threading.Event(), [0]

    def count() -> None:
        begin.wait()
        while not stop.is_set():
            counted[0] += 1
            time.sleep(1e-4)  # gives the GIL back

    interval = sys.getswitchinterval()
    other = threading.Thread(target=count)
    other.start()
    sys.setswitchinterval(1000.0)
    try:
        begin.set()
        before = counted[0]
        for _ in range(100):
            kernel()
            if counted[0] > before:
                break
        after = counted[0]
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        other.join()
    assert after > before


def test_two_threads_may_use_the_kernels_at_once() -> None:
    expected = np.zeros(200_000, np.uint64)
    _core.add_masks(expected, b"a" * 32, b"b" * 32)
    results = [np.zeros(200_000, np.uint64) for _ in range(4)]
    workers = [
        threading.Thread(target=_core.add_masks, args=(lanes, b"a" * 32, b"b" * 32), kwargs={"threads": 2})
        for lanes in results
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(lanes, expected) for lanes in results)
