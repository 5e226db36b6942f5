# SPDX-License-Identifier: Apache-2.0

"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sordino import _core


@pytest.fixture(params=_core.backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once with every PRG backend that this CPU has."""
    _core.select_backend(request.param)
    yield request.param
    _core.select_backend(None)
