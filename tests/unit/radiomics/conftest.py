# SPDX-License-Identifier: Apache-2.0

"""What tests that read scans in their own process may use."""

from __future__ import annotations

import locale
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def same_locale() -> Iterator[None]:
    """ITK's DICOM code leaves the process with another locale, which later tests would decode text by."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
