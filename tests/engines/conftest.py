# SPDX-License-Identifier: Apache-2.0

"""What the tests of every engine may use."""

from __future__ import annotations

import pytest
import studies

from sordino.adapters import session
from sordino.aggregation.ends import read_total


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sites have numbers that no other bytes look like."""
    monkeypatch.setattr(studies, "COUNTS", studies.MARKED_COUNTS)
    monkeypatch.setattr(studies, "LOSSES", studies.MARKED_LOSSES)


@pytest.fixture
def totals(monkeypatch: pytest.MonkeyPatch) -> list:
    """The sums that the server reads."""
    found: list = []
    monkeypatch.setattr(session, "read_total", lambda *asked: found.append(read_total(*asked)) or found[-1])
    return found
