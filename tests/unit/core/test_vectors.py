# SPDX-License-Identifier: Apache-2.0

"""The known answers that other implementations can check themselves against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference import vectors
from sordino import _core
from sordino.errors import MalformedMessage

VECTORS = Path(__file__).parents[2] / "vectors"


def cases(name: str) -> list[dict[str, Any]]:
    return list(json.loads((VECTORS / name).read_text(encoding="utf-8"))["cases"])


def lanes_of(case: dict[str, Any], field: str = "lanes") -> np.ndarray:
    return np.array(case[field], f"uint{case['width']}")


@pytest.mark.parametrize("name", vectors.FILES)
def test_references_make_the_stored_vectors(name: str) -> None:
    assert (VECTORS / name).read_text(encoding="utf-8") == vectors.document(name)


@pytest.mark.usefixtures("backend")
def test_keystreams() -> None:
    for case in cases("keystream.json"):
        expected = bytes.fromhex(case["keystream"])
        out = bytearray(len(expected))
        _core.keystream(bytes.fromhex(case["seed"]), out, stream=case["stream"], offset=case["offset"])
        assert out == expected


@pytest.mark.usefixtures("backend")
def test_masks() -> None:
    for case in cases("masks.json"):
        lanes = lanes_of(case)
        add, subtract = bytes.fromhex(case["add"]), bytes.fromhex(case["subtract"])
        _core.add_masks(lanes, add, subtract, stream=case["stream"], offset=case["offset"])
        assert lanes.tolist() == case["masked"]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_noise(dtype: Any) -> None:
    for case in cases("noise.json"):
        lanes = np.zeros(len(case["samples"]), dtype)
        seed, sigma = bytes.fromhex(case["seed"]), float.fromhex(case["sigma"])
        _core.add_noise(lanes, seed, [sigma], offset=case["offset"])
        assert lanes.tolist() == [sample % 2 ** (8 * lanes.itemsize) for sample in case["samples"]]


def test_fixed_point() -> None:
    for case in cases("fixed_point.json"):
        lanes = np.zeros_like(lanes_of(case))
        _core.encode(
            np.array(case["values"]),
            lanes,
            clip=case["clip"],
            scale=case["scale"],
            weight=case["weight"],
            saturate=False,
        )
        assert lanes.tolist() == case["lanes"]


def test_packing() -> None:
    for case in cases("packing.json"):
        assert _core.pack(lanes_of(case), bits=case["bits"]).hex() == case["data"]


@pytest.mark.parametrize("case", cases("packing_bad.json"), ids=lambda case: case["reason"])
def test_packing_that_must_fail(case: dict[str, Any]) -> None:
    lanes = np.zeros(case["count"], np.uint32)
    with pytest.raises(MalformedMessage):
        _core.unpack_add(bytes.fromhex(case["data"]), lanes, bits=case["bits"])


@pytest.mark.usefixtures("backend")
def test_shamir() -> None:
    for case in cases("shamir.json"):
        secrets, seed = bytes.fromhex(case["secrets"]), bytes.fromhex(case["seed"])
        shares = _core.shamir_split(secrets, case["points"], threshold=case["threshold"], seed=seed)
        assert [row.tobytes().hex() for row in shares] == case["shares"]
