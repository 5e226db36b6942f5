# SPDX-License-Identifier: Apache-2.0

"""Wiping."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest

from sordino import _core
from sordino.errors import InvalidArgument


@pytest.mark.parametrize(
    "buffer",
    [bytearray(b"secret"), np.arange(9.0), np.ones((3, 4), np.uint32), array("d", [1.0]), bytearray()],
)
def test_wipe_zeroes_any_writable_buffer(buffer: Any) -> None:
    _core.wipe(buffer)
    assert not any(memoryview(buffer).cast("B") if len(buffer) else b"")


def test_wipe_zeroes_only_the_view() -> None:
    whole = bytearray(b"abcdef")
    _core.wipe(memoryview(whole)[2:4])
    assert whole == b"ab\0\0ef"


@pytest.mark.parametrize("buffer", [b"constant", memoryview(b"abc"), np.ones(8)[::2], "text", None])
def test_wipe_refuses_what_it_cannot_zero(buffer: Any) -> None:
    with pytest.raises(InvalidArgument, match="^buffer: "):
        _core.wipe(buffer)
